//! ARCHITECTURE.md agrees with the code, and dependencies keep their direction.
#![allow(clippy::unwrap_used, clippy::panic)]

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use tests::{document::DOCUMENT, flows};

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap()
}

fn page() -> String {
    fs::read_to_string(root().join("ARCHITECTURE.md")).unwrap()
}

/// The texts in backticks.
fn named(page: &str) -> impl Iterator<Item = &str> {
    page.split('`').skip(1).step_by(2)
}

/// A path has a slash and no space; the address of an endpoint begins with a slash. A test is named by path and name.
#[test]
fn named_paths_exist() {
    let page = page();
    let paths: Vec<_> = named(&page).filter(|text| text.contains('/') && !text.contains(' ')).collect();
    assert!(paths.len() > 10);
    for path in paths {
        let file = path.split("::").next().unwrap();
        assert!(!path.starts_with('/') && root().join(file).exists(), "{path} does not exist");
    }
}

#[test]
fn every_function_is_named() {
    let page = page();
    for entry in fs::read_dir(root().join("functions")).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        assert!(named(&page).any(|text| text == name), "ARCHITECTURE.md does not name the function {name}");
    }
}

/// Every operation that may write has a row in the tables of flows, and every row names an operation and its function.
/// `costs.rs` measures the other columns.
#[test]
fn every_operation_that_may_write_has_a_row_with_its_function() {
    let paths = DOCUMENT["paths"].as_object().unwrap().iter();
    let methods = paths.flat_map(|(path, item)| item.as_object().unwrap().keys().map(move |method| (method, path)));
    let operations: BTreeSet<_> = methods.map(|(method, path)| format!("{} {path}", method.to_uppercase())).collect();
    let rows = flows::rows();
    for operation in operations.iter().filter(|operation| !operation.starts_with("GET ")) {
        assert!(rows.iter().any(|row| row.endpoint == *operation), "ARCHITECTURE.md has no row for {operation}");
    }
    for row in rows {
        let files = rust_files(&root().join("functions").join(&row.function).join("src"));
        assert!(!files.is_empty(), "{}: there is no function {}", row.name, row.function);
        let Some((_, path)) = row.endpoint.split_once(' ') else { continue };
        assert!(operations.contains(&row.endpoint), "{}: there is no {}", row.name, row.endpoint);
        let serves = |file: &PathBuf| fs::read_to_string(file).unwrap().contains(&format!("path = \"{path}\""));
        assert!(files.iter().any(serves), "{}: {} does not serve {path}", row.name, row.function);
    }
}

#[test]
fn functions_are_independent_and_only_local_uses_sled() {
    let names: Vec<_> = fs::read_dir(root().join("functions"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    assert!(names.len() > 5);
    let manifest = |folder: String| fs::read_to_string(root().join(folder).join("Cargo.toml")).unwrap();
    let dependencies = |text: &str| -> Vec<String> {
        let after = text.split_once("[dependencies]").map_or("", |(_, after)| after);
        after.lines().filter_map(|line| line.split(['.', ' ', '=']).next().map(str::to_owned)).collect()
    };
    for name in &names {
        let wanted = dependencies(&manifest(format!("functions/{name}")));
        assert!(!wanted.iter().any(|wanted| names.contains(wanted) || wanted == "sled"), "{name}: {wanted:?}");
    }
    assert!(!dependencies(&manifest("shared".into())).contains(&"sled".to_owned()));
}

/// Only `sso` parses XML from outside.
#[test]
fn only_sso_depends_on_xml_and_signature_crates() {
    let names = fs::read_dir(root().join("functions")).unwrap();
    let names: Vec<_> = names.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    let (sso, others): (Vec<_>, Vec<_>) = names.into_iter().partition(|name| name == "sso");
    let has = |functions: &[String]| {
        let mut tree = Command::new(env!("CARGO"));
        tree.args(["tree", "--offline", "--locked", "--edges=normal", "--prefix=none"]).current_dir(root());
        let tree = tree.args(functions.iter().flat_map(|name| ["--package", name])).output().unwrap();
        assert!(tree.status.success(), "{}", String::from_utf8_lossy(&tree.stderr));
        let tree = String::from_utf8(tree.stdout).unwrap();
        ["bergshamra-", "uppsala "].map(|name| tree.lines().any(|line| line.starts_with(name)))
    };
    assert_eq!((has(&sso), has(&others)), ([true; 2], [false; 2]));
}

/// The modules of the library that a file names, tests apart.
fn modules_used(text: &str) -> Vec<String> {
    let text = text.split("#[cfg(test)]").next().unwrap();
    let ident = |text: &str| text.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect::<String>();
    let mut used = Vec::new();
    for after in text.split("crate::").skip(1) {
        let Some(group) = after.strip_prefix('{') else {
            used.push(ident(after));
            continue;
        };
        let mut depth = 0;
        let mut start = true;
        for (at, c) in group.char_indices() {
            match c {
                '{' => depth += 1,
                '}' if depth == 0 => break,
                '}' => depth -= 1,
                ',' if depth == 0 => start = true,
                c if start && c.is_alphabetic() => {
                    used.push(ident(&group[at..]));
                    start = false;
                }
                _ => {}
            }
        }
    }
    used
}

/// The Rust files of a module: its own and those beneath it.
fn files_of(module: &str) -> Vec<PathBuf> {
    let base = root().join("shared/src");
    let mut files = rust_files(&base.join(module));
    files.push(base.join(format!("{module}.rs")));
    files
}

/// The Rust files in a folder and beneath it. None if there is no such folder.
fn rust_files(folder: &Path) -> Vec<PathBuf> {
    let (mut files, mut folders) = (Vec::new(), vec![folder.to_owned()]);
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).into_iter().flatten() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                files.push(path);
            }
        }
    }
    files
}

/// The number of lines before the module with the tests of a file.
fn lines_without_tests(text: &str) -> usize {
    let end = text.find("\n#[cfg(test)]\nmod tests {").unwrap_or(text.len());
    text[..end].lines().count()
}

/// A file is read at one sitting. Its tests do not count: they follow its code, or are in a file of their own.
#[test]
fn files_have_at_most_500_lines_without_their_tests() {
    let functions = fs::read_dir(root().join("functions")).unwrap().map(|entry| entry.unwrap().path().join("src"));
    let folders = functions.chain(["shared/src", "local/src", "xtask/src"].map(|folder| root().join(folder)));
    let files: Vec<_> = folders.flat_map(|folder| rust_files(&folder)).collect();
    assert!(files.len() > 100, "only {} files were found", files.len());
    for file in files.iter().filter(|file| !file.file_name().unwrap().to_str().unwrap().ends_with("tests.rs")) {
        let lines = lines_without_tests(&fs::read_to_string(file).unwrap());
        assert!(lines <= 500, "{} has {lines} lines without its tests", file.display());
    }
}

#[test]
fn lines_of_tests_do_not_count() {
    let code = "a\nb\n";
    assert_eq!(lines_without_tests(code), 2);
    assert_eq!(lines_without_tests(&format!("{code}\n#[cfg(test)]\nmod tests {{\n    c\n}}\n")), 2);
    assert_eq!(lines_without_tests("a\n#[cfg(test)]\nmod tests;\nb\n"), 4);
}

/// Rules are pure: they do not know the store, HTTP or AWS, and name no attribute of an item.
#[test]
fn layers_of_the_library_point_one_way() {
    let outer = ["store", "http", "lambda", "aws", "kms", "saml", "cloud_event", "metrics", "log"];
    let layers: [(&str, &[&str]); 6] = [
        ("domain", &["auth", "sign_in", "sso", "audit", "totp", "recovery", "password"]),
        ("policy", &["domain", "auth", "sign_in", "sso", "audit"]),
        ("auth", &[]),
        ("sign_in", &["auth"]),
        ("sso", &["auth"]),
        ("store", &[]),
    ];
    for (module, forbidden) in layers {
        for file in files_of(module) {
            let text = fs::read_to_string(&file).unwrap();
            let used = modules_used(&text);
            let outer = if module == "store" { &outer[1..3] } else { &outer[..] };
            let wrong = used.iter().find(|used| outer.iter().chain(forbidden).any(|it| it == used));
            assert!(wrong.is_none(), "{} uses {}", file.display(), wrong.unwrap());
            let pure = module == "domain" || module == "auth";
            assert!(!pure || !text.contains("#[serde"), "{} has names of attributes", file.display());
        }
    }
}

#[test]
fn used_modules_are_found() {
    let text = "use crate::{\n    domain::{Amr, User},\n    id::X,\n};\nlet a = crate::store::item();\n#[cfg(test)]\nuse crate::http;";
    assert_eq!(modules_used(text), ["domain", "id", "store"]);
}
