//! ARCHITECTURE.md tells the truth, and dependencies keep to their direction.
#![allow(clippy::unwrap_used)]

use std::{fs, path::Path};

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap()
}

#[test]
fn every_path_it_names_is_there() {
    let page = fs::read_to_string(root().join("ARCHITECTURE.md")).unwrap();
    let named: Vec<_> = page.split('`').skip(1).step_by(2).filter(|text| text.contains('/')).collect();
    assert!(named.len() > 10);
    for path in named {
        assert!(root().join(path).exists(), "{path} is gone");
    }
}

#[test]
fn functions_do_not_depend_on_each_other_and_sled_is_in_local_alone() {
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
