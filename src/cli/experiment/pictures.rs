//! The pictures of an experiment: made or fetched where they are missing, and held to be the same from the first cell
//! to the last.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::Context as _;
use serde::{Deserialize, Serialize};

use super::file::{DataEntry, OrlEntry};
use super::plan::{Cell, Plan};
use crate::data::{Dataset, FashionMnistConfig, fetch_orl, write_fashion_mnist, write_synthetic_faces};
use crate::run::write_file;

/// Side at which pictures are opened for their hash, which does not depend on it.
const SIDE: usize = 16;

/// What pictures were at the first cell.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Known {
    hash: String,
    /// The keys that they were made with; `null` for a folder of the user's.
    made: serde_json::Value,
}

/// The keys that decide what pictures are made.
fn made(entry: &DataEntry) -> anyhow::Result<serde_json::Value> {
    Ok(match entry {
        DataEntry::Folder(_) => serde_json::Value::Null,
        DataEntry::Orl(OrlEntry { split_per_seed: true, .. }) => serde_json::json!({"split_per_seed": true}),
        DataEntry::Orl(entry) => serde_json::json!({"split_seed": entry.split_seed}),
        DataEntry::SyntheticFaces(entry) => serde_json::to_value(&entry.draw)?,
        // Where the files lie does not matter.
        DataEntry::FashionMnist(entry) => {
            let FashionMnistConfig { train, val, test, seed, .. } = entry.part;
            serde_json::json!({"train": train, "val": val, "test": test, "seed": seed})
        }
    })
}

/// Makes the pictures of a cell where they are missing.
///
/// # Errors
/// When they cannot be fetched, drawn or written, or the folder of the user is not there.
pub(super) fn prepare(plan: &Plan, cell: &Cell) -> anyhow::Result<()> {
    let out = plan.pictures(cell);
    let entry = &plan.file.data[cell.data];
    let about = || format!("data `{}`", entry.name());
    if out.is_dir() {
        return Ok(());
    }
    match entry {
        DataEntry::Folder(_) => {
            anyhow::bail!(
                "data `{}`: {} is no folder; put train/, val/ and test/ there or correct `path`",
                entry.name(),
                out.display()
            )
        }
        DataEntry::Orl(entry) => {
            let seed = if entry.split_per_seed { cell.seed } else { entry.split_seed };
            fetch_orl(&out, seed).map(drop).with_context(about)
        }
        DataEntry::SyntheticFaces(entry) => {
            write_synthetic_faces(&out, &entry.draw).map(drop).with_context(about)
        }
        DataEntry::FashionMnist(entry) => {
            write_fashion_mnist(&out, &entry.part).map(drop).with_context(about)
        }
    }
}

/// Prepares the pictures of these cells and checks that they are those that the experiment began with.
///
/// # Errors
/// As for [`prepare`]; when pictures changed.
pub(super) fn check(plan: &Plan, cells: &[Cell]) -> anyhow::Result<()> {
    let path = plan.root.join("pictures.json");
    let mut known: BTreeMap<String, Known> = match std::fs::read_to_string(&path) {
        Ok(text) => serde_json::from_str(&text)
            .with_context(|| format!("{} cannot be read; restore it from a copy", path.display()))?,
        Err(_) => BTreeMap::new(),
    };
    let before = known.clone();
    let mut seen = Vec::new();
    for cell in cells {
        let folder = plan.pictures(cell);
        if seen.contains(&folder) {
            continue;
        }
        prepare(plan, cell)?;
        let hash = Dataset::open(&folder, SIDE)?.hash;
        let (name, now) =
            (name(plan, cell, &folder), Known { hash, made: made(&plan.file.data[cell.data])? });
        if let Some(old) = known.get(&name) {
            anyhow::ensure!(
                old.made == now.made,
                "data `{name}` changed in {}: its pictures were made with {}, and now it says {}. Put it back, or give \
                 it another name, or choose another --out.",
                plan.path.display(),
                old.made,
                now.made
            );
            anyhow::ensure!(
                old.hash == now.hash,
                "the pictures of `{name}` in {} are not those that this experiment began with (hash {}, then {}). Put \
                 them back, or choose another --out.",
                folder.display(),
                now.hash,
                old.hash
            );
        }
        known.insert(name, now);
        seen.push(folder);
    }
    if known != before {
        std::fs::create_dir_all(&plan.root)
            .with_context(|| format!("cannot make {}", plan.root.display()))?;
        write_file(&path, (serde_json::to_string_pretty(&known)? + "\n").as_bytes())?;
    }
    Ok(())
}

/// What the pictures are called in `pictures.json`.
fn name(plan: &Plan, cell: &Cell, folder: &Path) -> String {
    let entry = &plan.file.data[cell.data];
    if entry.split_per_seed() {
        folder.file_name().map_or_else(String::new, |name| name.to_string_lossy().into_owned())
    } else {
        entry.name().to_owned()
    }
}
