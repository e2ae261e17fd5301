//! Tells the program which commit it was built from, for the first line of a run's log.

use std::path::Path;
use std::process::Command;

/// What git prints, without the line end; nothing outside a repository or without git.
fn git(arguments: &[&str]) -> Option<String> {
    let output =
        Command::new("git").args(arguments).output().ok().filter(|output| output.status.success())?;
    String::from_utf8(output.stdout).ok().map(|text| text.trim_end().to_owned())
}

/// The commit, with `-modified` when what the program is built from differs from it.
fn commit() -> Option<String> {
    // A source tree without its own `.git` may lie inside another repository, whose commit says nothing.
    if !Path::new(".git").exists() {
        return None;
    }
    let commit = git(&["rev-parse", "HEAD"])?;
    let changes =
        git(&["status", "--porcelain", "--", "src", "assets", "Cargo.toml", "Cargo.lock", "build.rs"])?;
    Some(if changes.is_empty() { commit } else { format!("{commit}-modified") })
}

fn main() {
    for watched in ["src", "assets", "Cargo.toml", "Cargo.lock"] {
        println!("cargo::rerun-if-changed={watched}");
    }
    // HEAD moves to another branch, the log of HEAD grows with every commit.
    for watched in ["HEAD", "logs/HEAD"] {
        if let Some(path) = git(&["rev-parse", "--git-path", watched]).filter(|path| Path::new(path).exists())
        {
            println!("cargo::rerun-if-changed={path}");
        }
    }
    println!("cargo::rustc-env=SYFAR_COMMIT={}", commit().as_deref().unwrap_or("unknown"));
}
