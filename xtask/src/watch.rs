//! Starts the cloud, and serves it or runs a command while it runs.

use std::{
    env,
    fs::{self, File},
    net::{TcpListener, TcpStream},
    os::unix::process::CommandExt,
    path::{Path, PathBuf},
    process::{Child, Command},
    thread,
    time::Duration,
};

use serde_json::json;
use tests::{aws, stream::Stream};

use crate::{
    cloud::{Cloud, FILE},
    provision::provision,
    root, seed,
};

/// cargo-lambda's emulator of API Gateway. It starts each function at its first request, by `cargo run`.
struct Gateway {
    process: Child,
    log: PathBuf,
}

impl Gateway {
    /// Starts the emulator, and waits until it listens.
    fn start(port: &str, folder: &Path) -> Self {
        let log = folder.join("log");
        let (output, errors) = (File::create(&log).unwrap(), File::options().append(true).open(&log).unwrap());
        // Another program at the port would answer instead of the functions.
        TcpListener::bind(format!("127.0.0.1:{port}")).expect("the port is taken: set PORT to another one");
        let own = env::current_exe().unwrap();
        let host = Command::new("rustc").args(["--print", "host-tuple"]).output().unwrap();
        let host = String::from_utf8(host.stdout).unwrap().trim().to_uppercase().replace('-', "_");
        let process = Command::new("cargo-lambda")
            .args(["lambda", "watch", "--ignore-changes", "--invoke-address", "127.0.0.1", "--invoke-port", port])
            .env(format!("CARGO_TARGET_{host}_RUNNER"), format!("{} function", own.display()))
            .env(FILE, folder.join("cloud.json"))
            .current_dir(root())
            .stdout(output)
            .stderr(errors)
            .spawn()
            .expect("cargo-lambda is missing: run it through .ci/with-cloud");
        let mut gateway = Self { process, log };
        while TcpStream::connect(format!("127.0.0.1:{port}")).is_err() {
            thread::sleep(Duration::from_millis(100));
            if let Some(status) = gateway.process.try_wait().unwrap() {
                panic!("cargo-lambda: {status}\n{}", gateway.last_lines());
            }
        }
        gateway
    }

    fn last_lines(&self) -> String {
        let log = fs::read(&self.log).unwrap_or_default();
        let log = String::from_utf8_lossy(&log);
        let lines: Vec<_> = log.lines().collect();
        lines[lines.len().saturating_sub(50)..].join("\n")
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        if thread::panicking() {
            eprintln!("{}", self.last_lines());
        }
        // A signal that it can handle, so that it stops the functions.
        let _ = Command::new("kill").arg(self.process.id().to_string()).status();
        let _ = self.process.wait();
    }
}

/// Starts an empty cloud and creates the demo users in it. Runs a command with `VESTIBULE_URL` and `VESTIBULE_CLOUD`, and
/// returns whether it succeeded. Without a command, serves until it is stopped.
pub async fn cloud(command: &[String]) -> bool {
    let port = env::var("PORT").unwrap_or_else(|_| "9000".to_owned());
    let url = format!("http://127.0.0.1:{port}");
    let folder = tempfile::tempdir().unwrap();
    println!("cloud: creating the table, the keys, the event bus and the sender of mails");
    let cloud = provision(&url, &root().join("target/calls.jsonl")).await;
    let file = folder.path().join("cloud.json");
    fs::write(&file, serde_json::to_vec_pretty(&cloud).unwrap()).unwrap();
    println!("cloud: starting the functions and creating the demo users: each function starts at its first request");
    let gateway = Gateway::start(&port, folder.path());
    seed::create_demo_users(&cloud).await;
    let Some((program, arguments)) = command.split_first() else { serve(&cloud).await };
    let status = Command::new(program).args(arguments).env("VESTIBULE_URL", &url).env(FILE, &file).status();
    let success = status.unwrap_or_else(|error| panic!("{program}: {error}")).success();
    if !success {
        eprintln!("{}", gateway.last_lines());
    }
    success
}

/// Prints how to use the cloud. Then delivers events as AWS does, and prints each mail that the emulated SES accepted.
async fn serve(cloud: &Cloud) -> ! {
    println!("cloud: all flows at {}, each in its own Lambda function. Ctrl-C stops them.", cloud.url);
    println!("cloud: the demo users, with their passwords:");
    for tenant in seed::tenants() {
        for user in tenant["users"].as_array().unwrap() {
            let text = |name: &str| user[name].as_str().unwrap_or_default();
            let id = tenant["id"].as_str().unwrap();
            println!("  {id:<8} {:<5} {:<18} {}", text("username"), text("display_name"), text("password"));
        }
    }
    let enrol = "cargo run -q --bin local -- enroll --url";
    println!("cloud: try, in another terminal: {enrol} {} --tenant acme --username bob", cloud.url);
    println!("cloud: mails are printed here: bob's address is bob@acme.example");
    let mut stream = Stream::open(&aws::dynamodb(), &cloud.table).await;
    let mut printed = 0;
    loop {
        cloud.deliver(&stream.records().await).await;
        cloud.deliver_orders().await;
        let mails = aws::mails().await;
        for mail in &mails[printed..] {
            println!("mail to {}:", mail["destinations"]["ToAddresses"][0].as_str().unwrap_or_default());
            let text = |name: &str| mail[name].as_str().unwrap_or_default();
            for line in format!("Subject: {}\n\n{}", text("subject"), text("body").trim()).lines() {
                println!("{}", format!("  | {line}").trim_end());
            }
        }
        printed = mails.len();
        tokio::time::sleep(Duration::from_secs(2)).await;
    }
}

/// Delivers the ordered mails with links until it is stopped. Writes all mails to a file, one line of JSON each.
pub async fn write_mails(cloud: &Cloud, file: &Path) -> ! {
    let new = file.with_extension("new");
    loop {
        cloud.deliver_orders().await;
        let mut lines = String::new();
        for mail in aws::mails().await {
            let to = &mail["destinations"]["ToAddresses"][0];
            let line = json!({"to": to, "subject": mail["subject"], "text": mail["body"]});
            lines.push_str(&format!("{line}\n"));
        }
        // Readers see a whole file.
        fs::write(&new, lines).and_then(|()| fs::rename(&new, file)).unwrap();
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}

/// Replaces this process by a function. Cargo runs functions through this, so that they get the variables that Lambda sets
/// and their own, and no others.
pub fn function(program: &str, arguments: &[String]) -> ! {
    let cloud = Cloud::from_environment();
    let name = Path::new(program).file_name().unwrap().to_str().unwrap();
    let lambdas = env::vars().filter(|(name, _)| name.starts_with("AWS_LAMBDA_"));
    let mut command = Command::new(program);
    command.args(arguments).env_clear().envs(lambdas).envs(&cloud.variables[name]);
    panic!("{program}: {}", command.exec())
}
