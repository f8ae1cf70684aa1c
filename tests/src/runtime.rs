//! A function as a process, and a stub of Lambda's runtime API that it polls.

use std::{
    collections::BTreeMap,
    env, fs,
    io::{BufRead, BufReader, Read},
    net::{TcpListener, TcpStream},
    path::PathBuf,
    process::{Child, Command, Stdio},
    sync::{
        Arc, Mutex,
        mpsc::{Receiver, Sender, channel},
    },
    thread,
    time::{Duration, Instant},
};

use serde_json::{Value, json};

use crate::wire::{Message, answer};

/// A function that does not answer within this time has failed.
const PATIENCE: Duration = Duration::from_secs(60);

/// The environment variables of a function.
pub type Variables = BTreeMap<String, String>;

/// A running function. It gets one event at a time.
pub struct Function {
    child: Child,
    said: Receiver<Report>,
    /// Sends the event for the open poll.
    poll: Sender<Value>,
    /// The lines that it printed.
    log: Arc<Mutex<Vec<String>>>,
    /// From exec to its first poll.
    pub started: Duration,
    /// CPU time of all threads until then.
    pub start_cpu: Duration,
}

/// A program that `cargo build --workspace --bins` built beside this one.
#[must_use]
pub fn built(name: &str) -> PathBuf {
    let own = env::current_exe().unwrap();
    let found = own.ancestors().skip(1).map(|folder| folder.join(name)).find(|path| path.is_file());
    found.unwrap_or_else(|| panic!("{name} is not built: run `cargo build --workspace --bins`"))
}

/// A message of the function to the runtime API.
enum Report {
    Next(Instant, Sender<Value>),
    Answered(Value),
    Failed(String),
}

impl Function {
    /// Starts a function with these environment variables, those of Lambda, and no others. Waits for its first poll.
    pub fn start(mut command: Command, name: &str, variables: &Variables) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        command.env_clear().env("PATH", env::var_os("PATH").unwrap_or_default()).envs(variables);
        command.env("AWS_LAMBDA_RUNTIME_API", listener.local_addr().unwrap().to_string());
        command.env("AWS_LAMBDA_FUNCTION_NAME", name);
        command.env("AWS_LAMBDA_FUNCTION_MEMORY_SIZE", "512").env("AWS_LAMBDA_FUNCTION_VERSION", "1");
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let (report, said) = channel();
        thread::spawn(move || {
            for stream in listener.incoming() {
                let (stream, report) = (stream.unwrap(), report.clone());
                thread::spawn(move || serve(&stream, &report));
            }
        });
        let begun = Instant::now();
        let mut child = command.spawn().unwrap_or_else(|error| panic!("{command:?}: {error}"));
        let log = Arc::<Mutex<Vec<String>>>::default();
        collect(child.stdout.take().unwrap(), &log);
        collect(child.stderr.take().unwrap(), &log);
        match said.recv_timeout(PATIENCE) {
            Ok(Report::Next(at, poll)) => {
                let start_cpu = cpu(child.id());
                Self { child, said, poll, log, started: at - begun, start_cpu }
            }
            Ok(Report::Failed(why)) => panic!("{name}: {why}"),
            _ => panic!("{name} does not poll for an event: {:?}", log.lock().unwrap()),
        }
    }

    /// Passes an event, and waits for the answer and the next poll. An error is an answer with `errorType`.
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

    /// Sends a POST request as an HTTP API does. Returns the status and the body.
    pub fn post(&mut self, path: &str, token: &str, body: &Value) -> (u64, Value) {
        let mut event: Value = serde_json::from_str(include_str!("../events/api-gateway-v2.json")).unwrap();
        event["rawPath"] = json!(path);
        event["requestContext"]["http"]["path"] = json!(path);
        event["requestContext"]["http"]["method"] = json!("POST");
        event["headers"]["content-type"] = json!("application/json");
        event["headers"]["authorization"] = json!(format!("Bearer {token}"));
        event["body"] = json!(body.to_string());
        let answer = self.invoke(event);
        let body = answer["body"].as_str().unwrap_or_else(|| panic!("no body: {answer}"));
        (answer["statusCode"].as_u64().unwrap(), serde_json::from_str(body).unwrap())
    }

    /// The configuration errors of its first report, which is the first error in its log.
    #[must_use]
    pub fn faults(&self) -> String {
        let begun = Instant::now();
        loop {
            let log = self.log.lock().unwrap().clone();
            if let Some(line) = log.iter().find(|line| line.contains("\"ERROR\"")) {
                let line: Value = serde_json::from_str(line).unwrap();
                return line["faults"].as_str().unwrap_or_else(|| panic!("{line}")).to_owned();
            }
            // The line is printed before the answer, but another thread reads it.
            assert!(begun.elapsed() < Duration::from_secs(5), "no error in the log: {log:?}");
            thread::sleep(Duration::from_millis(10));
        }
    }

    /// CPU time of all threads.
    #[must_use]
    pub fn cpu(&self) -> Duration {
        cpu(self.child.id())
    }

    /// Resident memory in MiB.
    #[must_use]
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

/// Appends the lines of an output to a log.
fn collect(output: impl Read + Send + 'static, log: &Arc<Mutex<Vec<String>>>) {
    let log = Arc::clone(log);
    thread::spawn(move || {
        for line in BufReader::new(output).lines().map_while(Result::ok) {
            log.lock().unwrap().push(line);
        }
    });
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
                Ok(answer) if !path.contains("/init/") => Report::Answered(answer),
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

/// CPU time of all current threads.
fn cpu(pid: u32) -> Duration {
    let tasks = fs::read_dir(format!("/proc/{pid}/task")).unwrap().flatten();
    let times = tasks.filter_map(|task| {
        let text = fs::read_to_string(task.path().join("schedstat")).ok()?;
        text.split_whitespace().next()?.parse::<u64>().ok()
    });
    Duration::from_nanos(times.sum())
}
