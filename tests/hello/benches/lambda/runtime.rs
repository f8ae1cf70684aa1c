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

/// After this a function is held for lost.
const PATIENCE: Duration = Duration::from_secs(20);

pub struct Function {
    child: Child,
    said: Receiver<Said>,
    /// Where the event goes that its open poll waits for.
    poll: Sender<Value>,
    /// From exec until its first poll was read.
    pub started: Duration,
    /// CPU time until then, of all its threads.
    pub start_cpu: Duration,
}

/// What a function says to the runtime API.
enum Said {
    Next(Instant, Sender<Value>),
    Answered(Value),
    Failed(String),
}

impl Function {
    /// Executes a binary, and waits until it asks for its first event.
    pub fn start(binary: &Path, environment: &[(String, String)]) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let mut command = Command::new(binary);
        command.env_clear().envs(environment.iter().map(|(name, value)| (name, value)));
        command.env("AWS_LAMBDA_RUNTIME_API", listener.local_addr().unwrap().to_string());
        command.env("AWS_LAMBDA_FUNCTION_NAME", binary.file_name().unwrap());
        command.env("AWS_LAMBDA_FUNCTION_MEMORY_SIZE", "512").env("AWS_LAMBDA_FUNCTION_VERSION", "1");
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let (say, said) = channel();
        thread::spawn(move || {
            for stream in listener.incoming() {
                let (stream, say) = (stream.unwrap(), say.clone());
                thread::spawn(move || serve(&stream, &say));
            }
        });
        let begun = Instant::now();
        let child = command.spawn().unwrap();
        match said.recv_timeout(PATIENCE) {
            Ok(Said::Next(at, poll)) => {
                let start_cpu = cpu(child.id());
                Self { child, said, poll, started: at - begun, start_cpu }
            }
            Ok(Said::Failed(why)) => panic!("{}: {why}", binary.display()),
            _ => panic!("{} asks for no event", binary.display()),
        }
    }

    /// Hands it an event, and waits for its answer and its next poll.
    pub fn invoke(&mut self, event: Value) -> Value {
        self.poll.send(event).unwrap();
        let mut answered = None;
        loop {
            match self.said.recv_timeout(PATIENCE).expect("no answer") {
                Said::Answered(answer) => answered = Some(answer),
                Said::Failed(why) => panic!("{why}"),
                Said::Next(_, poll) => {
                    self.poll = poll;
                    return answered.expect("it polls again without an answer");
                }
            }
        }
    }

    pub fn cpu(&self) -> Duration {
        cpu(self.child.id())
    }

    /// What is resident, in MiB.
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

fn serve(stream: &TcpStream, say: &Sender<Said>) {
    stream.set_nodelay(true).unwrap();
    let (mut from, mut to) = (BufReader::new(stream), stream);
    while let Ok(Some(request)) = Message::read(&mut from) {
        let at = Instant::now();
        let (method, path) = request.target();
        let reply = if (method, path) == ("GET", "/2018-06-01/runtime/invocation/next") {
            let (poll, event) = channel();
            // Nobody waits for a function that is being stopped.
            if say.send(Said::Next(at, poll)).is_err() {
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
                Ok(answer) if path.ends_with("/response") => Said::Answered(answer),
                _ => Said::Failed(format!("{path}: {text}")),
            };
            if say.send(said).is_err() {
                return;
            }
            answer(202, "", "")
        };
        if reply.write(&mut to).is_err() {
            return;
        }
    }
}

/// Nanoseconds on a processor, of all threads that there are.
fn cpu(pid: u32) -> Duration {
    let tasks = fs::read_dir(format!("/proc/{pid}/task")).unwrap().flatten();
    let times = tasks.filter_map(|task| {
        let text = fs::read_to_string(task.path().join("schedstat")).ok()?;
        text.split_whitespace().next()?.parse::<u64>().ok()
    });
    Duration::from_nanos(times.sum())
}
