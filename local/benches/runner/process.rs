//! The server's process, and its CPU time and memory from `/proc`.

use std::{
    fs,
    io::{BufRead, BufReader},
    path::Path,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use serde_json::Value;

pub struct Server {
    child: Child,
    pub address: String,
    /// Time from exec until it prints its URL.
    pub started: Duration,
}

impl Server {
    pub fn start(arguments: &[&str]) -> Self {
        let mut command = Command::new(env!("CARGO_BIN_EXE_local"));
        command.args(["serve", "--port", "0", "--json"]).args(arguments).env_remove("VESTIBULE_LOG");
        let started_at = Instant::now();
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let started = started_at.elapsed();
        let first: Value = serde_json::from_str(&line).unwrap();
        let address = first["url"].as_str().unwrap().strip_prefix("http://").unwrap().to_owned();
        Self { child, address, started }
    }

    pub fn in_directory(directory: &Path, seed: &str) -> Self {
        Self::start(&["--data-dir", directory.to_str().unwrap(), "--seed", seed])
    }

    /// CPU time of all its threads so far.
    pub fn cpu(&self) -> Duration {
        cpu(&self.child.id().to_string())
    }

    /// A line of `/proc/PID/status`, in MiB: `VmRSS` is the resident memory, `VmHWM` its maximum.
    pub fn memory(&self, name: &str) -> f64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix(name)).unwrap();
        line.split_whitespace().nth(1).unwrap().parse::<f64>().unwrap() / 1024.0
    }

    /// Sends SIGTERM and waits for the end.
    pub fn stop(mut self) {
        assert!(Command::new("kill").arg(self.child.id().to_string()).status().unwrap().success());
        assert!(self.child.wait().unwrap().success());
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// CPU time of this process.
pub fn own_cpu() -> Duration {
    cpu("self")
}

/// Fields 14 and 15 of `stat`, in hundredths of a second. The second field is the name in parentheses, which may contain spaces.
fn cpu(pid: &str) -> Duration {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    let fields = stat.rsplit_once(')').unwrap().1.split_whitespace();
    Duration::from_millis(fields.skip(11).take(2).map(|ticks| ticks.parse::<u64>().unwrap() * 10).sum())
}
