//! Removes one protection of the SAML code at a time, and runs the tests: a test has to fail (docs/mutation.md).
//!
//! The sources are copied to target/saml-mutants, and each mutant becomes a switch that an environment variable selects. So the
//! copy is built once, and each mutant costs one run of the tests, which stops at the first failure. The service itself has no
//! switches.

mod list;

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use serde_json::Value;

use crate::{read, root};
use list::{EDITS, LIBRARY, REDUNDANT};

/// A change of a source that removes a protection if its mutant is selected.
enum Edit {
    Accept { name: &'static str, path: &'static str, text: &'static str },
    Ignore { name: &'static str, path: &'static str, text: &'static str },
    Replace { path: &'static str, text: &'static str, by: &'static str },
}

/// Added to the copy's library.
const SWITCH: &str = r#"
/// Whether this mutant is selected.
#[must_use]
pub fn mutant(name: &str) -> bool {
    std::env::var("SAML_MUTANTS").is_ok_and(|mutants| mutants.split(';').any(|it| it == name))
}
"#;

/// The test programs and their filters, the quickest first.
const TESTS: [(&str, &[&str]); 5] = [
    ("sso", &[]),
    ("saml", &["--skip", "mutated_responses_never_change_the_identity"]),
    ("journeys", &["sso::"]),
    ("vestibule", &["saml", "sso"]),
    ("saml", &["mutated_responses_never_change_the_identity"]),
];

/// Edited files by path.
type Texts = BTreeMap<&'static str, String>;

/// Each test program with the folder that it runs in.
type Programs = BTreeMap<String, (PathBuf, PathBuf)>;

/// A test: the program and its name.
type Test = (String, String);

/// Runs the named mutants, or all. With `--check`, only checks that each edit still fits the sources. Returns whether each
/// mutant was caught or explained.
#[must_use]
pub fn saml_mutants(arguments: &[String]) -> bool {
    let (names, texts) = match edited() {
        Ok(edited) => edited,
        Err(misfits) => {
            eprintln!("{}", misfits.join("\n"));
            return false;
        }
    };
    // A name in parentheses is switched off only to show that another mutant is redundant.
    let names: Vec<_> = names.into_iter().filter(|name| !name.starts_with('(')).collect();
    if arguments == ["--check"] {
        println!("{} mutants fit the sources", names.len());
        return true;
    }
    let unknown: Vec<_> = arguments.iter().filter(|name| !names.contains(name)).collect();
    assert!(unknown.is_empty(), "no such mutant: {unknown:?}");
    let selected = if arguments.is_empty() { &names } else { arguments };
    let programs = build(&root().join("target/saml-mutants"), texts);
    assert_eq!(failing(&programs, &[], &all_tests()), None, "a test fails without any mutant");
    run(&programs, selected)
}

/// The names of all switches, and the edited files; or the edits that do not fit their file.
fn edited() -> Result<(Vec<String>, Texts), Vec<String>> {
    let (mut names, mut texts, mut misfits) = (Vec::new(), Texts::new(), Vec::new());
    for edit in EDITS {
        let (path, text, by) = match edit {
            Edit::Accept { name, path, text } => (*path, *text, format!("(OFF[{name}] || ({text}))")),
            Edit::Ignore { name, path, text } => (*path, *text, format!("(!OFF[{name}] && ({text}))")),
            Edit::Replace { path, text, by } => (*path, *text, (*by).to_owned()),
        };
        let whole = texts.entry(path).or_insert_with(|| read(path));
        match whole.matches(text).count() {
            1 => *whole = whole.replace(text, &with_switches(path, &by, &mut names)),
            count => misfits.push(format!("{path}: {count} occurrences: {text}")),
        }
    }
    texts.insert("shared/src/lib.rs", ["#![allow(warnings)]\n", &read("shared/src/lib.rs"), SWITCH].concat());
    if misfits.is_empty() { Ok((names, texts)) } else { Err(misfits) }
}

/// Replaces each `OFF[name]` by a call of the switch.
fn with_switches(path: &str, text: &str, names: &mut Vec<String>) -> String {
    let library = if path.starts_with("functions/") { "vestibule" } else { "crate" };
    let mut parts = text.split("OFF[");
    let mut switched = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let (name, after) = part.split_once(']').unwrap();
        if !names.iter().any(|known| known == name) {
            names.push(name.to_owned());
        }
        switched.push_str(&format!("{library}::mutant({name:?}){after}"));
    }
    switched
}

/// Copies the sources, writes the edited files, and builds the tests. Unchanged files are not written, so that Cargo does not
/// rebuild them.
fn build(copy: &Path, mut texts: Texts) -> Programs {
    let tracked = Command::new("git").arg("ls-files").current_dir(root()).output().unwrap();
    let tracked = String::from_utf8(tracked.stdout).unwrap();
    let tracked: Vec<_> = tracked.lines().filter(|path| root().join(path).is_file()).collect();
    for path in &tracked {
        let content = texts.remove(*path).map_or_else(|| fs::read(root().join(path)).unwrap(), String::into_bytes);
        let to = copy.join(path);
        if fs::read(&to).ok().as_ref() != Some(&content) {
            fs::create_dir_all(to.parent().unwrap()).unwrap();
            fs::write(&to, content).unwrap();
        }
    }
    remove_others(copy, copy, &tracked);
    let built = Command::new("cargo")
        .args(["test", "--locked", "--no-run", "--message-format=json-render-diagnostics", "--workspace", "--lib"])
        .args(["--test", "saml", "--test", "journeys"])
        .env("CARGO_TARGET_DIR", copy.join("target"))
        .current_dir(copy)
        .stderr(Stdio::inherit())
        .output()
        .unwrap();
    assert!(built.status.success(), "the copy does not build");
    let mut programs = Programs::new();
    for line in String::from_utf8(built.stdout).unwrap().lines() {
        let line: Value = serde_json::from_str(line).unwrap();
        if let Some(program) = line["executable"].as_str() {
            let folder = Path::new(line["manifest_path"].as_str().unwrap()).parent().unwrap().to_owned();
            programs.insert(line["target"]["name"].as_str().unwrap().to_owned(), (program.into(), folder));
        }
    }
    programs
}

/// Removes what is in the copy and no longer in the sources, for example a test.
fn remove_others(copy: &Path, folder: &Path, tracked: &[&str]) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let name = path.strip_prefix(copy).unwrap().to_str().unwrap();
        if path.is_dir() && name != "target" {
            remove_others(copy, &path, tracked);
        } else if path.is_file() && !tracked.contains(&name) {
            fs::remove_file(&path).unwrap();
        }
    }
}

fn all_tests() -> Vec<(String, Vec<String>)> {
    let owned = |filters: &[&str]| filters.iter().map(|filter| (*filter).to_owned()).collect();
    TESTS.map(|(program, filters)| (program.to_owned(), owned(filters))).into()
}

fn one_test((program, name): &Test) -> Vec<(String, Vec<String>)> {
    vec![(program.clone(), vec![name.clone(), "--exact".to_owned()])]
}

/// The first test that fails with these mutants. A timeout counts as a failure.
fn failing(programs: &Programs, mutants: &[&str], tests: &[(String, Vec<String>)]) -> Option<Test> {
    for (name, filters) in tests {
        let (program, folder) = &programs[name];
        let output = root().join("target/saml-mutants.log");
        let mut child = Command::new(program)
            .args(filters)
            .env("SAML_MUTANTS", mutants.join(";"))
            .env("CARGO_MANIFEST_DIR", folder)
            .env("RUST_BACKTRACE", "0")
            .current_dir(folder)
            .stdout(fs::File::create(&output).unwrap())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let begun = Instant::now();
        let status = loop {
            if let Some(status) = child.try_wait().unwrap() {
                break status;
            }
            if begun.elapsed() > Duration::from_secs(300) {
                child.kill().unwrap();
                child.wait().unwrap();
                return Some((name.clone(), "(timeout)".to_owned()));
            }
            thread::sleep(Duration::from_millis(20));
        };
        let output = String::from_utf8_lossy(&fs::read(&output).unwrap()).into_owned();
        assert!(!output.contains(" 0 passed; 0 failed"), "{name} has no test {filters:?}");
        if !status.success() {
            let failed = output.lines().find_map(|line| line.strip_prefix("test ")?.strip_suffix(" ... FAILED"));
            let failed = failed.and_then(|line| line.split(" - ").next()).unwrap_or("(aborted)");
            return Some((name.clone(), failed.to_owned()));
        }
    }
    None
}

/// The test that fails if a protection is removed together with its backups.
fn redundant(programs: &Programs, name: &str) -> Option<Test> {
    let (_, backups, program, test) = REDUNDANT.into_iter().find(|(redundant, ..)| *redundant == name)?;
    let test = one_test(&(program.to_owned(), test.to_owned()));
    assert_eq!(failing(programs, backups, &test), None, "{test:?} fails already without {backups:?}");
    failing(programs, &[&[name], backups].concat(), &test)
}

/// Runs the tests with each mutant, and prints the result. The test that found a mutant the last time runs first.
fn run(programs: &Programs, selected: &[String]) -> bool {
    let results = root().join("target/saml-mutants.json");
    let last = fs::read(&results).ok().and_then(|text| serde_json::from_slice(&text).ok());
    let mut last: BTreeMap<String, Test> = last.unwrap_or_default();
    let mut count = BTreeMap::from(["caught", "redundant", "library", "survived"].map(|kind| (kind, 0)));
    for name in selected {
        let begun = Instant::now();
        let again = last.get(name).and_then(|test| failing(programs, &[name], &one_test(test)));
        let (kind, why) = if let Some(test) = again.or_else(|| failing(programs, &[name], &all_tests())) {
            let why = format!("{} {}", test.0, test.1);
            if !test.1.starts_with('(') {
                last.insert(name.clone(), test);
                fs::write(&results, serde_json::to_vec(&last).unwrap()).unwrap();
            }
            ("caught", why)
        } else if let Some((program, test)) = redundant(programs, name) {
            ("redundant", format!("{program} {test}"))
        } else if let Some((_, why)) = LIBRARY.into_iter().find(|(library, _)| library == name) {
            ("library", why.to_owned())
        } else {
            ("survived", "no test failed".to_owned())
        };
        *count.get_mut(kind).unwrap() += 1;
        println!("{kind:9} {name}: {why} ({} s)", begun.elapsed().as_secs());
    }
    println!("{}", count.iter().map(|(kind, number)| format!("{number} {kind}")).collect::<Vec<_>>().join(", "));
    count["survived"] == 0
}
