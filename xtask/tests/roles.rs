//! The recorded calls of the functions of `.ci/with-cloud` need exactly the rights of their roles in `infra/template.yaml`.
#![allow(clippy::unwrap_used, clippy::panic, clippy::print_stdout)]

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
};

use tests::rights::{self, Call};
use xtask::{cloud::Cloud, root, template};

/// `enable-mfa` as `EnableMfa`.
fn pascal(flow: &str) -> String {
    flow.split('-').map(|word| word[..1].to_uppercase() + &word[1..]).collect()
}

/// Run it after all other checks of the cloud: a function that no check called, or not in every way, has rights that no call
/// needs. Prints the calls of each function.
#[test]
fn roles_allow_exactly_the_recorded_calls() {
    let mut calls = BTreeMap::<String, BTreeMap<Call, usize>>::new();
    for line in fs::read_to_string(Cloud::from_environment().calls).unwrap().lines() {
        let (function, call) = serde_json::from_str(line).unwrap();
        *calls.entry(function).or_default().entry(call).or_default() += 1;
    }
    let (template, mut faults) = (template(), BTreeSet::new());
    for flow in fs::read_dir(root().join("functions")).unwrap() {
        let flow = flow.unwrap().file_name().into_string().unwrap();
        let Some(own) = calls.remove(&flow) else {
            faults.insert(format!("{flow} has no recorded call"));
            continue;
        };
        let mut kinds = BTreeMap::<_, usize>::new();
        own.iter().for_each(|(call, count)| *kinds.entry(call.kind()).or_default() += count);
        println!("{flow}");
        kinds.iter().for_each(|(kind, count)| println!("  {count:5} {kind}"));
        let role = &template["Resources"][pascal(&flow) + "Role"];
        faults.extend(rights::faults(&flow, role, &["dynamodb", "kms", "events", "ses", "sqs"], own.keys()));
    }
    faults.extend(calls.keys().map(|name| format!("calls by {name}, which is no function")));
    assert!(faults.is_empty(), "{}", faults.into_iter().collect::<Vec<_>>().join("\n"));
}
