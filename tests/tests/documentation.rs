//! References of the documentation resolve: citations of pages, requirements, sections and decisions, links, and the
//! names of tests, endpoints and constants. Limits, settings and alarms are those of the code and the templates.
//!
//! A citation is a page with a number (`security.md 14, 28`, `product.md P9`), a quoted section (`docs/deploy.md
//! ("Keys")`) or a section in parentheses (`(product.md, sign-in table)`). A page without a folder is in `docs/`,
//! `docs/adr/` or the root.
#![allow(clippy::unwrap_used, clippy::panic)]

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Component, Path, PathBuf},
};

use serde_json::Value;
use tests::document::DOCUMENT;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap()
}

fn read(path: &str) -> String {
    fs::read_to_string(root().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// A text file of the repository, by its path from the root.
struct Source {
    path: String,
    text: String,
}

/// Kinds of file that may cite a page. A file without an extension is a script.
const KINDS: [&str; 8] = ["", "rs", "py", "sh", "yaml", "md", "toml", "ts"];

fn sources() -> Vec<Source> {
    let mut found = Vec::new();
    collect(root(), &mut found);
    found.sort_by(|a, b| a.path.cmp(&b.path));
    assert!(found.len() > 200, "{} files", found.len());
    found
}

fn collect(folder: &Path, found: &mut Vec<Source>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_str().unwrap();
        if path.is_dir() {
            let hidden = name.starts_with('.') && ![".ci", ".cargo", ".github"].contains(&name);
            if !hidden && !["target", "node_modules", "__pycache__"].contains(&name) {
                collect(&path, found);
            }
            continue;
        }
        let kind = path.extension().map_or("", |kind| kind.to_str().unwrap());
        let relative = path.strip_prefix(root()).unwrap().to_str().unwrap().replace('\\', "/");
        // The unit tests below hold citations that do not resolve.
        if KINDS.contains(&kind) && relative != file!() {
            let Ok(text) = fs::read_to_string(&path) else { continue };
            found.push(Source { path: relative, text });
        }
    }
}

/// The parts of a page that can be cited.
#[derive(Debug, Default)]
struct Page {
    /// Headings, in lower case.
    sections: BTreeSet<String>,
    /// The fragment of each heading, as GitHub makes it.
    anchors: BTreeSet<String>,
    /// Numbers of rows and paragraphs: `14`, `P9`.
    items: BTreeSet<String>,
}

impl Page {
    fn parse(text: &str) -> Self {
        let mut page = Self::default();
        for line in prose(text) {
            if let Some(heading) = line.strip_prefix('#').map(|rest| rest.trim_start_matches('#').trim()) {
                page.sections.insert(heading.replace('`', "").to_lowercase());
                let first = slug(heading);
                let mut numbered = (1..).map(|n| format!("{first}-{n}"));
                let mut anchor = first.clone();
                while !page.anchors.insert(anchor) {
                    anchor = numbered.next().unwrap();
                }
            } else {
                page.items.extend(label(line));
            }
        }
        page
    }
}

/// The lines that are not in a code fence.
fn prose(text: &str) -> impl Iterator<Item = &str> {
    let mut fenced = false;
    text.lines().filter(move |line| {
        let fence = line.trim_start().starts_with("```");
        fenced ^= fence;
        !fenced && !fence
    })
}

fn slug(heading: &str) -> String {
    let kept = heading.to_lowercase();
    let kept = kept.chars().filter(|c| c.is_alphanumeric() || " -_".contains(*c));
    kept.map(|c| if c == ' ' { '-' } else { c }).collect()
}

/// The number that a row of a table, a paragraph or an entry of a list begins with.
fn label(line: &str) -> Option<String> {
    let line = line.trim_start_matches(['|', '*', ' ']);
    let (item, rest) = item(line)?;
    (rest.starts_with('.') || rest.starts_with(" |") || rest.starts_with("**")).then(|| item.to_owned())
}

/// A number, perhaps after a capital letter, at the beginning of a text; and what follows.
fn item(text: &str) -> Option<(&str, &str)> {
    let digits = text.strip_prefix(|c: char| c.is_ascii_uppercase()).unwrap_or(text);
    let length = digits.bytes().take_while(u8::is_ascii_digit).count();
    let (item, rest) = text.split_at(text.len() - digits.len() + length);
    let ends = !rest.starts_with(|c: char| c.is_alphanumeric() || c == '_');
    (length > 0 && ends).then_some((item, rest))
}

/// Numbers at the beginning of a text: `14, 28`, `9 and 10`, `24 to 27`, `P11 and P12`.
fn items(text: &str) -> Vec<String> {
    let mut found = Vec::new();
    let Some((first, mut rest)) = item(text) else { return found };
    found.push(first.to_owned());
    loop {
        let separated = [", and ", ", ", " and ", " to "].into_iter().find_map(|separator| {
            let (next, after) = item(rest.strip_prefix(separator)?)?;
            Some((separator, next, after))
        });
        let Some((separator, next, after)) = separated else { return found };
        if let (" to ", Ok(from), Ok(to)) = (separator, found[found.len() - 1].parse::<u32>(), next.parse::<u32>()) {
            found.extend((from + 1..to).map(|between| between.to_string()));
        }
        found.push(next.to_owned());
        rest = after;
    }
}

/// A cited page, and the cited parts of it.
#[derive(Debug, PartialEq, Eq)]
struct Citation {
    page: String,
    items: Vec<String>,
    section: Option<String>,
}

/// Comments with their lines joined, because a citation may span two lines.
fn joined(source: &str, markdown: bool) -> String {
    let leaders: &[char] = if markdown { &[] } else { &['/', '!', '#'] };
    let lines = source.lines().map(|line| line.trim_start().trim_start_matches(leaders).trim());
    lines.collect::<Vec<_>>().join(" ")
}

fn citations(text: &str) -> Vec<Citation> {
    let of_a_path = |c: char| c.is_ascii_alphanumeric() || "_./-".contains(c);
    let mut found = Vec::new();
    for (at, _) in text.match_indices(".md") {
        let (before, rest) = (&text[..at], &text[at + 3..]);
        let start =
            before.rfind(|c| !of_a_path(c)).map_or(0, |at| at + before[at..].chars().next().unwrap().len_utf8());
        let (lead, stem) = before.split_at(start);
        let of_an_address = stem.starts_with("//");
        let of_a_pattern = stem.is_empty() || stem.ends_with('/') || lead.ends_with(['*', '{', '}', '$']);
        if of_an_address || of_a_pattern || rest.starts_with(|c: char| c.is_alphanumeric() || c == '_') {
            continue;
        }
        let rest = rest.trim_start_matches('`');
        let numbers = rest.strip_prefix(", ").or_else(|| rest.strip_prefix(' '));
        let quoted = [" (\"", ", \""].into_iter().find_map(|quote| rest.strip_prefix(quote)?.split_once('"'));
        let named = lead.trim_end_matches('`').ends_with('(').then(|| rest.strip_prefix(", ")).flatten();
        let named = named
            .and_then(|named| named.split_once(')'))
            .filter(|(name, _)| ![".md", "ADR "].iter().any(|other| name.contains(other)));
        let items = numbers.map(items).unwrap_or_default();
        let section = quoted.or(named.filter(|_| items.is_empty())).map(|(name, _)| name.to_lowercase());
        found.push(Citation { page: format!("{stem}.md"), items, section });
    }
    found
}

/// Numbers of decisions that are named: `ADR 9`, `ADR 14 and 15`, `docs/adr/0009`.
fn decisions(text: &str) -> Vec<String> {
    let after = |name: &'static str| text.match_indices(name).map(move |(at, _)| &text[at + name.len()..]);
    let named = after("ADR ").flat_map(items);
    let paths = after("adr/").filter_map(|rest| rest.get(..4)).filter(|id| id.bytes().all(|c| c.is_ascii_digit()));
    named.chain(paths.map(str::to_owned)).filter_map(|id| Some(format!("{:04}", id.parse::<u32>().ok()?))).collect()
}

/// Targets of links: `[text](target)`.
fn links(text: &str) -> Vec<String> {
    let text = prose(text).map(without_code).collect::<Vec<_>>().join("\n");
    let targets = text.match_indices("](").filter_map(|(at, _)| Some(text[at + 2..].split_once(')')?.0.to_owned()));
    targets.filter(|target| !target.contains("://") && !target.starts_with("mailto:")).collect()
}

fn without_code(line: &str) -> String {
    line.split('`').step_by(2).collect::<Vec<_>>().join("code")
}

/// Texts in backticks.
fn code(text: &str) -> Vec<&str> {
    prose(text).flat_map(|line| line.split('`').skip(1).step_by(2)).collect()
}

/// Functions with a test attribute.
fn test_functions(text: &str) -> BTreeSet<&str> {
    let mut found = BTreeSet::new();
    let mut marked = false;
    for line in text.lines().map(str::trim) {
        let name = ["fn ", "async fn "].into_iter().find_map(|word| line.strip_prefix(word));
        if let Some(name) = name.filter(|_| marked) {
            found.insert(name.split(['(', '<']).next().unwrap());
        }
        let attribute = line.starts_with("#[");
        let marks = attribute && (line.starts_with("#[test]") || line.contains("::test]") || line.contains("::test("));
        marked = marks || (marked && (attribute || line.starts_with("//")));
    }
    found
}

/// A path as seen from a folder, without `..`.
fn resolved(folder: &Path, path: &str) -> PathBuf {
    let mut resolved = PathBuf::new();
    for part in folder.join(path).components() {
        match part {
            Component::ParentDir => {
                resolved.pop();
            }
            Component::CurDir => {}
            part => resolved.push(part),
        }
    }
    resolved
}

/// The pages of the repository by path.
fn pages(sources: &[Source]) -> BTreeMap<PathBuf, Page> {
    let pages = sources.iter().filter(|source| source.path.ends_with(".md"));
    pages.map(|source| (PathBuf::from(&source.path), Page::parse(&source.text))).collect()
}

fn cited<'a>(pages: &'a BTreeMap<PathBuf, Page>, source: &Source, page: &str) -> Option<&'a Page> {
    let own = Path::new(&source.path).parent().unwrap();
    [own, Path::new(""), Path::new("docs"), Path::new("docs/adr")]
        .into_iter()
        .find_map(|folder| pages.get(&resolved(folder, page)))
}

/// The parts of a citation that do not resolve.
fn faults_of(page: Option<&Page>, Citation { page: name, items, section }: &Citation) -> Vec<String> {
    let Some(page) = page else { return vec![format!("{name} does not exist")] };
    let missing = items.iter().filter(|item| !page.items.contains(*item)).map(|item| format!("{name} has no {item}"));
    let section = section.iter().filter(|section| !page.sections.contains(*section));
    missing.chain(section.map(|section| format!("{name} has no section \"{section}\""))).collect()
}

fn none(faults: &[String]) {
    assert!(faults.is_empty(), "{} do not resolve:\n{}", faults.len(), faults.join("\n"));
}

#[test]
fn citations_resolve() {
    let sources = sources();
    let pages = pages(&sources);
    let adrs: BTreeSet<String> =
        pages.keys().filter_map(|path| Some(path.to_str()?.strip_prefix("docs/adr/")?.get(..4)?.to_owned())).collect();
    let (mut faults, mut count) = (Vec::new(), 0);
    for source in &sources {
        let text = joined(&source.text, source.path.ends_with(".md"));
        for citation in citations(&text) {
            count += usize::from(!citation.items.is_empty());
            let page = cited(&pages, source, &citation.page);
            faults.extend(faults_of(page, &citation).into_iter().map(|fault| format!("{}: {fault}", source.path)));
        }
        let unknown = decisions(&text).into_iter().filter(|id| !adrs.contains(id));
        faults.extend(unknown.map(|id| format!("{}: there is no ADR {id}", source.path)));
    }
    none(&faults);
    assert!(count > 40, "only {count} citations with a number");
}

#[test]
fn links_resolve() {
    let sources = sources();
    let pages = pages(&sources);
    let (mut faults, mut count) = (Vec::new(), 0);
    for source in sources.iter().filter(|source| source.path.ends_with(".md")) {
        for target in links(&source.text) {
            count += 1;
            let (path, anchor) = target.split_once('#').unwrap_or((&target, ""));
            let folder = Path::new(&source.path).parent().unwrap();
            let path = if path.is_empty() { PathBuf::from(&source.path) } else { resolved(folder, path) };
            let there = root().join(&path).exists();
            let anchored = anchor.is_empty() || pages.get(&path).is_some_and(|page| page.anchors.contains(anchor));
            if !there || !anchored {
                faults.push(format!("{}: {target}", source.path));
            }
        }
    }
    none(&faults);
    assert!(count > 60, "only {count} links");
}

/// `path/of/test.rs::test_name` in a page names a test function of that file.
#[test]
fn named_tests_exist() {
    let (mut faults, mut count) = (Vec::new(), 0);
    for source in sources().iter().filter(|source| source.path.ends_with(".md")) {
        for (path, name) in code(&source.text).into_iter().filter_map(|code| code.split_once(".rs::")) {
            count += 1;
            let text = fs::read_to_string(root().join(format!("{path}.rs"))).unwrap_or_default();
            if !test_functions(&text).contains(name) {
                faults.push(format!("{}: {path}.rs::{name}", source.path));
            }
        }
    }
    none(&faults);
    assert!(count > 150, "only {count} tests are named");
}

/// Every requirement exists once, and names a test or the reason why it has none.
#[test]
fn every_requirement_has_a_test_or_a_reason() {
    let text = read("docs/security.md");
    let paragraphs: Vec<_> = text.split("\n\n").filter(|text| label(text).is_some()).collect();
    let numbers: Vec<_> = paragraphs.iter().filter_map(|text| label(text)?.parse::<u32>().ok()).collect();
    assert_eq!(numbers, (1..=58).collect::<Vec<_>>());
    for paragraph in paragraphs {
        let shown = paragraph.contains(".rs::") || paragraph.contains("No test:");
        assert!(shown && paragraph.contains('['), "no test, reason or source: {paragraph}");
    }
}

#[test]
fn endpoints_exist() {
    let paths = DOCUMENT["paths"].as_object().unwrap();
    let operations = paths.iter().flat_map(|(path, item)| {
        item.as_object().unwrap().keys().map(move |method| format!("{} {}", method.to_uppercase(), unnamed(path)))
    });
    let operations: BTreeSet<_> = operations.collect();
    let mut faults = Vec::new();
    for source in sources().iter().filter(|it| it.path.starts_with("docs/") || it.path == "ARCHITECTURE.md") {
        for code in code(&source.text) {
            let Some((method, path)) = code.split_once(' ').filter(|(_, path)| path.starts_with("/v1")) else {
                continue;
            };
            let path = path.split(['?', ' ']).next().unwrap();
            let method_known = method.bytes().all(|c| c.is_ascii_uppercase());
            if method_known && !operations.contains(&format!("{method} {}", unnamed(path))) {
                faults.push(format!("{}: {code}", source.path));
            }
        }
    }
    none(&faults);
}

/// A path with the names of its parameters left out.
fn unnamed(path: &str) -> String {
    let parts = path.split('/').map(|part| if part.starts_with('{') { "{}" } else { part });
    parts.collect::<Vec<_>>().join("/")
}

/// docs/limits.md agrees with the constants of the code, and contains every constant of the policy.
#[test]
fn limits_match_the_code() {
    let text = read("docs/limits.md");
    let mut named = BTreeSet::new();
    for row in text.lines().filter(|line| line.starts_with("| ") && line.contains("` in `")) {
        let [_, value, constant] = row.trim_matches(['|', ' ']).split(" | ").collect::<Vec<_>>()[..] else {
            panic!("not three cells: {row}")
        };
        let (name, path) = constant.trim_matches('`').split_once("` in `").unwrap();
        let source = read(path);
        let expected = constants(&source).remove(name).unwrap_or_else(|| panic!("{path} has no constant {name}"));
        let stated = stated(value).unwrap_or_else(|| panic!("not a value: {row}"));
        assert_eq!(stated, expected, "{row}");
        named.insert((name.to_owned(), path.to_owned()));
    }
    let policy = "shared/src/policy.rs";
    for name in constants(&read(policy)).into_keys().filter(|name| name.len() > 1) {
        assert!(named.contains(&(name.clone(), policy.to_owned())), "docs/limits.md lacks {name} of {policy}");
    }
}

/// Numbers and durations among the constants of a source; durations in milliseconds.
fn constants(source: &str) -> BTreeMap<String, u64> {
    let mut found = BTreeMap::new();
    for line in source.lines().map(str::trim) {
        let Some((_, rest)) =
            line.split_once("const ").filter(|(before, _)| ["", "pub ", "pub(crate) ", "pub(super) "].contains(before))
        else {
            continue;
        };
        let (Some((name, rest)), Some(expression)) = (rest.split_once(':'), rest.split_once(" = ")) else { continue };
        let expression = expression.1.trim_end_matches(';');
        let duration = rest.trim_start().split(' ').next().is_some_and(|of| of.ends_with("Duration"));
        let value = match expression.rsplit_once("Duration::from_") {
            Some((_, call)) => call.split_once('(').and_then(|(unit, product)| {
                let factor = if unit == "millis" { 1 } else { 1000 };
                Some(self::product(product.trim_end_matches(')'))? * factor)
            }),
            None if duration => None,
            None => product(expression),
        };
        if let Some(value) = value {
            found.insert(name.to_owned(), value);
        }
    }
    found
}

fn product(expression: &str) -> Option<u64> {
    expression.split('*').map(|factor| factor.trim().replace('_', "").parse::<u64>().ok()).product()
}

/// A value as the page states it: `5`, `10 minutes`, `8 MiB`; durations in milliseconds, sizes in bytes.
fn stated(value: &str) -> Option<u64> {
    let (number, unit) = value.split_once(' ').unwrap_or((value, ""));
    let factor = match unit.trim_end_matches('s') {
        "" | "(seconds)" => 1,
        "millisecond" => 1,
        "second" => 1000,
        "minute" => 60_000,
        "hour" => 3_600_000,
        "day" => 86_400_000,
        "MiB" => 1024 * 1024,
        _ => return None,
    };
    Some(number.parse::<u64>().ok()? * factor)
}

/// The summary of the book has every page once, and no link of a page leaves the book.
#[test]
fn book_has_every_page_and_no_link_leaves_it() {
    let summary = "docs/SUMMARY.md";
    let mut sources = sources();
    sources.retain(|it| it.path.starts_with("docs/") && it.path.ends_with(".md"));
    let pages: BTreeSet<_> = sources.iter().map(|page| PathBuf::from(&page.path)).collect();
    let mut listed: Vec<_> = links(&read(summary)).into_iter().map(|link| PathBuf::from("docs").join(link)).collect();
    listed.push(summary.into());
    listed.sort();
    assert_eq!(listed, pages.iter().cloned().collect::<Vec<_>>());
    let mut faults = Vec::new();
    for page in &sources {
        let folder = Path::new(&page.path).parent().unwrap();
        let leaves = |target: &String| {
            let path = target.split('#').next().unwrap();
            !path.is_empty() && !pages.contains(&resolved(folder, path))
        };
        faults.extend(links(&page.text).into_iter().filter(leaves).map(|target| format!("{}: {target}", page.path)));
    }
    none(&faults);
}

/// A row of docs/configuration.md.
struct Setting {
    default: String,
    effect: String,
}

/// The settings in the tables of a section of docs/configuration.md, by name.
fn settings(section: &str) -> BTreeMap<String, Setting> {
    let page = read("docs/configuration.md");
    let section = page.split("\n## ").find_map(|text| text.strip_prefix(section)?.strip_prefix('\n')).unwrap();
    let mut found = BTreeMap::new();
    for row in section.lines().filter(|line| line.starts_with("| `")) {
        let cells: Vec<_> = row.trim_matches(['|', ' ']).split(" | ").collect();
        for name in code(cells[0]) {
            let (default, effect) = (cells[1].replace('`', ""), cells[cells.len() - 1].to_owned());
            assert!(found.insert(name.to_owned(), Setting { default, effect }).is_none(), "{name} is there twice");
        }
    }
    found
}

fn template(path: &str) -> Value {
    serde_saphyr::from_str(&read(path)).unwrap()
}

/// docs/configuration.md has every parameter of the templates, with its default and limits.
#[test]
fn parameters_match_the_templates() {
    let shown = |value: &Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    for (path, section) in
        [("infra/template.yaml", "Parameters of the deployment"), ("infra/cloudfront.yaml", "Parameters of CloudFront")]
    {
        let mut settings = settings(section);
        for (name, parameter) in template(path)["Parameters"].as_object().unwrap() {
            let stated =
                settings.remove(name).unwrap_or_else(|| panic!("docs/configuration.md lacks {name} of {path}"));
            let default = parameter.get("Default").map_or_else(|| "required".to_owned(), shown);
            assert_eq!(stated.default, if default.is_empty() { "empty" } else { &default }, "{name}");
            let allowed = parameter["AllowedValues"].as_array().into_iter().flatten();
            let bounds = ["MinValue", "MaxValue", "MinLength"].into_iter().filter_map(|bound| parameter.get(bound));
            let words: BTreeSet<_> = stated.effect.split(|c: char| !c.is_ascii_alphanumeric() && c != '_').collect();
            for limit in allowed.chain(bounds).map(shown) {
                assert!(words.contains(&*limit), "the row of {name} lacks {limit}");
            }
        }
        assert!(settings.is_empty(), "{path} has no {:?}", settings.into_keys());
    }
}

/// docs/configuration.md has every environment variable that the functions and the commands read or the template sets.
#[test]
fn environment_variables_are_documented() {
    let mut used = BTreeSet::from(["NO_COLOR".to_owned()]);
    used.extend(variables(&read("infra/template.yaml"), &["VESTIBULE_"]));
    for source in sources().iter().filter(|it| it.path.ends_with(".rs")) {
        if ["shared/src/", "functions/", "local/src/"].iter().any(|folder| source.path.starts_with(folder)) {
            used.extend(variables(&source.text, &["VESTIBULE_", "AWS_"]));
        }
    }
    let sections = ["of the functions", "of the local server and the commands"];
    let stated = sections.map(|of| settings(&format!("Environment variables {of}")).into_keys());
    assert_eq!(stated.into_iter().flatten().collect::<BTreeSet<_>>(), used);
}

/// Names like `VESTIBULE_TABLE` that a source has as a text, or a template as a key.
fn variables(text: &str, prefixes: &[&str]) -> BTreeSet<String> {
    let of_a_name = |c: char| c.is_ascii_uppercase() || c.is_ascii_digit() || c == '_';
    let words = text.split(['"', '{', ' ', '\n']).filter(|word| prefixes.iter().any(|prefix| word.starts_with(prefix)));
    words.map(|word| word.split(|c| !of_a_name(c)).next().unwrap().to_owned()).collect()
}

/// docs/configuration.md has every option of `serve`, with its default.
#[test]
fn options_of_the_server_match_the_code() {
    let declaration = "pub struct Serve {\n";
    let sources = sources().into_iter().filter(|it| it.path.starts_with("local/src/"));
    let mut found = sources.filter_map(|it| Some(it.text.split_once(declaration)?.1.split("\n}").next()?.to_owned()));
    let mut settings = settings("Options of the local server");
    for field in found.next().unwrap().split_inclusive(",\n").filter(|field| field.contains("pub ")) {
        let (attributes, field) = field.split_once("    pub ").unwrap();
        let (name, kind) = field.split_once(": ").unwrap();
        let name = format!("--{}", name.replace('_', "-"));
        let stated = settings.remove(&name).unwrap_or_else(|| panic!("docs/configuration.md lacks {name} of `serve`"));
        if let Some(default) = default_of(attributes, kind) {
            assert_eq!(stated.default, default, "{name}");
        }
    }
    assert!(settings.is_empty(), "`serve` has no {:?}", settings.into_keys());
}

/// The default of an option as the page states it, if its attributes name one.
fn default_of(attributes: &str, kind: &str) -> Option<String> {
    let value = attributes.split_once("default_value_t = ").or_else(|| attributes.split_once("default_value = "));
    let value = value.map(|(_, rest)| rest.split([',', ']']).next().unwrap().trim_matches(['"', ')']));
    match value {
        Some(value) if value.contains("LOCALHOST") => Some("127.0.0.1".to_owned()),
        Some(value) => Some(value.rsplit("::").next().unwrap().to_lowercase()),
        None => (kind == "bool,\n").then(|| "off".to_owned()),
    }
}

/// docs/operate.md says what to do at each alarm of the template.
#[test]
fn each_alarm_has_a_runbook_entry() {
    let page = read("docs/operate.md");
    let section = page.split("\n## ").find(|section| section.starts_with("Alarms\n")).unwrap();
    let stated: BTreeSet<_> = section.lines().filter_map(|line| line.strip_prefix("### ")).map(str::to_owned).collect();
    let template = template("infra/template.yaml");
    let alarms =
        template["Resources"].as_object().unwrap().iter().filter(|(_, it)| it["Type"] == "AWS::CloudWatch::Alarm");
    assert_eq!(stated, alarms.map(|(name, _)| name.clone()).collect());
}

/// Labels of attack cases in the tests (`/// L01, L02`) are rows of docs/threat-model.md.
#[test]
fn attack_cases_are_in_the_threat_model() {
    let page = Page::parse(&read("docs/threat-model.md"));
    let mut faults = Vec::new();
    for source in sources().iter().filter(|source| source.path.starts_with("tests/tests/")) {
        for line in source.text.lines().filter_map(|line| line.trim_start().strip_prefix("/// ")) {
            let unknown = cases(line).into_iter().filter(|case| !page.items.contains(case));
            faults.extend(unknown.map(|case| format!("{}: {case}", source.path)));
        }
    }
    none(&faults);
}

/// The cases that a doc comment begins with.
fn cases(line: &str) -> Vec<String> {
    let case = |it: &String| it.len() == 3 && it.starts_with(|c: char| c.is_ascii_uppercase() && c != 'P');
    items(line).into_iter().filter(case).collect()
}

mod parser {
    use super::*;

    fn of(text: &str) -> Vec<Citation> {
        citations(text)
    }

    fn citation(page: &str, items: &[&str], section: Option<&str>) -> Citation {
        let items = items.iter().map(|&item| item.to_owned()).collect();
        Citation { page: page.to_owned(), items, section: section.map(str::to_owned) }
    }

    #[test]
    fn citations_are_found() {
        for (text, page, items, section) in [
            ("as it must (security.md 14, 28).", "security.md", &["14", "28"][..], None),
            ("(security.md 9 and 10): 8 to 1024 bytes", "security.md", &["9", "10"], None),
            ("(security.md 24 to 27).", "security.md", &["24", "25", "26", "27"], None),
            ("product.md P11 and P12", "product.md", &["P11", "P12"], None),
            ("`docs/data-model.md`, 1", "docs/data-model.md", &["1"], None),
            ("(product.md, sign-in table)", "product.md", &[], Some("sign-in table")),
            ("docs/deploy.md (\"Keys\") has", "docs/deploy.md", &[], Some("keys")),
            ("ARCHITECTURE.md, \"Flows\"", "ARCHITECTURE.md", &[], Some("flows")),
            ("product.md, row by row", "product.md", &[], None),
            ("(README.md, docs/cost.md)", "README.md", &[], None),
            ("(docs/sso.md, ADR 14 and 15)", "docs/sso.md", &[], None),
            ("see ../README.md: 12 ways", "../README.md", &[], None),
            ("§security.md 4", "security.md", &["4"], None),
        ] {
            assert_eq!(of(text).first(), Some(&citation(page, items, section)), "{text}");
        }
    }

    #[test]
    fn other_texts_are_no_citations() {
        for text in ["https://example.com/a.md", "*.md", "{page}.md", "x.md5", "docs/.md"] {
            assert_eq!(of(text), [], "{text}");
        }
    }

    #[test]
    fn broken_comment_lines_are_joined() {
        let text = joined("    /// As (security.md\n    /// 14) says.", false);
        assert_eq!(of(&text), [citation("security.md", &["14"], None)]);
    }

    #[test]
    fn faults_are_found() {
        let page = Page::parse("# Title\n**1.** One\n| P2 | Two |\n```\n3. no\n# No\n```\n## Sign-in table");
        let faults = |items: &[&str], section| faults_of(Some(&page), &citation("a.md", items, section)).len();
        assert_eq!((faults(&["1", "P2"], Some("sign-in table")), faults(&[], None)), (0, 0));
        assert_eq!((faults(&["2"], None), faults(&["3"], None), faults(&["1"], Some("no"))), (1, 1, 1));
        assert_eq!(faults_of(None, &citation("b.md", &[], None)), ["b.md does not exist"]);
    }

    #[test]
    fn decisions_are_found() {
        assert_eq!(decisions("ADR 9, see docs/adr/0014-xml.md and ADR 15 and 16"), ["0009", "0015", "0016", "0014"]);
        assert_eq!(decisions("the ADRs in docs/adr/"), [""; 0]);
    }

    #[test]
    fn anchors_match_github() {
        let page = Page::parse("# What `x` is, and why\n## A\n## A\n## Sign-in: P1 to P14");
        let anchors: Vec<_> = page.anchors.iter().map(String::as_str).collect();
        assert_eq!(anchors, ["a", "a-1", "sign-in-p1-to-p14", "what-x-is-and-why"]);
    }

    #[test]
    fn links_are_found_outside_of_code() {
        let text = "[a](b.md#c) `[d](e)` [f](https://g) [h](i)\n```\n[j](k)\n```\n[l](mailto:m)";
        assert_eq!(links(text), ["b.md#c", "i"]);
    }

    #[test]
    fn test_functions_are_found() {
        let text = "#[test]\nfn a() {}\n#[tokio::test(flavor = \"x\")]\n// b\n#[ignore]\nasync fn b() {}\nfn c() {}\n#[cfg(x)]\nfn d() {}";
        assert_eq!(test_functions(text), ["a", "b"].into());
    }

    #[test]
    fn values_are_read() {
        let found = constants(
            "pub const A: Duration = Duration::from_secs(5 * 60);\nconst B: u64 = 16 * 1_024;\nconst C: Duration = X::Y;\n\
             const D: i64 = 1 << 3;\npub const E: std::time::Duration = std::time::Duration::from_millis(50);",
        );
        assert_eq!(found, [("A", 300_000), ("B", 16_384), ("E", 50)].map(|(a, b)| (a.to_owned(), b)).into());
        assert_eq!(
            ["5 minutes", "16384", "1 second", "many"].map(stated),
            [Some(300_000), Some(16_384), Some(1000), None]
        );
    }

    #[test]
    fn variables_and_defaults_are_found() {
        let text = r#"variable("VESTIBULE_A1"), {VESTIBULE_B: {Ref: C}}, "AWS_D is", XAWS_E, "VESTIBULE_F","#;
        assert_eq!(
            variables(text, &["VESTIBULE_", "AWS_"]),
            ["VESTIBULE_A1", "VESTIBULE_B", "AWS_D", "VESTIBULE_F"].map(str::to_owned).into()
        );
        for (attributes, kind, default) in [
            ("/// A\n    #[arg(long, default_value_t = 8080)]\n", "u16,\n", Some("8080")),
            ("#[arg(long, value_enum, default_value_t = A::Text)]", "A,\n", Some("text")),
            ("#[arg(long, env = \"X\", default_value = \"info\", hide = true)]", "String,\n", Some("info")),
            ("#[arg(long, default_value_t = IpAddr::V4(Ipv4Addr::LOCALHOST), x = y)]", "IpAddr,\n", Some("127.0.0.1")),
            ("#[arg(long)]", "bool,\n", Some("off")),
            ("#[arg(long)]", "Option<String>,\n", None),
        ] {
            assert_eq!(default_of(attributes, kind).as_deref(), default, "{attributes}");
        }
    }

    #[test]
    fn cases_are_found() {
        assert_eq!(cases("L01, X10"), ["L01", "X10"]);
        assert_eq!(cases("S03: each of them"), ["S03"]);
        assert_eq!((cases("After L09 nothing"), cases("P11: SSO")), (vec![], vec![]));
    }
}
