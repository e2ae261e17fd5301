//! From a run directory to what its page needs. What cannot be read is a note, not an error: the rest is shown.

use std::path::{Path, PathBuf};

use serde_json::Value;

use super::examples;
use crate::Seed;
use crate::audit::{self, read_rows};
use crate::checks::{CheckReport, Status};
use crate::metrics::{AuditCounts, ConfusionMatrix, FairnessReport, SuccessMatrix};
use crate::report::page::{CheckLine, Checks, Counts, RunSource, TrainingEpoch};
use crate::run::{Event, Layout, RunError, read_events};

/// Longest text of one fact, in characters: a command of many files is cut.
const LONGEST: usize = 2000;

/// Longest configuration that is shown, in bytes.
const LONGEST_CONFIG: usize = 100_000;

/// Most classes of a run: matrices of more do not fit into memory.
const MOST_CLASSES: usize = 20_000;

/// Most pictures or attacks of a matrix, together: sums of them stay exact as `f64`.
const MOST_COUNTED: u64 = 1 << 40;

/// What a run directory says.
///
/// # Errors
/// When it is no run directory.
pub(super) fn source(run: &Path) -> anyhow::Result<RunSource> {
    let layout = Layout::open(run)?;
    let mut notes = Vec::new();
    let mut config = std::fs::read_to_string(layout.config()).unwrap_or_default();
    let events = events(&layout.events(), &mut notes);
    let found = metrics(&layout, &mut notes);
    let finished = found.is_some();
    let (metrics, counts) = match found {
        Some(metrics) => {
            let counts = matrices(&layout, &metrics, &mut notes);
            (Some(metrics), counts)
        }
        None => unfinished(&layout, &events, &mut notes),
    };
    let training = training(&events, &config);
    let checks = checks(&layout, &mut notes);
    let examples = examples::read(&layout, &mut notes);
    let origin = origin(&events, &config);
    if config.len() > LONGEST_CONFIG {
        config = String::from("# too long to be shown here: see config.toml\n");
    }
    Ok(RunSource {
        name: run.display().to_string(),
        unfinished: !finished && metrics.is_some(),
        metrics,
        counts,
        checks,
        origin,
        config,
        training,
        examples,
        notes,
    })
}

/// What a comparison needs of a run: its figures.
///
/// # Errors
/// When it is no run directory.
pub(super) fn compared(run: &Path) -> anyhow::Result<RunSource> {
    let layout = Layout::open(run)?;
    let mut notes = Vec::new();
    let found = metrics(&layout, &mut notes);
    let finished = found.is_some();
    let metrics = found.or_else(|| {
        let events = events(&layout.events(), &mut notes);
        unfinished(&layout, &events, &mut notes).0
    });
    let unfinished = !finished && metrics.is_some();
    Ok(RunSource { name: run.display().to_string(), metrics, unfinished, notes, ..RunSource::default() })
}

fn events(path: &Path, notes: &mut Vec<String>) -> Vec<Event> {
    if !path.exists() {
        return Vec::new();
    }
    shown_events(path).unwrap_or_else(|error| {
        notes.push(error.to_string());
        Vec::new()
    })
}

/// Events that say something for a page: not those that only tell how far a run is, which most are and which may hold
/// matrices.
fn shown_events(path: &Path) -> Result<Vec<Event>, RunError> {
    let passed_over = |event: &Event| matches!(event.kind.as_str(), "step" | "audit_batch");
    read_events(path)?.filter(|event| !event.as_ref().is_ok_and(passed_over)).collect()
}

/// `metrics.json`, of whatever version.
fn metrics(layout: &Layout, notes: &mut Vec<String>) -> Option<Value> {
    let path = layout.metrics();
    let text = std::fs::read_to_string(&path).ok()?;
    match serde_json::from_str(&text) {
        Ok(Value::Object(found)) => {
            let classes = found.get("classes").and_then(Value::as_array).map_or(0, Vec::len);
            if classes > MOST_CLASSES {
                notes.push(format!(
                    "{} names {classes} classes, expected at most {MOST_CLASSES}: it is not shown.",
                    path.display()
                ));
                return None;
            }
            Some(Value::Object(found))
        }
        Ok(_) => {
            notes.push(format!("{} is not a report of this program.", path.display()));
            None
        }
        Err(error) => {
            notes.push(format!("{} is not JSON: {error}.", path.display()));
            None
        }
    }
}

fn class_names(value: &Value) -> Option<Vec<String>> {
    value.get("classes")?.as_array()?.iter().map(|name| name.as_str().map(ToOwned::to_owned)).collect()
}

/// The matrices of a finished audit.
fn matrices(layout: &Layout, metrics: &Value, notes: &mut Vec<String>) -> Counts {
    let (Some(classes), Some(attack)) = (class_names(metrics), metrics.get("attack").and_then(Value::as_str))
    else {
        return Counts::default();
    };
    // The name of an attack is part of a path: that of a foreign file must not lead elsewhere.
    if attack.contains(['/', '\\']) {
        notes.push(format!("the attack {attack:?} is no name of a file, so its matrices were not read"));
        return Counts::default();
    }
    let mut read = |path: PathBuf, wanted: bool| {
        let found = confusion(&path, classes.len());
        if let Err(error) = &found
            && wanted
        {
            notes.push(format!("{}: {error}", path.display()));
        }
        found.ok()
    };
    let (clean, untargeted) =
        (read(layout.confusion("clean"), true), metrics.get("untargeted").is_some_and(Value::is_object));
    let untargeted = if untargeted { read(layout.confusion(attack), true) } else { None };
    let targeted =
        metrics.get("targeted").is_some_and(Value::is_object).then(|| success(&layout.pairs(), &classes));
    let targeted = targeted.and_then(|found| {
        found.map_err(|error| notes.push(format!("{}: {error}", layout.pairs().display()))).ok()
    });
    Counts { clean, untargeted, targeted }
}

/// `confusion_*.csv`.
fn confusion(path: &Path, classes: usize) -> Result<ConfusionMatrix, String> {
    let mut reader =
        csv::ReaderBuilder::new().has_headers(true).from_path(path).map_err(|error| error.to_string())?;
    let mut counts = Vec::new();
    let mut total = 0;
    for record in reader.records() {
        let record = record.map_err(|error| error.to_string())?;
        for cell in record.iter().skip(1) {
            counts.push(counted(cell, &mut total)?);
        }
    }
    let found = counts.len();
    ConfusionMatrix::from_counts(classes, counts)
        .ok_or_else(|| format!("found {found} counts, expected {classes} by {classes}"))
}

/// A count, added to those before it.
fn counted(text: &str, total: &mut u64) -> Result<u64, String> {
    let count: u64 = text.parse().map_err(|_| format!("{text:?} is no count"))?;
    *total = total.saturating_add(count);
    if *total <= MOST_COUNTED {
        Ok(count)
    } else {
        Err(format!("its counts are {total} and more together, expected at most {MOST_COUNTED}"))
    }
}

/// `pairs.csv`: its rates and numbers give the counts back.
fn success(path: &Path, classes: &[String]) -> Result<SuccessMatrix, String> {
    let places: std::collections::HashMap<&str, usize> =
        classes.iter().enumerate().map(|(place, name)| (name.as_str(), place)).collect();
    let mut reader = csv::Reader::from_path(path).map_err(|error| error.to_string())?;
    let names = reader.headers().map_err(|error| error.to_string())?.clone();
    let column = |name: &str| {
        names.iter().position(|other| other == name).ok_or_else(|| format!("the column {name} is missing"))
    };
    let [first, second] = [column("class_i")?, column("class_j")?];
    let [there, there_n, back, back_n] =
        [column("success_ij")?, column("n_ij")?, column("success_ji")?, column("n_ji")?];
    let mut counts = SuccessMatrix::new(classes.len());
    let mut total = 0;
    let mut record = csv::StringRecord::new();
    while reader.read_record(&mut record).map_err(|error| error.to_string())? {
        let class = |at: usize| {
            places
                .get(&record[at])
                .copied()
                .ok_or_else(|| format!("the class {:?} is not in metrics.json", &record[at]))
        };
        let (i, j) = (class(first)?, class(second)?);
        for (from, to, rate, n) in [(i, j, there, there_n), (j, i, back, back_n)] {
            if record[n].is_empty() {
                continue;
            }
            let attempts = counted(&record[n], &mut total)
                .map_err(|error| format!("in the column {}: {error}", &names[n]))?;
            let rate: f64 = record[rate]
                .parse()
                .map_err(|_| format!("{:?} in the column {} is no number", &record[rate], &names[rate]))?;
            let successes = (rate * attempts as f64).round() as u64;
            counts.add_attacks(from, to, attempts, successes.min(attempts));
        }
    }
    Ok(counts)
}

/// The figures of the rows so far, without intervals that take draws.
fn unfinished(layout: &Layout, events: &[Event], notes: &mut Vec<String>) -> (Option<Value>, Counts) {
    let start = events.iter().rev().find(|event| event.kind == "audit_start").map(|event| &event.data);
    let Some(classes) = start.and_then(class_names) else {
        let kind =
            if events.iter().any(|event| event.kind == "train_start") { "a training" } else { "a run" };
        notes.push(format!("This is {kind} without an audit."));
        return (None, Counts::default());
    };
    if classes.len() > MOST_CLASSES {
        notes.push(format!("The log names {} classes, expected at most {MOST_CLASSES}.", classes.len()));
        return (None, Counts::default());
    }
    let counted = read_rows(&layout.predictions())
        .and_then(|rows| audit::Counts::from_rows(rows, classes.len()).map(|counts| (counts, classes)));
    let (counts, classes) = match counted {
        Ok(counted) => counted,
        Err(error) => {
            notes.push(format!("The audit is not finished, and its rows cannot be read: {error}"));
            return (None, Counts::default());
        }
    };
    notes.push(format!(
        "The audit is not finished: these are the figures of the {} clean pictures and of the attacks so far, without noise \
         floors. Figures of groups, and results of attacks that come later, targeted ones last, are not there yet. The same \
         command with --resume goes on.",
        counts.clean.total()
    ));
    // The other attacks are points of curves. A log of an older version does not name the audit's own.
    let named = start.and_then(|start| start.get("attack")?.as_str()).map(ToOwned::to_owned);
    let attack = named.or_else(|| counts.attacks.keys().next().cloned()).unwrap_or_default();
    let of_attack = counts.attacks.get(&attack).cloned().unwrap_or_default();
    let given = AuditCounts {
        classes,
        attack,
        clean: counts.clean.clone(),
        untargeted: of_attack.untargeted.clone(),
        targeted: of_attack.targeted.clone(),
        outcomes: None,
        groups: Vec::new(),
    };
    let report = FairnessReport::compute(&given, Seed::new(0), 0);
    let matrices =
        Counts { clean: Some(counts.clean), untargeted: of_attack.untargeted, targeted: of_attack.targeted };
    (serde_json::to_value(report).ok(), matrices)
}

/// The epochs of this run, or of the training that made the model which it audited.
fn training(events: &[Event], config: &str) -> Vec<TrainingEpoch> {
    let own = epochs(events);
    if !own.is_empty() {
        return own;
    }
    let table: toml::Table = config.parse().unwrap_or_default();
    let model = table.get("model").and_then(toml::Value::as_str).map(PathBuf::from);
    let log = model.and_then(|model| Some(model.parent()?.join("events.jsonl")));
    log.and_then(|log| shown_events(&log).ok()).map(|events| epochs(&events)).unwrap_or_default()
}

/// One entry an epoch: of one that was made again the last.
fn epochs(events: &[Event]) -> Vec<TrainingEpoch> {
    let mut found: std::collections::BTreeMap<u64, TrainingEpoch> = std::collections::BTreeMap::new();
    for event in events.iter().filter(|event| event.kind == "epoch") {
        let Some(number) = event.data.get("epoch").and_then(Value::as_u64) else { continue };
        let validated =
            |key: &str| event.data.get("validation").and_then(|validation| validation.get(key)?.as_f64());
        let epoch = TrainingEpoch {
            epoch: number as usize,
            terms: event
                .data
                .get("terms")
                .cloned()
                .and_then(|terms| serde_json::from_value(terms).ok())
                .unwrap_or_default(),
            train_accuracy: event.data.get("train_accuracy").and_then(Value::as_f64),
            clean_accuracy: validated("clean_accuracy"),
            robust_accuracy: validated("robust_accuracy"),
        };
        found.insert(number, epoch);
    }
    found.into_values().collect()
}

fn checks(layout: &Layout, notes: &mut Vec<String>) -> Option<Checks> {
    let path = layout.checks();
    let text = std::fs::read_to_string(&path).ok()?;
    let report: CheckReport = serde_json::from_str(&text)
        .map_err(|error| notes.push(format!("{} cannot be read: {error}", path.display())))
        .ok()?;
    let word = |status: Status| match status {
        Status::Passed => "passed",
        Status::Warning => "warning",
        Status::Failed => "failed",
        Status::NotApplicable => "not_applicable",
    };
    let line = |verdict: crate::checks::Verdict| CheckLine {
        name: verdict.id.to_string(),
        status: word(verdict.status).to_owned(),
        seen: verdict.seen,
        threshold: verdict.threshold,
        meaning: verdict.meaning,
        advice: verdict.advice,
    };
    Some(Checks {
        images: report.images,
        lines: report.checks.into_iter().map(line).collect(),
        left_out: report.left_out.into_iter().map(|left| (left.id.to_string(), left.why)).collect(),
    })
}

/// How the run came about, from the first line of its log and the hashes in its configuration.
fn origin(events: &[Event], config: &str) -> Vec<(String, String)> {
    let mut facts = Vec::new();
    let start = events.iter().find(|event| event.kind.ends_with("_start")).map(|event| &event.data);
    let names = [
        ("command", "Command"),
        ("syfar_version", "Version"),
        ("git_commit", "Commit"),
        ("seed", "Seed"),
        ("data_hash", "Hash of the data"),
        ("device", "Device"),
        ("instruction_set", "Instruction set"),
        ("threads", "Threads"),
    ];
    for (key, name) in names {
        let value = start.and_then(|start| start.get(key));
        facts.extend(value.map(|value| (name.to_owned(), short(value))));
    }
    let end = events.iter().rev().find(|event| event.kind == "audit_end").map(|event| &event.data);
    if let Some(end) = end {
        let number = |key: &str| end.get(key).and_then(Value::as_f64);
        if let (Some(attacks), Some(seconds)) = (number("attacks"), number("seconds")) {
            facts.push((
                "Work".to_owned(),
                format!("{attacks} attacks in {seconds:.1} s, in the last sitting"),
            ));
        }
    }
    let table: toml::Table = config.parse().unwrap_or_default();
    let fixed = table.get("provenance").and_then(toml::Value::as_table);
    let files = fixed.into_iter().flatten().filter(|(key, _)| key.contains('.'));
    facts.extend(
        files.filter_map(|(file, hash)| Some((format!("SHA-256 of {file}"), hash.as_str()?.to_owned()))),
    );
    facts
}

fn short(value: &Value) -> String {
    let text = value.as_str().map_or_else(|| value.to_string(), ToOwned::to_owned);
    if text.chars().count() <= LONGEST {
        text
    } else {
        text.chars().take(LONGEST).chain(" ...".chars()).collect()
    }
}
