//! The texts of pages and mails: code and templates use only texts that the catalogues have, and all of them. That the
//! catalogues of all languages have the same texts is tested in `shared/src/text.rs`.
#![allow(clippy::unwrap_used, clippy::panic)]

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
};

use tests::log::Log;
use tracing::Level;
use vestibule::{http::Code, language::Language, log, text::Text};

/// Texts of the code of pages that look like the name of a text.
const OTHERS: [&str; 14] = [
    "clear-site-data",
    "current-password",
    "former-address",
    "new-password",
    "one-time-code",
    "same-origin",
    "sec-fetch-site",
    "sso-tenant",
    "vestibule-challenge",
    "vestibule-device",
    "vestibule-enrolment",
    "vestibule-language",
    "vestibule-mail",
    "vestibule-sso",
];

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap()
}

/// The names of the texts.
fn names() -> BTreeSet<String> {
    let catalogue = fs::read_to_string(root().join("shared/text/en.ftl")).unwrap();
    let names = catalogue.lines().filter_map(|line| line.split_once(" =")).map(|(name, _)| name.to_owned());
    names.filter(|name| !name.starts_with([' ', '#', '.'])).collect()
}

fn files(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).into_iter().flatten() {
        let path = entry.unwrap().path();
        if path.is_dir() { files(&path, found) } else { found.push(path) }
    }
}

/// Path and content of each file of the product that is Rust or a template, without its tests.
fn sources() -> Vec<(String, String)> {
    let mut found = Vec::new();
    for entry in fs::read_dir(root().join("functions")).unwrap() {
        let function = entry.unwrap().path();
        files(&function.join("src"), &mut found);
        files(&function.join("templates"), &mut found);
    }
    files(&root().join("shared/src"), &mut found);
    files(&root().join("shared/templates"), &mut found);
    let kind = |path: &PathBuf| path.extension().is_some_and(|kind| kind == "rs" || kind == "html");
    let sources = found.into_iter().filter(kind).map(|path| {
        let text = fs::read_to_string(&path).unwrap();
        let product = text.split("#[cfg(test)]").next().unwrap().to_owned();
        (path.strip_prefix(root()).unwrap().to_str().unwrap().to_owned(), product)
    });
    sources.filter(|(path, _)| !path.ends_with("tests.rs")).collect()
}

/// Whether the code of pages and mails is in the file.
fn has_texts(path: &str) -> bool {
    path.contains("/page") || path.contains("/templates/") || path.starts_with("functions/password-mail/")
}

/// Whether a text looks like the name of a text: words with hyphens between them.
fn is_like_a_name(text: &str) -> bool {
    let word = |word: &str| !word.is_empty() && word.chars().all(|c| matches!(c, 'a'..='z' | '0'..='9' | '_'));
    text.starts_with(|c: char| c.is_ascii_lowercase()) && text.contains('-') && text.split('-').all(word)
}

/// `not_a_contact` as the variant of an enum: `NotAContact`.
fn variant(name: &str) -> String {
    let words = name.split(['-', '_']).filter(|word| !word.is_empty());
    words.map(|word| word[..1].to_uppercase() + &word[1..]).collect()
}

#[test]
fn code_and_templates_use_only_texts_that_there_are() {
    let (names, mut used) = (names(), 0);
    for (path, source) in sources().iter().filter(|(path, _)| has_texts(path)) {
        let quoted: Vec<_> = source.split('"').collect();
        for pair in quoted.windows(2) {
            let (before, text) = (pair[0], pair[1]);
            let get = ["text.get(", "text.with(", "fill("].iter().any(|call| before.ends_with(call));
            let template = path.ends_with(".html");
            if get && !text.contains('{') || (!template && is_like_a_name(text) && !OTHERS.contains(&text)) {
                assert!(names.contains(text), "{path}: there is no text {text:?}");
                used += 1;
            }
            if before.ends_with("Field::new(page, errors, ") || before.ends_with(" field(") {
                assert!(names.contains(&format!("label-{text}")), "{path}: the field {text:?} has no label");
            }
        }
    }
    assert!(used > 400, "only {used} uses were found");
}

/// A text is used if its name is in the code or in a template, or if the code makes the name from a part and a name that is
/// there: `label-{name}` and `"username"`, or `outcome-{}` and a variant.
#[test]
fn every_text_is_used() {
    let sources = sources();
    let quoted: BTreeSet<&str> = sources.iter().flat_map(|(_, source)| source.split('"')).collect();
    let words: BTreeSet<&str> =
        sources.iter().flat_map(|(_, source)| source.split(|c: char| !c.is_alphanumeric())).collect();
    let is_there = |name: &str| {
        quoted.contains(name) || quoted.contains(&*name.replace('-', ".")) || words.contains(&*variant(name))
    };
    let pages = sources.iter().filter(|(path, _)| has_texts(path)).flat_map(|(_, source)| source.split('"'));
    let patterns: BTreeSet<_> = pages
        .filter_map(|text| Some((text.split_once('{')?.0, text.split_once('}')?.1)))
        .filter(|(before, after)| {
            let part = |c: char| c.is_ascii_lowercase() || c == '-';
            (before.ends_with('-') || after.starts_with('-')) && before.chars().chain(after.chars()).all(part)
        })
        .collect();
    assert!(patterns.contains(&("label-", "")) && patterns.contains(&("", "-title")), "{patterns:?}");
    let is_made = |name: &str| {
        let between = |(before, after): &(&str, &str)| name.strip_prefix(before)?.strip_suffix(after);
        patterns.iter().filter_map(between).any(|part| !part.is_empty() && is_there(part))
    };
    let unused: Vec<_> = names().into_iter().filter(|name| !quoted.contains(&**name) && !is_made(name)).collect();
    assert_eq!(unused, [""; 0], "texts that nothing uses");
}

#[test]
fn every_problem_has_a_text() {
    for code in Code::ALL {
        assert!(Text::new(Language::English).has(&format!("problem-{}", code.as_str())), "{code:?}");
    }
}

/// An error in the log raises an alarm.
#[test]
fn only_a_text_without_its_variable_is_logged_as_an_error() {
    let log = Log::default();
    let english = Text::new(Language::English);
    tracing::subscriber::with_default(log::to(log.clone(), Level::INFO), || {
        assert_eq!(english.with("seconds", "count", 2), "2 seconds");
        assert_eq!(log.take(), "");
        let _ = english.get("seconds");
        assert!(log.take().contains("a text lacks a variable"));
    });
}
