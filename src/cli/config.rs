//! Configuration: defaults, then a TOML file, then `--set key=value`. An unknown key is an error that
//! names the nearest known one.

use std::path::{Path, PathBuf};

use serde::de::DeserializeOwned;
use toml::{Table, Value};

/// What is wrong with a configuration. The program ends with exit code 2.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("{}: {source}. Give the path of a TOML file, or leave out --config for the defaults.", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// The file is not TOML.
    #[error("{}: {reason}", path.display())]
    Syntax {
        /// The file.
        path: PathBuf,
        /// Line, column and what was found.
        reason: String,
    },
    /// A `--set` that is not `key=value`, or goes through something that is no table.
    #[error("--set {given}: expected key=value, such as --set train.epochs=10{hint}")]
    Set {
        /// What was given.
        given: String,
        /// What stood in the way, if anything.
        hint: String,
    },
    /// A key or value that the program does not know.
    #[error("configuration{}: {reason}", at(place))]
    Content {
        /// Path of the key, such as `train.optimizer`; may be empty.
        place: String,
        /// What was found and what was expected.
        reason: String,
    },
    /// Values that each make sense, and do not together or not for this program.
    #[error("configuration: {0}")]
    Value(String),
}

fn at(place: &str) -> String {
    if place.is_empty() || place == "." { String::new() } else { format!(", key `{place}`") }
}

/// Reads a configuration.
///
/// # Errors
/// [`ConfigError`] naming the file or key.
pub fn load<T: DeserializeOwned>(file: Option<&Path>, sets: &[String]) -> Result<T, ConfigError> {
    let mut table = match file {
        Some(path) => read(path)?,
        None => Table::new(),
    };
    for given in sets {
        set(&mut table, given)?;
    }
    serde_path_to_error::deserialize(Value::Table(table)).map_err(|error| {
        let place = error.path().to_string();
        let reason = with_suggestion(error.inner().message());
        ConfigError::Content { place, reason }
    })
}

fn read(path: &Path) -> Result<Table, ConfigError> {
    let text = std::fs::read_to_string(path)
        .map_err(|source| ConfigError::Read { path: path.to_owned(), source })?;
    text.parse().map_err(|error: toml::de::Error| ConfigError::Syntax {
        path: path.to_owned(),
        reason: error.to_string(),
    })
}

/// Applies one `key.sub=value`. The value is TOML (`3`, `true`, `[1, 2]`) or else a string.
fn set(table: &mut Table, given: &str) -> Result<(), ConfigError> {
    let fail = |hint: &str| ConfigError::Set { given: given.to_owned(), hint: hint.to_owned() };
    let (key, value) = given.split_once('=').ok_or_else(|| fail(""))?;
    let mut parts: Vec<&str> = key.trim().split('.').collect();
    if parts.iter().any(|part| part.is_empty()) {
        return Err(fail(""));
    }
    let last = parts.pop().expect("split gives at least one part");
    let mut place = table;
    for part in parts {
        let next = place.entry(part).or_insert_with(|| Value::Table(Table::new()));
        place = next.as_table_mut().ok_or_else(|| fail(&format!("; `{part}` is not a table")))?;
    }
    let value = value.trim();
    let parsed = format!("value = {value}").parse::<Table>().ok().and_then(|mut t| t.remove("value"));
    place.insert(last.to_owned(), parsed.unwrap_or_else(|| Value::String(value.to_owned())));
    Ok(())
}

/// Adds the nearest known name to serde's message about an unknown field or variant, which lists what was
/// found and then all that is known, each in back-ticks.
fn with_suggestion(message: &str) -> String {
    let message = message.trim();
    if !message.starts_with("unknown field") && !message.starts_with("unknown variant") {
        return message.to_owned();
    }
    let mut names = message.split('`').skip(1).step_by(2);
    let Some(found) = names.next() else { return message.to_owned() };
    let nearest = names
        .map(|name| (strsim::damerau_levenshtein(found, name), name))
        .min()
        .filter(|(distance, name)| *distance <= name.len().max(3) / 2);
    match nearest {
        Some((_, name)) => format!("{message}. Did you mean `{name}`?"),
        None => message.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, PartialEq, serde::Deserialize)]
    #[serde(deny_unknown_fields, default)]
    struct Outer {
        seed: u64,
        train: Inner,
    }

    #[derive(Debug, PartialEq, serde::Deserialize)]
    #[serde(deny_unknown_fields, default)]
    struct Inner {
        epochs: usize,
        name: String,
    }

    impl Default for Outer {
        fn default() -> Self {
            Self { seed: 0, train: Inner::default() }
        }
    }

    impl Default for Inner {
        fn default() -> Self {
            Self { epochs: 3, name: "a".to_owned() }
        }
    }

    fn sets(sets: &[&str]) -> Result<Outer, ConfigError> {
        load(None, &sets.iter().map(|&set| set.to_owned()).collect::<Vec<_>>())
    }

    #[test]
    fn later_layers_win() {
        let directory = tempfile::tempdir().expect("temporary directory");
        let file = directory.path().join("c.toml");
        std::fs::write(&file, "seed = 4\n[train]\nepochs = 9\n").expect("written");
        let config: Outer = load(Some(&file), &["train.epochs=2".to_owned()]).expect("good");
        assert_eq!(config, Outer { seed: 4, train: Inner { epochs: 2, name: "a".to_owned() } });
        assert_eq!(sets(&["train.name=8/255"]).expect("good").train.name, "8/255");
    }

    #[test]
    fn mistakes_are_named() {
        let message = |set: &str| sets(&[set]).expect_err("bad").to_string();
        assert_eq!(
            message("train.epoch=2"),
            "configuration, key `train.epoch`: unknown field `epoch`, expected `epochs` or `name`. \
             Did you mean `epochs`?"
        );
        assert_eq!(
            message("train.epochs=many"),
            "configuration, key `train.epochs`: invalid type: string \"many\", expected usize"
        );
        assert!(message("seed").starts_with("--set seed: expected key=value"));
        let through = sets(&["seed=1", "seed.x=1"]).expect_err("bad").to_string();
        assert!(through.contains("`seed` is not a table"), "{through}");
    }
}
