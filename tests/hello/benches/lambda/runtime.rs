//! A function's process, and the runtime API that it polls.

use std::{
    fs,
    io::BufReader,
    net::{TcpListener, TcpStream},
    path::Path,
    process::{Child, Command, Stdio},
    sync::mpsc::{Receiver, Sender, channel},
    thread,
    time::{Duration, Instant},
};

use serde_json::Value;

use crate::http::{Message, answer};

/// A function that does not answer within this time has failed.
const PATIENCE: Duration = Duration::from_secs(20);

pub struct Function {
    child: Child,
    said: Receiver<Report>,
    /// Sends the event for the open poll.
    poll: Sender<Value>,
    /// From exec to its first poll.
    pub started: Duration,
    /// CPU time of all threads until then.
    pub start_cpu: Duration,
}

/// A message of the function to the runtime API.
enum Report {
    Next(Instant, Sender<Value>),
    Answered(Value),
    Failed(String),
}

impl Function {
    /// Starts a binary and waits for its first poll.
    pub fn start(binary: &Path, environment: &[(String, String)]) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let mut command = Command::new(binary);
        command.env_clear().envs(environment.iter().map(|(name, value)| (name, value)));
        command.env("AWS_LAMBDA_RUNTIME_API", listener.local_addr().unwrap().to_string());
        command.env("AWS_LAMBDA_FUNCTION_NAME", binary.file_name().unwrap());
        command.env("AWS_LAMBDA_FUNCTION_MEMORY_SIZE", "512").env("AWS_LAMBDA_FUNCTION_VERSION", "1");
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let (report, said) = channel();
        thread::spawn(move || {
            for stream in listener.incoming() {
                let (stream, report) = (stream.unwrap(), report.clone());
                thread::spawn(move || serve(&stream, &report));
            }
        });
        let begun = Instant::now();
        let child = command.spawn().unwrap();
        match said.recv_timeout(PATIENCE) {
            Ok(Report::Next(at, poll)) => {
                let start_cpu = cpu(child.id());
                Self { child, said, poll, started: at - begun, start_cpu }
            }
            Ok(Report::Failed(why)) => panic!("{}: {why}", binary.display()),
            _ => panic!("{} does not poll for an event", binary.display()),
        }
    }

    /// Passes an event, and waits for the answer and the next poll.
    pub fn invoke(&mut self, event: Value) -> Value {
        self.poll.send(event).unwrap();
        let mut answered = None;
        loop {
            match self.said.recv_timeout(PATIENCE).expect("no answer") {
                Report::Answered(answer) => answered = Some(answer),
                Report::Failed(why) => panic!("{why}"),
                Report::Next(_, poll) => {
                    self.poll = poll;
                    return answered.expect("it polls again without an answer");
                }
            }
        }
    }

    pub fn cpu(&self) -> Duration {
        cpu(self.child.id())
    }

    /// Resident memory in MiB.
    pub fn resident(&self) -> f64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
        line.split_whitespace().next().unwrap().parse::<f64>().unwrap() / 1024.0
    }
}

impl Drop for Function {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn serve(stream: &TcpStream, report: &Sender<Report>) {
    stream.set_nodelay(true).unwrap();
    let (mut from, mut to) = (BufReader::new(stream), stream);
    while let Ok(Some(request)) = Message::read(&mut from) {
        let at = Instant::now();
        let (method, path) = request.target();
        let reply = if (method, path) == ("GET", "/2018-06-01/runtime/invocation/next") {
            let (poll, event) = channel();
            // No one waits for a function that is being stopped.
            if report.send(Report::Next(at, poll)).is_err() {
                return;
            }
            let Ok(event) = event.recv() else { return };
            let headers = "lambda-runtime-aws-request-id: 8476a536-e9f4-11e8-9739-2dfe598c3fcd\r\n\
                lambda-runtime-deadline-ms: 4102444800000\r\n\
                lambda-runtime-invoked-function-arn: arn:aws:lambda:eu-central-1:123456789012:function:f\r\n\
                content-type: application/json\r\n";
            answer(200, headers, event.to_string())
        } else {
            let text = String::from_utf8_lossy(&request.body).into_owned();
            let said = match serde_json::from_str(&text) {
                Ok(answer) if path.ends_with("/response") => Report::Answered(answer),
                _ => Report::Failed(format!("{path}: {text}")),
            };
            if report.send(said).is_err() {
                return;
            }
            answer(202, "", "")
        };
        if reply.write(&mut to).is_err() {
            return;
        }
    }
}

/// CPU time in nanoseconds of all current threads.
fn cpu(pid: u32) -> Duration {
    let tasks = fs::read_dir(format!("/proc/{pid}/task")).unwrap().flatten();
    let times = tasks.filter_map(|task| {
        let text = fs::read_to_string(task.path().join("schedstat")).ok()?;
        text.split_whitespace().next()?.parse::<u64>().ok()
    });
    Duration::from_nanos(times.sum())
}
