//! Builds the copy in which conditions can be removed, and runs the tests.

use std::{
    cmp::Reverse,
    collections::{HashMap, HashSet},
    fs,
    io::Write,
    path::{Path, PathBuf},
    process::{Command, ExitCode, Stdio},
    sync::Mutex,
    time::{Duration, Instant},
};

use crate::find::{Condition, Removal};

/// The variable with the number of the condition to remove.
const REMOVED: &str = "CONDITION_REMOVED";

/// The variable with the file to which a test program writes the numbers of the conditions that it evaluates.
const REACHED: &str = "CONDITIONS_REACHED";

/// Added to the copy's library. The service itself has no switches.
const SWITCH: &str = r#"
/// Whether this condition is removed. Notes that the condition was evaluated.
#[must_use]
#[allow(missing_docs)]
pub fn condition_removed(number: u32) -> bool {
    use std::{collections::HashSet, env::var, fs::File, io::Write, sync::{LazyLock, Mutex}};
    static REMOVED: LazyLock<Option<u32>> = LazyLock::new(|| var("CONDITION_REMOVED").ok()?.parse().ok());
    static REACHED: LazyLock<Option<Mutex<(HashSet<u32>, File)>>> = LazyLock::new(|| {
        let file = File::options().append(true).open(var("CONDITIONS_REACHED").ok()?).expect("a file");
        Some(Mutex::new((HashSet::new(), file)))
    });
    if let Some(reached) = &*REACHED {
        let mut reached = reached.lock().expect("no panic");
        if reached.0.insert(number) {
            writeln!(reached.1, "{number}").expect("a file");
        }
    }
    *REMOVED == Some(number)
}
"#;

/// Writes the copy. Unchanged files are not written, so that Cargo does not rebuild them.
pub fn copy(root: &Path, copy: &Path, tracked: &[String], sources: &[(String, String)], conditions: &[Condition]) {
    let mut texts: HashMap<&str, String> = HashMap::new();
    for (path, text) in sources {
        let of_file = conditions.iter().enumerate().filter(|(_, it)| it.file == *path);
        let mut switched = switched(text, path.starts_with("shared/"), of_file);
        if path.ends_with("src/lib.rs") {
            switched.insert_str(0, "#![allow(warnings)]\n");
        }
        texts.insert(path, switched);
    }
    texts.get_mut("shared/src/lib.rs").expect("the library").push_str(SWITCH);
    for path in tracked {
        let (from, to) = (root.join(path), copy.join(path));
        let Ok(content) = texts.remove(path.as_str()).map_or_else(|| fs::read(&from), |text| Ok(text.into_bytes()))
        else {
            continue;
        };
        if fs::read(&to).ok().as_ref() != Some(&content) {
            fs::create_dir_all(to.parent().expect("a folder")).expect("a folder");
            fs::write(&to, content).expect("a file");
        }
    }
}

/// The source with a switch at each condition.
fn switched<'a>(text: &str, in_library: bool, conditions: impl Iterator<Item = (usize, &'a Condition)>) -> String {
    let library = if in_library { "crate" } else { "vestibule" };
    // (position, whether a condition starts there, sort key by length, inserted text). Of the conditions that end at
    // one position, the inner one ends first; of those that start at one position, the outer one starts first.
    let mut inserted = Vec::new();
    for (number, it) in conditions {
        let removed = format!("{library}::condition_removed({number})");
        let none = "crate::store::write::Condition::All(Vec::new())";
        let (before, after) = match it.removal {
            Removal::Holds => (format!("({removed} || ("), "))".to_owned()),
            Removal::Never => (format!("(!{removed} && ("), "))".to_owned()),
            Removal::Unguarded => (format!("(if {removed} {{ {none} }} else {{ "), " })".to_owned()),
            Removal::Unconditional => {
                let unguarded = format!("; if {removed} {{ write.condition = {none}; }} write }})");
                ("({ let mut write = ".to_owned(), unguarded)
            }
            Removal::Skipped => (format!("if !{removed} {{ "), " }".to_owned()),
        };
        let length = it.place.len() * 8 + usize::from(it.removal == Removal::Holds);
        inserted.push((it.place.start, true, usize::MAX - length, before));
        inserted.push((it.place.end, false, length, after));
    }
    inserted.sort();
    let (mut switched, mut at) = (String::new(), 0);
    for (place, _, _, what) in inserted {
        switched.push_str(&text[at..place]);
        switched.push_str(&what);
        at = place;
    }
    switched.push_str(&text[at..]);
    switched
}

/// A test of the copy, and what it does while no condition is removed.
pub struct Test {
    program: PathBuf,
    /// The folder that the program runs in.
    folder: PathBuf,
    name: String,
    /// The conditions that it evaluates, by number.
    reached: HashSet<usize>,
    time: Duration,
}

/// The test programs of the whole service that are likely to notice a removed condition.
pub const TESTS: [&str; 25] = [
    "attacks",
    "authorization",
    "contract",
    "directory",
    "dynamo",
    "events",
    "fault_injection",
    "faults",
    "form",
    "init",
    "journeys",
    "lambda",
    "mail_queue",
    "openapi",
    "operators",
    "pages",
    "pages_admin",
    "pages_brand",
    "pages_import",
    "pages_password",
    "pages_support",
    "saml",
    "sealing",
    "secret_exposure",
    "texts",
];

/// Those that need an emulator, and the features that enable them.
pub const EMULATED: [&str; 2] = ["dynamodb_local", "kms"];
pub const EMULATORS: &str = "tests/dynamodb-local,tests/kms-emulator";

/// Builds the tests of the copy: the wanted programs after the tests beside the code, each with the folder that it runs
/// in. Returns `None` if the build fails. The whole workspace is selected, so that Cargo builds dependencies once and the
/// library with all its features. `features` are those that programs need which talk to an emulator.
fn build(copy: &Path, wanted: &[&str], features: &str) -> Option<Vec<(PathBuf, PathBuf)>> {
    let mut command = Command::new("cargo");
    command.args(["test", "--locked", "--workspace", "--no-run", "--message-format=json-render-diagnostics", "--lib"]);
    command.args(["--features", features]).args(wanted.iter().flat_map(|test| ["--test", test]));
    // Neither is needed for one build, and both take a lot of space.
    command.env("CARGO_INCREMENTAL", "0").env("CARGO_PROFILE_DEV_DEBUG", "0");
    command.env("CARGO_TARGET_DIR", copy.join("target")).current_dir(copy);
    let built = command.stderr(Stdio::inherit()).output().expect("cargo");
    let mut programs = Vec::new();
    for line in String::from_utf8_lossy(&built.stdout).lines() {
        let Ok(it) = serde_json::from_str::<serde_json::Value>(line) else { continue };
        if let (Some(program), Some(manifest)) = (it["executable"].as_str(), it["manifest_path"].as_str()) {
            let folder = Path::new(manifest).parent().expect("a folder").to_owned();
            // The local server has no conditions of the service.
            if !folder.ends_with("local") {
                programs.push((program.into(), folder));
            }
        }
    }
    built.status.success().then_some(programs)
}

/// Runs tests of one program. Returns its output if one fails. To take longer than `limit` counts as a failure.
fn failure(
    (program, folder): (&Path, &Path),
    names: &[&str],
    (variable, value): (&str, &str),
    limit: Duration,
) -> Option<String> {
    let thread = std::thread::current().id();
    let output = std::env::temp_dir().join(format!("conditions-{}-{thread:?}", std::process::id()));
    let to = fs::File::create(&output).expect("a file");
    let mut command = Command::new(program);
    command.arg("--exact").args(names).env(variable, value);
    command.env("CARGO_MANIFEST_DIR", folder).env("RUST_BACKTRACE", "0").current_dir(folder);
    let mut child = command.stdout(to).stderr(Stdio::null()).spawn().expect("a test program");
    let begun = Instant::now();
    let status = loop {
        if let Some(status) = child.try_wait().expect("a child") {
            break Some(status);
        }
        if begun.elapsed() > limit {
            let _ = child.kill();
            let _ = child.wait();
            break None;
        }
        std::thread::sleep(Duration::from_millis(5));
    };
    let output = fs::read_to_string(&output).unwrap_or_default();
    (!status.is_some_and(|status| status.success())).then_some(output)
}

/// Builds the tests of the copy, and runs each once to learn which conditions it evaluates: only these can change its
/// result. What was learnt is kept next to the program until the program changes. Returns `None` if the build fails.
pub fn tests(copy: &Path, wanted: &[&str], features: &str) -> Option<Vec<Test>> {
    let mut programs = Vec::new();
    for (program, folder) in build(copy, wanted, features)? {
        let kept = program.with_extension("reached");
        let modified = |path: &Path| fs::metadata(path).and_then(|it| it.modified()).ok();
        if modified(&kept) < modified(&program) {
            fs::write(&kept, learn(&program, &folder)).expect("a file");
        }
        let text = fs::read_to_string(&kept).expect("a file");
        programs.push(text.lines().map(|line| known(line, &program, &folder)).collect::<Vec<_>>());
    }
    // The library's own tests run first, then the fastest programs.
    programs.sort_by_key(|of_program| {
        let beside_code = of_program.iter().any(|test| test.folder.ends_with("shared"));
        (!beside_code, of_program.iter().map(|test| test.time).sum::<Duration>())
    });
    Some(programs.into_iter().flatten().collect())
}

/// Reads a line of [`learn`].
fn known(line: &str, program: &Path, folder: &Path) -> Test {
    let mut words = line.split(' ');
    let name = words.next().expect("a name").to_owned();
    let time = Duration::from_millis(words.next().and_then(|word| word.parse().ok()).expect("a time"));
    let reached = words.map(|word| word.parse().expect("a number")).collect();
    Test { program: program.to_owned(), folder: folder.to_owned(), name, reached, time }
}

/// One line for each test of a program: its name, its milliseconds and the conditions that it evaluates.
fn learn(program: &Path, folder: &Path) -> String {
    let listed = Command::new(program).args(["--list", "--format", "terse"]).current_dir(folder).output();
    let listed = String::from_utf8(listed.expect("a test program").stdout).expect("names");
    let file = std::env::temp_dir().join(format!("conditions-reached-{}", std::process::id()));
    let mut lines = String::new();
    for name in listed.lines().filter_map(|line| line.strip_suffix(": test")) {
        fs::write(&file, "").expect("a file");
        let begun = Instant::now();
        let reached = (REACHED, file.to_str().expect("a path"));
        if failure((program, folder), &[name], reached, Duration::from_secs(600)).is_some() {
            println!("fails, though no condition is removed: {name}");
            continue;
        }
        let time = begun.elapsed().as_millis();
        let reached = fs::read_to_string(&file).expect("a file").replace('\n', " ");
        lines.push_str(format!("{name} {time} {reached}").trim_end());
        lines.push('\n');
    }
    lines
}

/// The first test that fails without a condition. Of those that evaluate it, the tests run first that noticed most
/// conditions so far, then those beside the code, then the fastest.
fn failing_test(
    tests: &[Test],
    noticed: &Mutex<HashMap<String, usize>>,
    number: usize,
    condition: &Condition,
) -> Option<String> {
    let module = condition.file.strip_prefix("shared/src/").unwrap_or_default();
    let module = module.trim_end_matches(".rs").replace('/', "::");
    for of_program in tests.chunk_by(|a, b| a.program == b.program) {
        let mut reaching: Vec<_> = of_program.iter().filter(|test| test.reached.contains(&number)).collect();
        let noticed_before = noticed.lock().expect("no panic").clone();
        reaching.sort_by_key(|test| {
            (Reverse(noticed_before.get(&test.name).copied().unwrap_or(0)), !test.name.starts_with(&module), test.time)
        });
        let mut size = 4;
        while !reaching.is_empty() {
            let some: Vec<_> = reaching.drain(..size.min(reaching.len())).collect();
            let names: Vec<_> = some.iter().map(|test| test.name.as_str()).collect();
            let limit = Duration::from_secs(30) + some.iter().map(|test| test.time).sum::<Duration>() * 4;
            let (of, removed) = ((&*some[0].program, &*some[0].folder), (REMOVED, &*number.to_string()));
            if let Some(output) = failure(of, &names, removed, limit) {
                let failed = output.lines().find_map(|line| line.strip_prefix("test ")?.strip_suffix(" ... FAILED"));
                if let Some(test) = failed {
                    *noticed.lock().expect("no panic").entry(test.to_owned()).or_default() += 1;
                }
                let program = some[0].program.file_stem()?.to_string_lossy().into_owned();
                let program = program.rsplit_once('-').map_or("", |(name, _)| name);
                return Some(format!("{program} {}", failed.unwrap_or("(aborted or timed out)")));
            }
            size *= 4;
        }
    }
    None
}

/// Removes each condition, as many at once as there are processors. Reports those that no test notices, and fails if one
/// is not explained in docs/mutation.md.
pub fn all(root: &Path, copy: &Path, tests: &[Test], conditions: &[(usize, &Condition)]) -> ExitCode {
    let kept = copy.join("results.txt");
    let known = fs::read_to_string(&kept).unwrap_or_default();
    let known: HashSet<&str> =
        known.lines().filter_map(|line| line.strip_prefix("noticed\t")?.split('\t').next()).collect();
    let explained = fs::read_to_string(root.join("docs/mutation.md")).unwrap_or_default();
    let results = fs::OpenOptions::new().create(true).append(true).open(&kept).expect("results");
    let (open, noticed_before): (Vec<_>, Vec<_>) =
        conditions.iter().copied().partition(|(_, it)| !known.contains(it.key().as_str()));
    let (by_test, survivors, waiting) = (Mutex::default(), Mutex::new(Vec::new()), Mutex::new(open.iter().copied()));
    std::thread::scope(|scope| {
        for _ in 0..std::thread::available_parallelism().map_or(1, std::num::NonZero::get) {
            scope.spawn(|| {
                let next = || waiting.lock().expect("no panic").next();
                while let Some((number, condition)) = next() {
                    let key = condition.key();
                    let line = if let Some(test) = failing_test(tests, &by_test, number, condition) {
                        format!("noticed\t{key}\t{test}\n")
                    } else {
                        println!("no test fails without: {key}");
                        let line = format!("not noticed\t{key}\n");
                        survivors.lock().expect("no panic").push(key);
                        line
                    };
                    (&results).write_all(line.as_bytes()).expect("results");
                }
            });
        }
    });
    let survivors = survivors.into_inner().expect("no panic");
    let unexplained = survivors.iter().filter(|key| !explained.contains(key.as_str())).count();
    println!(
        "{} noticed, {} not noticed, {} of them explained in docs/mutation.md",
        noticed_before.len() + open.len() - survivors.len(),
        survivors.len(),
        survivors.len() - unexplained
    );
    if unexplained == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
