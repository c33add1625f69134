//! Holds the arrows between the crates and the size budgets of the sources: a seam that no test guards is gone in a
//! month.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

/// Which crates of ours a crate may name in `[dependencies]` (design §2). Tests may use more.
const ARROWS: &[(&str, &[&str])] = &[
    ("causeway-model", &[]),
    ("causeway-storage", &["model"]),
    ("causeway-apply", &["model"]),
    ("causeway-index", &["model", "apply"]),
    ("causeway-replication", &["model", "storage"]),
    ("causeway-local", &["model", "compute", "apply", "storage", "replication"]),
    ("causeway-compute", &["model"]),
    ("causeway-link", &["model", "compute"]),
    ("causeway-mqtt", &["model", "compute"]),
    ("causeway-redis", &["model", "compute"]),
    ("causeway-gateway", &["model", "compute", "mqtt", "link", "redis"]),
    ("causeway-broker", &["model", "storage", "apply", "index", "replication", "local", "compute", "gateway", "link"]),
    ("causeway-load", &["mqtt"]),
    // Its tests use everything; what they share needs the codec alone.
    ("causeway-tests", &["mqtt"]),
];

fn metadata() -> Value {
    let out = Command::new(env!("CARGO"))
        .args(["metadata", "--format-version=1", "--locked", "--all-features"])
        .current_dir(root())
        .output()
        .unwrap();
    assert!(out.status.success(), "cargo metadata: {}", String::from_utf8_lossy(&out.stderr));
    serde_json::from_slice(&out.stdout).unwrap()
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}

#[test]
fn crates_depend_only_along_the_arrows() {
    let metadata = metadata();
    let arrows: BTreeMap<&str, BTreeSet<String>> =
        ARROWS.iter().map(|(name, may)| (*name, may.iter().map(|to| format!("causeway-{to}")).collect())).collect();
    let mut seen = 0;
    for package in metadata["packages"].as_array().unwrap() {
        let name = package["name"].as_str().unwrap();
        if !package["source"].is_null() {
            continue;
        }
        seen += 1;
        let may = arrows.get(name).unwrap_or_else(|| panic!("{name} has no row in ARROWS: which layer is it?"));
        for dependency in package["dependencies"].as_array().unwrap() {
            let to = dependency["name"].as_str().unwrap();
            let normal = dependency["kind"].is_null();
            if normal && to.starts_with("causeway-") {
                assert!(may.contains(to), "{name} may not depend on {to} (design §2)");
            }
        }
    }
    assert_eq!(seen, ARROWS.len(), "a crate of ARROWS is gone");
}

/// All packages that a crate's normal dependencies reach.
fn reach(metadata: &Value, from: &str) -> BTreeSet<String> {
    let names: BTreeMap<&str, &str> = metadata["packages"]
        .as_array()
        .unwrap()
        .iter()
        .map(|p| (p["id"].as_str().unwrap(), p["name"].as_str().unwrap()))
        .collect();
    let nodes: BTreeMap<&str, &Value> =
        metadata["resolve"]["nodes"].as_array().unwrap().iter().map(|n| (n["id"].as_str().unwrap(), n)).collect();
    let start = *names.iter().find(|(_, name)| **name == from).unwrap().0;
    let (mut seen, mut todo) = (BTreeSet::new(), vec![start]);
    while let Some(id) = todo.pop() {
        for dep in nodes[id]["deps"].as_array().unwrap() {
            let normal = dep["dep_kinds"].as_array().unwrap().iter().any(|k| k["kind"].is_null());
            let to = dep["pkg"].as_str().unwrap();
            if normal && seen.insert(names[to].to_owned()) {
                todo.push(to);
            }
        }
    }
    seen
}

#[test]
fn only_index_brings_cpp_and_the_gateway_knows_no_broker() {
    let metadata = metadata();
    for pure in ["causeway-model", "causeway-apply", "causeway-storage", "causeway-local", "causeway-gateway"] {
        let tree = reach(&metadata, pure);
        assert!(!tree.contains("librocksdb-sys"), "{pure} has RocksDB in its tree");
    }
    assert!(reach(&metadata, "causeway-index").contains("librocksdb-sys"), "the check itself looks at the wrong names");
    // The binary and all that any of its features brings: gateways are many, small and without state.
    let gateway = reach(&metadata, "causeway-gateway");
    for heavy in ["rocksdb", "librocksdb-sys", "openraft"] {
        assert!(!gateway.contains(heavy), "the gateway has {heavy} in its tree");
    }
    let broker = reach(&metadata, "causeway-broker");
    for layer in ["storage", "apply", "index", "replication", "local", "broker"].map(|name| format!("causeway-{name}"))
    {
        assert!(!gateway.contains(&layer), "the gateway has {layer} in its tree");
        assert!(
            layer == "causeway-broker" || broker.contains(&layer),
            "{layer}: the check itself looks at the wrong names"
        );
    }
}

fn sources() -> Vec<(PathBuf, String)> {
    let out = Command::new("git").args(["ls-files", "*.rs"]).current_dir(root()).output().unwrap();
    let list = String::from_utf8(out.stdout).unwrap();
    let files: Vec<_> = list
        .lines()
        .filter_map(|name| std::fs::read_to_string(root().join(name)).ok().map(|text| (PathBuf::from(name), text)))
        .collect();
    assert!(files.len() > 50, "git ls-files found only {} sources", files.len());
    files
}

/// Lines before the inline tests.
fn production_lines(text: &str) -> usize {
    text.lines().take_while(|line| !line.starts_with("#[cfg(test)]")).count()
}

fn is_test(path: &Path) -> bool {
    path.components().any(|c| matches!(c.as_os_str().to_str(), Some("tests" | "benches" | "suite")))
        || path.ends_with("tests.rs")
}

#[test]
fn files_stay_within_their_budgets() {
    let mut over = Vec::new();
    for (path, text) in sources() {
        let budget = match path.file_name().and_then(|n| n.to_str()) {
            _ if is_test(&path) => 600,
            Some("main.rs") => 100,
            Some("lib.rs") => 150,
            _ => 400,
        };
        let lines = production_lines(&text);
        if lines > budget {
            over.push(format!("{}: {lines} lines, budget {budget}", path.display()));
        }
    }
    assert!(over.is_empty(), "split these:\n{}", over.join("\n"));
}

#[test]
fn names_say_what_a_thing_is() {
    let empty = ["Manager", "Helper", "Impl ", "Impl;", "Util", "Processor"];
    for (path, text) in sources() {
        let stem = path.file_stem().and_then(|s| s.to_str()).unwrap_or_default();
        assert!(!matches!(stem, "utils" | "util" | "common" | "helpers" | "misc" | "types"), "{}", path.display());
        for line in text.lines().filter(|l| l.contains("pub struct ") || l.contains("pub trait ")) {
            assert!(!empty.iter().any(|word| line.contains(word)), "{}: {line}", path.display());
        }
    }
}

#[test]
fn nothing_is_left_for_later_in_silence() {
    // Spelt in pieces so that this file does not find itself.
    let marks = [concat!("TO", "DO"), concat!("FIX", "ME"), concat!("#[", "ignore"), concat!("#[", "allow(")];
    for (path, text) in sources() {
        for (number, line) in text.lines().enumerate() {
            assert!(!marks.iter().any(|m| line.contains(m)), "{}:{}: {line}", path.display(), number + 1);
        }
    }
}
