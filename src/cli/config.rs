//! Configuration: defaults, then a TOML file, then `--set key=value`. An unknown key is an error that
//! names the nearest known one.

use std::path::{Path, PathBuf};

use serde::Serialize;
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

/// Whether a key holds a path. In a file paths are relative to the file.
fn is_path(key: &str) -> bool {
    matches!(key, "data" | "model" | "model.from" | "attack.mask" | "attack.landmarks")
        || key.ends_with(".attack.mask")
        || key.ends_with(".attack.landmarks")
}

/// Reads a configuration: every key that is not given keeps its default. Where a `kind` is given that
/// differs from the default one, the other keys of its table start from the defaults of that kind; so they do
/// from a `preset`.
///
/// # Errors
/// [`ConfigError`] naming the file or key.
pub fn load<T>(file: Option<&Path>, sets: &[String]) -> Result<T, ConfigError>
where
    T: Default + DeserializeOwned + Serialize,
{
    let mut table = table_of(&T::default())?;
    if let Some(path) = file {
        let mut given = Vec::new();
        flatten("", read(path)?, &mut given);
        beside(path, &mut given);
        apply::<T>(&mut table, given)?;
    }
    let mut given = Vec::new();
    for set in sets {
        let (key, value) = parse_set(set)?;
        match value {
            Value::Table(inner) if !inner.is_empty() => flatten(&key, inner, &mut given),
            value => given.push((key, value)),
        }
    }
    apply::<T>(&mut table, given)?;
    parse(table)
}

/// A configuration from tables that are laid over the defaults, later ones over earlier ones. Relative paths in them
/// are relative to the file that they come from.
///
/// # Errors
/// [`ConfigError`] naming the key.
pub fn layered<T>(file: &Path, layers: Vec<Table>) -> Result<T, ConfigError>
where
    T: Default + DeserializeOwned + Serialize,
{
    let mut table = table_of(&T::default())?;
    for layer in layers {
        let mut given = Vec::new();
        flatten("", layer, &mut given);
        beside(file, &mut given);
        apply::<T>(&mut table, given)?;
    }
    parse(table)
}

/// A configuration as a table. By way of text, so that numbers are those that a person would write.
fn table_of(config: &impl Serialize) -> Result<Table, ConfigError> {
    let odd = |error: &dyn std::fmt::Display| ConfigError::Value(format!("it has no TOML form: {error}"));
    toml::to_string(config).map_err(|error| odd(&error))?.parse().map_err(|error| odd(&error))
}

/// What a table holds, with an error that names the key and the nearest known name.
pub fn parse<T: DeserializeOwned>(table: Table) -> Result<T, ConfigError> {
    serde_path_to_error::deserialize(Value::Table(table)).map_err(|error| {
        let place = error.path().to_string();
        let reason = with_suggestion(error.inner().message());
        ConfigError::Content { place, reason }
    })
}

/// Reads a file as a table.
pub fn read(path: &Path) -> Result<Table, ConfigError> {
    let text = std::fs::read_to_string(path)
        .map_err(|source| ConfigError::Read { path: path.to_owned(), source })?;
    text.parse().map_err(|error: toml::de::Error| ConfigError::Syntax {
        path: path.to_owned(),
        reason: error.to_string(),
    })
}

/// One `key.sub=value`. The value is TOML (`3`, `true`, `[1, 2]`) or else a string.
fn parse_set(given: &str) -> Result<(String, Value), ConfigError> {
    let fail = || ConfigError::Set { given: given.to_owned(), hint: String::new() };
    let (key, value) = given.split_once('=').ok_or_else(fail)?;
    let (key, value) = (key.trim(), value.trim());
    if key.split('.').any(str::is_empty) {
        return Err(fail());
    }
    let parsed = format!("value = {value}").parse::<Table>().ok().and_then(|mut table| table.remove("value"));
    Ok((key.to_owned(), parsed.unwrap_or_else(|| Value::String(value.to_owned()))))
}

/// Whether a key decides what the others of its table are by default.
fn decides_its_table(key: &str) -> bool {
    matches!(key, "kind" | "preset")
}

/// The values of a table by their dotted keys; a `kind` or `preset` comes before its neighbours.
pub fn flatten(prefix: &str, table: Table, found: &mut Vec<(String, Value)>) {
    let mut entries: Vec<(String, Value)> = table.into_iter().collect();
    entries.sort_by_key(|(key, _)| !decides_its_table(key));
    for (key, value) in entries {
        let key = if prefix.is_empty() { key } else { format!("{prefix}.{key}") };
        match value {
            Value::Table(inner) if !inner.is_empty() => flatten(&key, inner, found),
            value => found.push((key, value)),
        }
    }
}

/// Makes the relative paths of a file relative to where the program runs.
fn beside(file: &Path, given: &mut [(String, Value)]) {
    let directory = file.parent().unwrap_or(Path::new(""));
    for (key, value) in given {
        if let Value::String(path) = value
            && is_path(key)
            && !path.is_empty()
        {
            *path = directory.join(&*path).to_string_lossy().into_owned();
        }
    }
}

/// Puts values over a table.
fn apply<T: DeserializeOwned + Serialize>(
    table: &mut Table,
    given: Vec<(String, Value)>,
) -> Result<(), ConfigError> {
    for (key, value) in given {
        let (parents, last) = key.rsplit_once('.').unwrap_or(("", &key));
        let before = other_alternative(table, &key);
        let place = descend(table, parents, &key)?;
        // A preset leaves no key of its own: it has become the others.
        let is_new_kind = decides_its_table(last) && place.get(last) != Some(&value);
        if is_new_kind {
            place.clear();
        }
        match value {
            // An empty table turns an option on with its defaults and changes nothing that is there.
            Value::Table(inner) if inner.is_empty() => {
                place.entry(last).or_insert(Value::Table(inner));
            }
            value => {
                place.insert(last.to_owned(), value);
            }
        }
        if is_new_kind {
            *table = table_of(&parse::<T>(std::mem::take(table))?)?;
        }
        if let Some((above, before)) = before
            && parse::<T>(table.clone()).is_err()
        {
            let mut without = table.clone();
            descend(&mut without, &above, &key)?.remove(&before);
            if parse::<T>(without.clone()).is_ok() {
                *table = without;
            }
        }
    }
    Ok(())
}

/// Where a dotted key brings a new key beside a single other one: the dotted key above them, and that other key. They may be
/// alternatives of which there can be only one, such as the kinds of search of ROA.
fn other_alternative(table: &Table, key: &str) -> Option<(String, String)> {
    let mut place = table;
    let mut above = Vec::new();
    for part in key.split('.') {
        match (place.get(part), place.keys().next()) {
            (Some(next), _) => place = next.as_table()?,
            (None, Some(only)) if place.len() == 1 => return Some((above.join("."), only.clone())),
            (None, _) => return None,
        }
        above.push(part);
    }
    None
}

/// The table below a dotted key, made where it is missing.
fn descend<'a>(table: &'a mut Table, parents: &str, key: &str) -> Result<&'a mut Table, ConfigError> {
    let mut place = table;
    for part in parents.split('.').filter(|part| !part.is_empty()) {
        let next = place.entry(part).or_insert_with(|| Value::Table(Table::new()));
        place = next.as_table_mut().ok_or_else(|| ConfigError::Set {
            given: key.to_owned(),
            hint: format!("; `{part}` is not a table"),
        })?;
    }
    Ok(place)
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

    #[derive(Debug, Default, PartialEq, serde::Serialize, serde::Deserialize)]
    #[serde(deny_unknown_fields, default)]
    struct Outer {
        seed: u64,
        data: String,
        train: Inner,
        way: Way,
        more: Option<Inner>,
    }

    #[derive(Debug, PartialEq, serde::Serialize, serde::Deserialize)]
    #[serde(tag = "kind", rename_all = "kebab-case")]
    enum Way {
        Slow {
            steps: usize,
            #[serde(default = "half")]
            rate: f32,
        },
        Fast {
            #[serde(default = "half")]
            rate: f32,
        },
    }

    fn half() -> f32 {
        0.4
    }

    impl Default for Way {
        fn default() -> Self {
            Self::Slow { steps: 7, rate: 0.4 }
        }
    }

    #[derive(Debug, PartialEq, serde::Serialize, serde::Deserialize)]
    #[serde(deny_unknown_fields, default)]
    struct Inner {
        epochs: usize,
        name: String,
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
        assert_eq!((config.seed, config.train.epochs, config.train.name.as_str()), (4, 2, "a"));
        assert_eq!(sets(&["train.name=8/255"]).expect("good").train.name, "8/255");
    }

    #[test]
    fn a_key_of_the_default_kind_needs_no_kind_and_another_kind_has_its_own_defaults() {
        let way = |words: &[&str]| sets(words).expect("good").way;
        assert_eq!(way(&["way.steps=9"]), Way::Slow { steps: 9, rate: 0.4 });
        assert_eq!(way(&["way.kind=fast"]), Way::Fast { rate: 0.4 });
        assert_eq!(way(&["way={rate=0.25, kind='fast'}"]), Way::Fast { rate: 0.25 });
        let text = toml::to_string(&Outer::default()).expect("TOML");
        assert!(text.contains("rate = 0.4\n"), "{text}");
    }

    #[test]
    fn an_alternative_takes_the_place_of_another() {
        #[derive(Debug, PartialEq, serde::Serialize, serde::Deserialize)]
        #[serde(rename_all = "kebab-case")]
        enum Search {
            Everywhere,
            Steepest {
                places: usize,
            },
            NearBest {
                #[serde(default = "nine")]
                spacing: usize,
            },
        }
        #[derive(Debug, serde::Serialize, serde::Deserialize)]
        #[serde(default, deny_unknown_fields)]
        struct Found {
            search: Search,
        }
        fn nine() -> usize {
            9
        }
        impl Default for Found {
            fn default() -> Self {
                Self { search: Search::Steepest { places: 6 } }
            }
        }
        let set = |given: &str| load::<Found>(None, &[given.to_owned()]).map(|found| found.search);
        assert_eq!(set("search={near-best={spacing=3}}").expect("good"), Search::NearBest { spacing: 3 });
        assert_eq!(set("search.near-best.spacing=2").expect("good"), Search::NearBest { spacing: 2 });
        assert_eq!(set("search.near-best={}").expect("good"), Search::NearBest { spacing: 9 });
        assert_eq!(set("search.steepest.places=2").expect("good"), Search::Steepest { places: 2 });
        assert_eq!(set("search=everywhere").expect("good"), Search::Everywhere);
        let error = set("search.nearbest.spacing=2").expect_err("unknown").to_string();
        assert!(error.contains("search"), "{error}");
    }

    #[test]
    fn an_empty_table_turns_an_option_on_with_its_defaults() {
        assert_eq!(sets(&[]).expect("good").more, None);
        assert_eq!(sets(&["more={}"]).expect("good").more, Some(Inner::default()));
        let both = sets(&["more.epochs=8", "more={}", "train={}", "way={}"]).expect("good");
        assert_eq!(
            (both.more.expect("on").epochs, both.train, both.way),
            (8, Inner::default(), Way::default())
        );
        let directory = tempfile::tempdir().expect("temporary directory");
        let file = directory.path().join("c.toml");
        std::fs::write(&file, "[more]\n").expect("written");
        let config: Outer = load(Some(&file), &[]).expect("good");
        assert_eq!(config.more, Some(Inner::default()));
    }

    #[test]
    fn paths_in_a_file_are_relative_to_it() {
        let directory = tempfile::tempdir().expect("temporary directory");
        let file = directory.path().join("c.toml");
        std::fs::write(&file, "data = \"faces\"\n").expect("written");
        let config: Outer = load(Some(&file), &[]).expect("good");
        assert_eq!(Path::new(&config.data), directory.path().join("faces"));
        assert_eq!(sets(&["data=faces"]).expect("good").data, "faces");
        std::fs::write(&file, "seed = 1\n").expect("written");
        assert_eq!(load::<Outer>(Some(&file), &[]).expect("good").data, "");
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
