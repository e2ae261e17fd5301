//! The run directory: where each file is, and the right to write them.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File, TryLockError};
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

use super::{RunError, write_file, write_new_file};

/// Where the files of a run are. Having one gives no right to write: see [`RunDir`].
#[derive(Clone, Debug)]
pub struct Layout {
    root: PathBuf,
}

impl Layout {
    /// The files of an existing run, to read them.
    ///
    /// # Errors
    /// [`RunError::NoRun`] when there is no `config.toml`.
    pub fn open(root: &Path) -> Result<Self, RunError> {
        let layout = Self { root: root.to_owned() };
        if layout.config().is_file() { Ok(layout) } else { Err(RunError::NoRun(layout.root)) }
    }

    /// One line for each key in which the run's config differs from another one, with both values.
    ///
    /// # Errors
    /// When either cannot be read.
    pub fn differences(&self, config: &str) -> Result<Vec<String>, RunError> {
        let stored = fs::read_to_string(self.config()).map_err(RunError::reading(&self.config()))?;
        let old = flatten(&self.config().display().to_string(), &stored)?;
        Ok(differences(&old, &flatten("the config given with --resume", config)?))
    }

    /// The directory itself.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// `config.toml`: the resolved config.
    pub fn config(&self) -> PathBuf {
        self.root.join("config.toml")
    }

    /// `pieces/`: results of an audit that is made in shards.
    pub fn pieces(&self) -> PathBuf {
        self.root.join("pieces")
    }

    /// `shards/`: a directory with a log for each shard of an audit.
    pub fn shards(&self) -> PathBuf {
        self.root.join("shards")
    }

    /// `events.jsonl`: what happened when, see [`super::EventLog`].
    pub fn events(&self) -> PathBuf {
        self.root.join("events.jsonl")
    }

    /// `checkpoints/`: states to resume training from.
    pub fn checkpoints(&self) -> PathBuf {
        self.root.join("checkpoints")
    }

    /// `model/`: the trained model.
    pub fn model(&self) -> PathBuf {
        self.root.join("model")
    }

    /// `splits.csv`: which picture was in which split, where folders do not say it.
    pub fn splits(&self) -> PathBuf {
        self.root.join("splits.csv")
    }

    /// `predictions.csv.gz`: one row for each image, attack and target.
    pub fn predictions(&self) -> PathBuf {
        self.root.join("predictions.csv.gz")
    }

    /// `confusion_clean.csv` or `confusion_<attack>.csv`: counts, rows are true labels, columns are
    /// predictions.
    pub fn confusion(&self, attack: &str) -> PathBuf {
        self.root.join(format!("confusion_{attack}.csv"))
    }

    /// `parts_<attack>.csv`: what each part of a composed attack contributed.
    pub fn parts(&self, attack: &str) -> PathBuf {
        self.root.join(format!("parts_{attack}.csv"))
    }

    /// `placement.png`: some pictures, and below them where the attack writes.
    pub fn placement(&self) -> PathBuf {
        self.root.join("placement.png")
    }

    /// `textures/`: what an attack learned before it was judged.
    pub fn textures(&self) -> PathBuf {
        self.root.join("textures")
    }

    /// `success_<attack>.csv`: targeted success, rows are sources, columns are targets.
    pub fn success(&self, attack: &str) -> PathBuf {
        self.root.join(format!("success_{attack}.csv"))
    }

    /// `pairs.csv`: one row for each unordered pair of classes.
    pub fn pairs(&self) -> PathBuf {
        self.root.join("pairs.csv")
    }

    /// `classes.csv`: one row for each class.
    pub fn classes(&self) -> PathBuf {
        self.root.join("classes.csv")
    }

    /// `groups.csv`: one row for each group of people.
    pub fn groups(&self) -> PathBuf {
        self.root.join("groups.csv")
    }

    /// `group_flows.csv`: errors and targeted success between groups of people.
    pub fn group_flows(&self) -> PathBuf {
        self.root.join("group_flows.csv")
    }

    /// `curves.csv`: robust accuracy over the strength of the attack.
    pub fn curves(&self) -> PathBuf {
        self.root.join("curves.csv")
    }

    /// `images/`: adversarial pictures, one folder for each class.
    pub fn images(&self) -> PathBuf {
        self.root.join("images")
    }

    /// `attacked.csv`: one row for each adversarial picture.
    pub fn attacked(&self) -> PathBuf {
        self.root.join("attacked.csv")
    }

    /// `certificates.csv`: one row for each picture of a smoothed classifier.
    pub fn certificates(&self) -> PathBuf {
        self.root.join("certificates.csv")
    }

    /// `certified.json`: the figures of a smoothed classifier.
    pub fn certified(&self) -> PathBuf {
        self.root.join("certified.json")
    }

    /// `examples/`: pictures of the worst pairs, clean and attacked.
    pub fn examples(&self) -> PathBuf {
        self.root.join("examples")
    }

    /// `report.html`: the page of the run.
    pub fn page(&self) -> PathBuf {
        self.root.join("report.html")
    }

    /// `checks.json`: whether the model and the attack were sound.
    pub fn checks(&self) -> PathBuf {
        self.root.join("checks.json")
    }

    /// `metrics.json`: all figures.
    pub fn metrics(&self) -> PathBuf {
        self.root.join("metrics.json")
    }
}

/// Held by whoever writes the directory that it is in. It stays when the process has gone; a lock on it does not.
const LOCK: &str = ".lock";

/// A run directory that this process may write: it holds the directory's lock until it is dropped.
#[derive(Debug)]
pub struct RunDir {
    layout: Layout,
    _lock: File,
}

impl RunDir {
    /// Starts a run in a new or empty directory (hidden files don't count) and stores its resolved config.
    ///
    /// # Errors
    /// When the directory holds a run or other files, when another process writes it, or when it cannot
    /// be written.
    pub fn create(root: &Path, config: &str) -> Result<Self, RunError> {
        flatten("the config of the new run", config)?;
        fs::create_dir_all(root).map_err(RunError::writing(root))?;
        // Before the lock, so that a foreign directory stays untouched; after it, in case two processes
        // start at once.
        vacant(root)?;
        let run = Self::lock(root)?;
        vacant(root)?;
        write_file(&run.layout.config(), config.as_bytes())?;
        Ok(run)
    }

    /// Goes on with a run. Its config must be the one that it was started with, key by key: comments and
    /// the order of keys may differ.
    ///
    /// # Errors
    /// When there is no run, when another process writes it, or when the configs differ; the last error
    /// lists each differing key with both values.
    pub fn resume(root: &Path, config: &str) -> Result<Self, RunError> {
        same_config(root, config)?;
        Self::lock(root)
    }

    /// Enters a run that several processes write at once, each its own files: starts it, or joins those that have.
    /// As long as one is in it nobody can [`Self::resume`] it.
    ///
    /// # Errors
    /// When the directory holds other files or a run with another config, when a process has it for itself, or when
    /// it cannot be written.
    pub fn join(root: &Path, config: &str) -> Result<Self, RunError> {
        flatten("the config of the new run", config)?;
        fs::create_dir_all(root).map_err(RunError::writing(root))?;
        match vacant(root) {
            // Others may have come first; whoever did, the configs are compared.
            Ok(()) => drop(write_new_file(&root.join("config.toml"), config.as_bytes())?),
            Err(RunError::Exists(_)) => {}
            Err(error) => return Err(error),
        }
        same_config(root, config)?;
        Self::lock_with(root, File::try_lock_shared)
    }

    /// Claims a directory inside the run for this process, which is made if it is not there.
    ///
    /// # Errors
    /// [`RunError::Locked`] when another process has it, or when it cannot be made.
    pub fn claim(&self, part: &Path) -> Result<Claim, RunError> {
        fs::create_dir_all(part).map_err(RunError::writing(part))?;
        Ok(Claim { _lock: lock_file(part, File::try_lock)? })
    }

    /// Where its files are.
    pub fn layout(&self) -> &Layout {
        &self.layout
    }

    fn lock(root: &Path) -> Result<Self, RunError> {
        Self::lock_with(root, File::try_lock)
    }

    fn lock_with(root: &Path, lock: TryLock) -> Result<Self, RunError> {
        Ok(Self { layout: Layout { root: root.to_owned() }, _lock: lock_file(root, lock)? })
    }
}

/// A part of a run that this process has for itself until this is dropped.
#[derive(Debug)]
pub struct Claim {
    _lock: File,
}

type TryLock = fn(&File) -> Result<(), TryLockError>;

/// Locks a directory by the file `.lock` in it.
fn lock_file(directory: &Path, try_lock: TryLock) -> Result<File, RunError> {
    let path = directory.join(LOCK);
    let mut options = File::options();
    let lock =
        options.create(true).write(true).truncate(false).open(&path).map_err(RunError::writing(&path))?;
    match try_lock(&lock) {
        Ok(()) => Ok(lock),
        Err(TryLockError::WouldBlock) => Err(RunError::Locked(directory.to_owned())),
        // Some network file systems have no locks; a run there is as good as the user's care.
        Err(TryLockError::Error(cause)) if cause.kind() == ErrorKind::Unsupported => Ok(lock),
        Err(TryLockError::Error(cause)) => Err(RunError::Write { path, cause }),
    }
}

/// Refuses another config than that of the run.
fn same_config(root: &Path, config: &str) -> Result<(), RunError> {
    let differences = Layout::open(root)?.differences(config)?;
    if differences.is_empty() {
        return Ok(());
    }
    Err(RunError::ConfigDiffers { path: root.to_owned(), differences })
}

/// A short name of everything that a config says: twelve hexadecimal digits, the same for the same values, in
/// whatever order.
///
/// # Errors
/// When it is not TOML.
pub fn config_key(config: &str) -> Result<String, RunError> {
    let mut hash = Sha256::new();
    for (key, value) in flatten("the config", config)? {
        hash.update(key);
        hash.update([0]);
        hash.update(value);
        hash.update([0]);
    }
    Ok(hash.finalize().iter().take(6).fold(String::new(), |text, byte| format!("{text}{byte:02x}")))
}

/// Whether a new run may go there.
fn vacant(root: &Path) -> Result<(), RunError> {
    if Layout::open(root).is_ok() {
        return Err(RunError::Exists(root.to_owned()));
    }
    for entry in fs::read_dir(root).map_err(RunError::reading(root))? {
        let name = entry.map_err(RunError::reading(root))?.file_name();
        if !name.to_string_lossy().starts_with('.') {
            return Err(RunError::NotEmpty(root.to_owned()));
        }
    }
    Ok(())
}

/// The values of a config by dotted key (`train.lr`, `attack[0].steps`), each as TOML text.
fn flatten(origin: &str, config: &str) -> Result<BTreeMap<String, String>, RunError> {
    let table = config
        .parse::<toml::Table>()
        .map_err(|error| RunError::Config { origin: origin.to_owned(), cause: error.message().to_owned() })?;
    let mut values = BTreeMap::new();
    for (key, value) in table {
        flatten_into(key, &value, &mut values);
    }
    Ok(values)
}

fn flatten_into(key: String, value: &toml::Value, values: &mut BTreeMap<String, String>) {
    match value {
        toml::Value::Table(table) if !table.is_empty() => {
            for (inner, value) in table {
                flatten_into(format!("{key}.{inner}"), value, values);
            }
        }
        toml::Value::Array(array) if array.iter().any(toml::Value::is_table) => {
            for (index, value) in array.iter().enumerate() {
                flatten_into(format!("{key}[{index}]"), value, values);
            }
        }
        _ => {
            values.insert(key, value.to_string());
        }
    }
}

/// One line for each key whose values differ.
fn differences(old: &BTreeMap<String, String>, new: &BTreeMap<String, String>) -> Vec<String> {
    let keys: BTreeSet<&String> = old.keys().chain(new.keys()).collect();
    keys.into_iter()
        .filter(|key| old.get(*key) != new.get(*key))
        .map(|key| match (old.get(key), new.get(key)) {
            (Some(old), Some(new)) => format!("{key}: {old} in the run, {new} now"),
            (Some(old), None) => format!("{key}: {old} in the run, absent now"),
            (None, new) => format!("{key}: absent in the run, {} now", new.map_or("absent", |text| text)),
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const CONFIG: &str = "seed = 1\n[train]\nlr = 0.1\nepochs = 3\n[[attack]]\nname = \"pgd\"\n";

    fn message(result: Result<RunDir, RunError>) -> String {
        result.expect_err("an error was expected").to_string()
    }

    #[test]
    fn a_run_is_created_once_and_resumed() {
        let directory = tempfile::tempdir().expect("temporary directory");
        let root = directory.path().join("runs/a");
        let run = RunDir::create(&root, CONFIG).expect("new run");
        assert_eq!(fs::read_to_string(run.layout().config()).expect("readable"), CONFIG);
        drop(run);
        assert!(message(RunDir::create(&root, CONFIG)).contains("holds a run already; resume it"));
        let shuffled = "# a comment\nattack = [{ name = 'pgd' }]\nseed = 1\ntrain = { epochs = 3, lr = 0.1 }";
        RunDir::resume(&root, shuffled).expect("the same values");
        assert_eq!(Layout::open(&root).expect("a run").root(), root);
    }

    #[test]
    fn resuming_with_another_config_lists_what_differs() {
        let directory = tempfile::tempdir().expect("temporary directory");
        drop(RunDir::create(directory.path(), CONFIG).expect("new run"));
        let other = "[train]\nlr = 0.01\nepochs = 3\nclip = true\n[[attack]]\nname = \"roa\"\n";
        let error = message(RunDir::resume(directory.path(), other));
        let lines: Vec<&str> = error.lines().map(str::trim).collect();
        assert_eq!(
            &lines[1..5],
            [
                "attack[0].name: \"pgd\" in the run, \"roa\" now",
                "seed: 1 in the run, absent now",
                "train.clip: absent in the run, true now",
                "train.lr: 0.1 in the run, 0.01 now",
            ]
        );
        assert!(error.contains("resume it with the config that it was started with"), "{error}");
    }

    #[test]
    fn two_writers_are_kept_apart() {
        let directory = tempfile::tempdir().expect("temporary directory");
        let first = RunDir::create(directory.path(), CONFIG).expect("new run");
        assert!(message(RunDir::resume(directory.path(), CONFIG)).contains("another process is writing"));
        drop(first);
        RunDir::resume(directory.path(), CONFIG).expect("the lock is free again");
    }

    #[test]
    fn several_join_a_run_and_nobody_has_it_for_himself() {
        let directory = tempfile::tempdir().expect("temporary directory");
        let root = directory.path().join("run");
        let first = RunDir::join(&root, CONFIG).expect("a new run");
        let second = RunDir::join(&root, CONFIG).expect("the same run");
        let other = message(RunDir::join(&root, "seed = 2"));
        assert!(other.contains("seed: 1 in the run, 2 now"), "{other}");
        assert!(message(RunDir::resume(&root, CONFIG)).contains("another process is writing"));
        let part = root.join("shards/0-of-2");
        let claim = first.claim(&part).expect("free");
        let taken = second.claim(&part).expect_err("taken").to_string();
        assert!(taken.contains("0-of-2"), "{taken}");
        drop((claim, first));
        second.claim(&part).expect("free again");
        drop(second);
        let alone = RunDir::resume(&root, CONFIG).expect("nobody is in it");
        assert!(message(RunDir::join(&root, CONFIG)).contains("another process is writing"));
        drop(alone);
        fs::write(directory.path().join("thesis.tex"), "").expect("written");
        assert!(message(RunDir::join(directory.path(), CONFIG)).contains("is not empty"));
    }

    #[test]
    fn the_key_of_a_config_is_that_of_its_values() {
        let key = |config: &str| config_key(config).expect("TOML");
        let shuffled = "# a comment\nattack = [{ name = 'pgd' }]\nseed = 1\ntrain = { epochs = 3, lr = 0.1 }";
        assert_eq!(key(CONFIG), key(shuffled));
        assert_ne!(key(CONFIG), key("seed = 1\n[train]\nlr = 0.1\nepochs = 4\n[[attack]]\nname = \"pgd\"\n"));
        assert_eq!(key(CONFIG).len(), 12);
    }

    #[test]
    fn a_run_is_neither_mixed_with_other_files_nor_resumed_from_nothing() {
        let directory = tempfile::tempdir().expect("temporary directory");
        assert!(message(RunDir::resume(directory.path(), CONFIG)).contains("holds no run"));
        fs::write(directory.path().join("thesis.tex"), "").expect("written");
        assert!(message(RunDir::create(directory.path(), CONFIG)).contains("is not empty"));
        assert!(!directory.path().join(".lock").exists(), "a directory of other files was touched");
        let file = directory.path().join("thesis.tex");
        assert!(message(RunDir::create(&file, CONFIG)).contains("thesis.tex"));
    }

    #[test]
    fn a_config_that_is_not_toml_is_an_error_and_leaves_no_run() {
        let directory = tempfile::tempdir().expect("temporary directory");
        assert!(message(RunDir::create(directory.path(), "lr 1")).contains("is not TOML"));
        RunDir::create(directory.path(), CONFIG).expect("still no run there");
    }
}
