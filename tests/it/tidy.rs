//! The house: which module may use which, how long a file may be, what nothing is called.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

/// For each module the modules that it may use; ARCHITECTURE.md says why.
const ARROWS: [(&str, &[&str]); 21] = [
    ("seed", &[]),
    ("colours", &[]),
    ("preprocessing", &[]),
    ("metrics", &["seed"]),
    ("data", &["preprocessing", "seed"]),
    ("nn", &["seed"]),
    ("models", &["nn", "preprocessing", "seed"]),
    ("attacks", &["data", "models", "nn", "seed"]),
    ("objectives", &["attacks", "models", "data", "metrics", "seed"]),
    ("run", &[]),
    ("audit", &["attacks", "models", "data", "metrics", "run", "seed"]),
    ("checks", &["attacks", "models", "data", "metrics", "run", "seed"]),
    ("smoothing", &["models", "data", "metrics", "seed"]),
    ("train", &["objectives", "attacks", "models", "data", "metrics", "run", "seed"]),
    ("report", &["colours", "metrics", "seed"]),
    ("tables", &["metrics", "seed"]),
    ("watch", &["metrics", "run", "seed"]),
    ("tensorboard", &["colours", "metrics", "run", "watch"]),
    (
        "cli",
        &[
            "attacks",
            "audit",
            "checks",
            "data",
            "metrics",
            "models",
            "nn",
            "objectives",
            "report",
            "run",
            "seed",
            "smoothing",
            "tables",
            "tensorboard",
            "train",
            "watch",
        ],
    ),
    ("mpi", &["cli", "train"]),
    ("lib", &["seed"]),
];

fn sources() -> Vec<PathBuf> {
    fn collect(directory: &Path, found: &mut Vec<PathBuf>) {
        for entry in fs::read_dir(directory).expect("readable directory") {
            let path = entry.expect("entry").path();
            if path.is_dir() {
                collect(&path, found);
            } else if path.extension().is_some_and(|ending| ending == "rs") {
                found.push(path);
            }
        }
    }
    let mut found = Vec::new();
    for folder in ["src", "tests"] {
        collect(&Path::new(env!("CARGO_MANIFEST_DIR")).join(folder), &mut found);
    }
    found.sort();
    found
}

/// The top-level module of a file below `src`.
fn module(path: &Path) -> Option<String> {
    let inside = path.strip_prefix(Path::new(env!("CARGO_MANIFEST_DIR")).join("src")).ok()?;
    let first = inside.components().next()?.as_os_str().to_str()?;
    Some(first.trim_end_matches(".rs").to_owned())
}

/// The modules that a `use crate::...;` names, groups included, and `crate::a::b` in the text.
fn used(text: &str) -> Vec<String> {
    let mut found = Vec::new();
    for (at, _) in text.match_indices("crate::") {
        let rest = &text[at + "crate::".len()..];
        let names: Vec<&str> = match rest.strip_prefix('{') {
            Some(group) => {
                let mut depth = 0;
                let group = &group[..group
                    .find(|c| {
                        depth += i32::from(c == '{') - i32::from(c == '}');
                        depth < 0
                    })
                    .unwrap_or(0)];
                let mut level = 0;
                group
                    .split(|c| {
                        level += i32::from(c == '{') - i32::from(c == '}');
                        c == ',' && level == 0
                    })
                    .collect()
            }
            None => vec![rest],
        };
        for name in names {
            let name: String = name.trim().chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect();
            // `crate::Seed` is what `seed` exports at the top, as is the hash.
            found.push(if name == "Seed" || name == "stable_hash" { "seed".to_owned() } else { name });
        }
    }
    found
}

#[test]
fn arrows_point_one_way() {
    let allowed: BTreeMap<&str, &[&str]> = ARROWS.into_iter().collect();
    let mut wrong = Vec::new();
    for path in sources() {
        let Some(module) = module(&path).filter(|module| module != "main" && module != "syfar_mpi") else {
            continue;
        };
        let may = allowed.get(module.as_str()).unwrap_or_else(|| panic!("{module} has no line in ARROWS"));
        let text = fs::read_to_string(&path).expect("UTF-8");
        for name in used(&text) {
            if name != module && !may.contains(&name.as_str()) {
                wrong.push(format!("{}: {module} -> {name}", path.display()));
            }
        }
    }
    assert!(wrong.is_empty(), "arrows that ARCHITECTURE.md does not have:\n{}", wrong.join("\n"));
}

#[test]
fn groups_of_imports_are_read() {
    assert_eq!(used("use crate::{Seed, data::{Batch, Split}, run};"), ["seed", "data", "run"]);
    assert_eq!(used("use crate::models::Victim; let x = crate::run::write();"), ["models", "run"]);
}

#[test]
fn files_are_short_and_named_for_what_they_do() {
    for path in sources() {
        let lines = fs::read_to_string(&path).expect("UTF-8").lines().count();
        assert!(lines <= 500, "{} has {lines} lines, at most 500", path.display());
        let name = path.file_stem().and_then(|stem| stem.to_str()).expect("UTF-8");
        let vague = ["utils", "util", "helpers", "helper", "common", "misc"];
        assert!(!vague.contains(&name), "{} says nothing about its contents", path.display());
    }
}
