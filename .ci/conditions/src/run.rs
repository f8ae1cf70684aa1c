//! Builds the copy in which conditions can be removed, and runs the tests.

use std::{
    collections::{HashMap, HashSet},
    fs,
    io::Write,
    path::{Path, PathBuf},
    process::{Command, ExitCode, Stdio},
    time::{Duration, Instant},
};

use crate::find::{Condition, Removal};

/// The variable with the number of the condition to remove.
const VARIABLE: &str = "CONDITION_REMOVED";

/// Added to the copy's library. The service itself has no switches.
const SWITCH: &str = r#"
/// Whether this condition is removed.
#[must_use]
#[allow(missing_docs)]
pub fn condition_removed(number: u32) -> bool {
    static REMOVED: std::sync::LazyLock<Option<u32>> =
        std::sync::LazyLock::new(|| std::env::var("CONDITION_REMOVED").ok()?.parse().ok());
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

/// Test programs by name, each with the folder that it runs in.
pub type Programs = HashMap<String, (PathBuf, PathBuf)>;

/// Builds the tests of the copy. Returns `None` if the build fails.
pub fn build(copy: &Path, library_only: bool) -> Option<Programs> {
    let tests = ["attacks", "authorization", "contract", "directory", "journeys", "saml"];
    let mut command = Command::new("cargo");
    command.args([
        "test",
        "--locked",
        "--no-run",
        "--message-format=json-render-diagnostics",
        "--lib",
        "-p",
        "vestibule",
    ]);
    if !library_only {
        command.args(["-p", "sso", "-p", "tests"]).args(tests.iter().flat_map(|test| ["--test", test]));
    }
    command.env("CARGO_TARGET_DIR", copy.join("target")).current_dir(copy);
    let built = command.stderr(Stdio::inherit()).output().expect("cargo");
    let mut programs = HashMap::new();
    for line in String::from_utf8_lossy(&built.stdout).lines() {
        let Ok(it) = serde_json::from_str::<serde_json::Value>(line) else { continue };
        if let (Some(program), Some(name), Some(manifest)) =
            (it["executable"].as_str(), it["target"]["name"].as_str(), it["manifest_path"].as_str())
        {
            let folder = Path::new(manifest).parent().expect("a folder").to_owned();
            programs.insert(name.to_owned(), (program.into(), folder));
        }
    }
    built.status.success().then_some(programs)
}

/// The tests for a condition, as programs with filters. Fast ones that are likely to fail come first.
fn tests_for(condition: &Condition) -> Vec<(&'static str, Vec<String>)> {
    let of_library =
        condition.file.strip_prefix("shared/src/").map(|path| path.trim_end_matches(".rs").replace('/', "::"));
    let skipped = |them: &[String]| them.iter().flat_map(|it| ["--skip".to_owned(), it.clone()]).collect::<Vec<_>>();
    let mut tests_for = Vec::new();
    if let Some(module) = &of_library {
        let near = vec![format!("{module}::"), "store::conditions::".to_owned()];
        tests_for.push(("vestibule", near.clone()));
        tests_for.push(("vestibule", skipped(&near)));
    }
    let sso = condition.file.contains("sso") || condition.file.contains("saml");
    if sso {
        tests_for
            .extend([("sso", vec![]), ("saml", skipped(&["mutated_responses_never_change_the_identity".to_owned()]))]);
    }
    tests_for.extend(["attacks", "journeys", "directory", "authorization"].map(|name| (name, vec![])));
    tests_for.push(("contract", vec!["every_command_races_on_the_model".to_owned()]));
    if sso {
        tests_for.push(("saml", vec!["mutated_responses_never_change_the_identity".to_owned()]));
    }
    tests_for
}

/// The first test that fails without a condition. A timeout counts as a failure.
fn failing_test(programs: &Programs, number: usize, condition: &Condition) -> Option<String> {
    for (name, filters) in tests_for(condition) {
        let Some((program, folder)) = programs.get(name) else { continue };
        let mut command = Command::new(program);
        command
            .args(&filters)
            .env(VARIABLE, number.to_string())
            .env("CARGO_MANIFEST_DIR", folder)
            .env("RUST_BACKTRACE", "0");
        let output = std::env::temp_dir().join(format!("conditions-{}", std::process::id()));
        let to = fs::File::create(&output).expect("a file");
        let mut child = command.current_dir(folder).stdout(to).stderr(Stdio::null()).spawn().expect("a test program");
        let begun = Instant::now();
        let status = loop {
            if let Some(status) = child.try_wait().expect("a child") {
                break Some(status);
            }
            if begun.elapsed() > Duration::from_secs(180) {
                let _ = child.kill();
                let _ = child.wait();
                break None;
            }
            std::thread::sleep(Duration::from_millis(20));
        };
        if !status.is_some_and(|status| status.success()) {
            let output = fs::read_to_string(&output).unwrap_or_default();
            let failed = output.lines().find_map(|line| line.strip_prefix("test ")?.strip_suffix(" ... FAILED"));
            return Some(format!("{name} {}", failed.unwrap_or("(aborted or timed out)")));
        }
    }
    None
}

/// Removes each condition in turn. Reports those that no test notices, and fails if one is not explained in
/// docs/mutation.md.
pub fn all<'a>(
    root: &Path,
    copy: &Path,
    programs: &Programs,
    conditions: impl Iterator<Item = (usize, &'a Condition)>,
) -> ExitCode {
    let kept = copy.join("results.txt");
    let known = fs::read_to_string(&kept).unwrap_or_default();
    let known: HashSet<&str> =
        known.lines().filter_map(|line| line.strip_prefix("noticed\t")?.split('\t').next()).collect();
    let explained = fs::read_to_string(root.join("docs/mutation.md")).unwrap_or_default();
    let mut results = fs::OpenOptions::new().create(true).append(true).open(&kept).expect("results");
    let (mut noticed, mut survivors) = (0, Vec::new());
    for (number, condition) in conditions {
        let key = condition.key();
        if known.contains(key.as_str()) {
            noticed += 1;
            continue;
        }
        match failing_test(programs, number, condition) {
            Some(test) => {
                noticed += 1;
                writeln!(results, "noticed\t{key}\t{test}").expect("results");
            }
            None => {
                println!("no test fails without: {key}");
                writeln!(results, "not noticed\t{key}").expect("results");
                survivors.push(key);
            }
        }
    }
    let unexplained: Vec<_> = survivors.iter().filter(|key| !explained.contains(key.as_str())).collect();
    println!(
        "{noticed} noticed, {} not noticed, {} of them explained in docs/mutation.md",
        survivors.len(),
        survivors.len() - unexplained.len()
    );
    if unexplained.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
