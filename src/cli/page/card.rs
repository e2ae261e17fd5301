//! The card of the model that a run audited.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use anyhow::Context as _;

use crate::report::page::RunSource;
use crate::report::{CARD_MARK, CardModel, card};
use crate::run::write_file;

/// Writes `README.md` into the directory of the model that a run audited. One that somebody else wrote stays.
pub(super) fn write(run: &Path, source: &RunSource) -> anyhow::Result<PathBuf> {
    anyhow::ensure!(
        source.metrics.is_some() && !source.unfinished,
        "{} has no finished audit to make a model card of; finish it with --resume, or give another run",
        run.display()
    );
    let table: toml::Table =
        source.config.parse().with_context(|| format!("{}/config.toml is not TOML", run.display()))?;
    let path = |key: &str| table.get(key).and_then(toml::Value::as_str).map(PathBuf::from);
    let model = path("model").filter(|model| model.is_dir()).with_context(|| {
        format!(
            "the model that {} names in config.toml is not there; put it back, or audit it where it is now",
            run.display()
        )
    })?;
    let readme = model.join("README.md");
    // What is there may be of any encoding, and what cannot be read may be somebody's too.
    match std::fs::read(&readme) {
        Ok(there) => anyhow::ensure!(
            String::from_utf8_lossy(&there).contains(CARD_MARK),
            "{} was not written by this program; move it away to have a model card there",
            readme.display()
        ),
        Err(error) if error.kind() == ErrorKind::NotFound => {}
        Err(error) => {
            return Err(error).with_context(|| {
                format!(
                    "{} is there and cannot be read; move it away to have a model card there",
                    readme.display()
                )
            });
        }
    }
    let text = card(&about(&model, path("data").as_deref()), source);
    write_file(&readme, text.as_bytes())?;
    Ok(readme)
}

fn about(model: &Path, data: Option<&Path>) -> CardModel {
    let config = std::fs::read_to_string(model.join("config.json")).unwrap_or_default();
    let config: serde_json::Value = serde_json::from_str(&config).unwrap_or_default();
    let name = |path: &Path| path.file_name().map(|name| name.to_string_lossy().into_owned());
    // Every training calls its model "model", and an experiment its training "train": the directories above say more, also those
    // that a relative path leaves out.
    let whole = std::fs::canonicalize(model).unwrap_or_else(|_| model.to_owned());
    let own = whole.ancestors().filter_map(name).find(|name| !["model", "train"].contains(&name.as_str()));
    CardModel {
        name: own.unwrap_or_else(|| "model".to_owned()),
        architecture: config["architecture"].as_str().unwrap_or("unknown").to_owned(),
        data: data.and_then(name).unwrap_or_else(|| "unknown".to_owned()),
    }
}
