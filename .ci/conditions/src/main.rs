//! Removes each condition of the service, one at a time, and runs the tests: a test has to fail.
//!
//! A copy of the sources is built once, under `target/conditions/`, in which an environment variable removes one
//! condition. Each test of it runs once alone, to learn which conditions it evaluates. Then each condition costs one run
//! of the tests that evaluate it. `find.rs` finds the conditions in the syntax tree.
//!
//! `conditions [--list] [--library] [--test=NAME ...] [--emulators] [FILE ...]`: all conditions, or those of files whose
//! path contains one of these strings. `--list` only lists them. `--library` runs only the tests beside the code, which
//! build fastest; `--test` adds single programs of `tests/tests/` to them. `--emulators` adds the programs that need
//! `.ci/with-dynamodb-local` and `.ci/with-kms`. Results are kept in `target/conditions/results.txt`: an interrupted run
//! continues, and repeats only conditions that were not noticed.

mod find;
mod run;

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, ExitCode},
};

use find::Condition;

/// The files that are examined: the library and the flows, without `main.rs` and test helpers.
fn is_examined(path: &str) -> bool {
    let code = path.starts_with("shared/src/") || (path.starts_with("functions/") && path.contains("/src/"));
    let for_tests =
        ["store/conditions", "store/contract", "store/fixture", "store/interleav", "store/memory", "tests.rs"];
    code && path.ends_with(".rs") && !path.ends_with("/main.rs") && !for_tests.iter().any(|part| path.contains(part))
}

fn tracked(root: &Path) -> Vec<String> {
    let listed = Command::new("git").args(["ls-files"]).current_dir(root).output().expect("git");
    String::from_utf8(listed.stdout).expect("paths").lines().map(str::to_owned).collect()
}

fn main() -> ExitCode {
    let root = PathBuf::from(env!("CARGO_MANIFEST_DIR")).ancestors().nth(2).expect("two folders up").to_owned();
    let (options, files): (Vec<_>, Vec<_>) = std::env::args().skip(1).partition(|it| it.starts_with("--"));
    let tracked = tracked(&root);
    let sources: Vec<(String, String)> = tracked
        .iter()
        .filter(|path| is_examined(path))
        .map(|path| (path.clone(), fs::read_to_string(root.join(path)).expect("a source")))
        .collect();
    let constructors = find::constructors(sources.iter().map(|(_, text)| text.as_str()));
    let mut conditions: Vec<Condition> = Vec::new();
    for (path, text) in &sources {
        conditions.extend(find::conditions(path, text, &constructors));
    }
    find::number_alike(&mut conditions);
    let wanted = |it: &Condition| files.is_empty() || files.iter().any(|file| it.file.contains(file));
    let has = |option: &str| options.iter().any(|it| it == option);
    if has("--list") {
        conditions.iter().filter(|it| wanted(it)).for_each(|it| println!("{}", it.key()));
        return ExitCode::SUCCESS;
    }
    let mut wanted_tests: Vec<&str> = options.iter().filter_map(|it| it.strip_prefix("--test=")).collect();
    if wanted_tests.is_empty() && !has("--library") {
        wanted_tests = run::TESTS.to_vec();
    }
    let mut features = "";
    if has("--emulators") {
        wanted_tests.extend(run::EMULATED);
        features = run::EMULATORS;
    }
    let copy = root.join("target/conditions");
    run::copy(&root, &copy, &tracked, &sources, &conditions);
    let Some(tests) = run::tests(&copy, &wanted_tests, features) else {
        return ExitCode::FAILURE;
    };
    let numbered: Vec<_> = conditions.iter().enumerate().filter(|(_, it)| wanted(it)).collect();
    run::all(&root, &copy, &tests, &numbered)
}
