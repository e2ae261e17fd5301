//! From what run directories say to what a page says.

use serde_json::Value;

use super::data::{AccuracyRow, FigureRow, MapText, Overall};
use super::matrix::{Map, MapData, maps};
use super::pairs::{telling, worst};
use super::source::{Counts, RunSource};
use super::verdict::Verdict;
use super::{Page, PlacedFigure, Thresholds, bars, chart, comparison, groups};
use crate::metrics::SCHEMA_VERSION;

/// Figures that exist clean and under attack, by their place in each.
const ACCURACY: [(&str, &str); 4] = [
    ("All pictures", "/robustness/micro_accuracy"),
    ("Mean of the classes", "/robustness/macro_accuracy"),
    ("Worst class", "/source/worst/rate"),
    ("Best minus worst class", "/source/gap"),
];

/// Figures of symmetry, by their place.
const SYMMETRY: [(&str, &str); 6] = [
    ("Targeted success: share without a counterpart (A1 normalised)", "/targeted/symmetry/a1_normalised"),
    ("Targeted success: sum of gaps (A1)", "/targeted/symmetry/a1"),
    ("Targeted success: largest gap of a pair", "/targeted/symmetry/largest_gap/gap"),
    (
        "Errors under attack: share without a counterpart (A1 normalised)",
        "/untargeted/symmetry/a1_normalised",
    ),
    ("Errors under attack: sum of gaps (A1)", "/untargeted/symmetry/a1"),
    ("Errors under attack: largest gap of a pair", "/untargeted/symmetry/largest_gap/gap"),
];

impl Page {
    /// The page of one run, or of several, of which the first is shown in full. Without a run it is a page that says
    /// so.
    pub fn of(runs: &[RunSource], thresholds: &Thresholds) -> Self {
        let nothing = RunSource::default();
        let run = runs.first().unwrap_or(&nothing);
        let metrics = run.metrics.as_ref().unwrap_or(&Value::Null);
        let classes = class_names(metrics);
        let counts = fitting(&run.counts, classes.len());
        let data = maps(&classes, &counts, |key| noise(metrics, key));
        let telling = telling(&counts);
        let pairs = telling.as_ref().map(|(_, pairs)| worst(&classes, pairs, &run.examples));
        Self {
            title: run.name.clone(),
            version: env!("CARGO_PKG_VERSION"),
            unfinished: run.unfinished,
            thresholds: *thresholds,
            notes: notes(runs),
            verdict: Verdict::of(metrics, run.checks.as_ref(), thresholds),
            checks: run.checks.clone(),
            accuracy: accuracy(metrics),
            overall: overall(metrics),
            symmetry: symmetry(metrics),
            maps: data.maps.iter().map(|map| words(map, &data, metrics)).collect(),
            pairs_targeted: telling.is_some_and(|(targeted, _)| targeted),
            pairs: pairs.unwrap_or_default(),
            sources: bars::sources(metrics, &classes),
            targets: bars::targets(metrics, &classes),
            groups: groups::tables(metrics),
            curves: chart::curves(metrics),
            training: chart::training(&run.training),
            comparison: comparison::comparison(runs),
            origin: run.origin.clone(),
            config: run.config.clone(),
            limits: limits(run),
            data,
        }
    }
}

fn class_names(metrics: &Value) -> Vec<String> {
    let names = metrics.get("classes").and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
    names.iter().map(|name| name.as_str().unwrap_or_default().to_owned()).collect()
}

/// The matrices that are of so many classes.
fn fitting(counts: &Counts, classes: usize) -> Counts {
    let Counts { clean, untargeted, targeted } = counts.clone();
    Counts {
        clean: clean.filter(|matrix| matrix.classes() == classes),
        untargeted: untargeted.filter(|matrix| matrix.classes() == classes),
        targeted: targeted.filter(|matrix| matrix.classes() == classes),
    }
}

fn noise(metrics: &Value, key: &str) -> Option<f64> {
    PlacedFigure::at(metrics, &format!("/{key}/symmetry/largest_gap/gap"))?.number.chance
}

/// What a reader of these runs has to know first.
pub(in crate::report) fn notes(runs: &[RunSource]) -> Vec<String> {
    let metrics = runs.first().and_then(|run| run.metrics.as_ref()).unwrap_or(&Value::Null);
    let mut notes = Vec::new();
    for run in runs {
        let name = if runs.len() > 1 { format!("{}: ", run.name) } else { String::new() };
        notes.extend(run.notes.iter().map(|note| format!("{name}{note}")));
        let version = run.metrics.as_ref().and_then(|metrics| metrics.get("schema_version")?.as_u64());
        if let Some(version) = version.filter(|&version| version != u64::from(SCHEMA_VERSION)) {
            notes.push(format!(
                "{name}metrics.json has schema version {version}; this program writes {SCHEMA_VERSION}. Figures that \
                 it does not have are missing below. Audit again with --resume to have them made from the same rows."
            ));
        }
    }
    if runs.len() > 1 {
        notes.push(format!("Everything but the comparison is about the first run, {}.", runs[0].name));
    }
    match class_names(metrics).len() {
        1 => notes.push(
            "There is one class, so nothing can be taken for anything else: pairs have no figures.".into(),
        ),
        0 if metrics.is_object() => {
            notes.push("metrics.json names no classes: pairs cannot be shown.".into());
        }
        _ => {}
    }
    notes
}

/// The accuracies that those of groups stand beside.
fn overall(metrics: &Value) -> Overall {
    let at = |path: &str| PlacedFigure::at(metrics, path);
    Overall {
        clean: at("/clean/robustness/macro_accuracy"),
        robust: at("/untargeted/robustness/macro_accuracy"),
        robust_images: at("/untargeted/robustness/micro_accuracy"),
    }
}

fn accuracy(metrics: &Value) -> Vec<AccuracyRow> {
    ACCURACY
        .iter()
        .map(|(name, path)| AccuracyRow {
            name,
            clean: PlacedFigure::at(metrics, &format!("/clean{path}")),
            attacked: PlacedFigure::at(metrics, &format!("/untargeted{path}")),
        })
        .filter(|row| row.clean.is_some() || row.attacked.is_some())
        .collect()
}

fn symmetry(metrics: &Value) -> Vec<FigureRow> {
    SYMMETRY
        .iter()
        .filter_map(|(name, path)| Some(FigureRow { name, figure: PlacedFigure::at(metrics, path)? }))
        .collect()
}

/// A matrix in words.
fn words(map: &Map, data: &MapData, metrics: &Value) -> MapText {
    let title = match map.key {
        "targeted" => "Success of targeted attacks, from each class to each",
        "untargeted" => "Errors under the untargeted attack",
        _ => "Errors on clean pictures",
    };
    let mut text =
        format!("Rows are the true class, columns what it is taken for; {} classes.", data.classes.len());
    if map.block > 1 {
        text = format!("{text} A cell is {0} by {0} neighbouring classes.", map.block);
    }
    let gap = metrics.pointer(&format!("/{}/symmetry/largest_gap", map.key));
    let name = |key: &str| data.classes.get(gap?.get(key)?.as_u64()? as usize);
    if let (Some(from), Some(to)) = (name("from"), name("to")) {
        let number = |key: &str| gap.and_then(|gap| gap.get(key)?.as_f64()).unwrap_or_default();
        let (forward, backward) = (number("forward"), number("backward"));
        if forward > backward {
            text = format!(
                "{text} The largest gap is from {from} to {to}: {forward:.3} there, {backward:.3} back."
            );
        }
    }
    if let Some(floor) = noise(metrics, map.key) {
        text =
            format!("{text} By chance alone the largest gap of two classes would be {floor:.3} on average.");
    }
    MapText { key: map.key, title, text }
}

/// What the figures of a run cannot tell.
pub(in crate::report) fn limits(run: &RunSource) -> Vec<String> {
    let metrics = run.metrics.as_ref().unwrap_or(&Value::Null);
    let mut limits = vec![
        "An attack shows that a picture can be turned; that it fails does not show that none can. Another or a stronger \
         attack may turn more."
            .to_owned(),
        "Figures hold for these pictures and pictures like them. An interval says how far the choice of pictures moves a \
         figure, not what another camera or other people would do."
            .to_owned(),
        "Worst classes, pairs and groups are chosen on the pictures that they are reported on, so they look worse than \
         they are."
            .to_owned(),
        "A classifier that guesses is perfectly symmetric: asymmetry says something only next to accuracy.".to_owned(),
        "Figures are compared with thresholds. Whether a use of the classifier is fair is not a figure.".to_owned(),
    ];
    let classes = class_names(metrics).len();
    let clean = run.counts.clean.as_ref().filter(|clean| clean.classes() == classes);
    let fewest = clean.and_then(|clean| (0..clean.classes()).map(|class| clean.row_total(class)).min());
    if let Some(fewest) = fewest.filter(|&fewest| fewest < 20) {
        limits.insert(
            0,
            format!(
                "Some class has {fewest} pictures: figures of single classes and pairs are rough, and most of the gaps \
                 between two classes may be chance."
            ),
        );
    }
    let tried = |key: &str| metrics.pointer(&format!("/targeted/{key}")).and_then(Value::as_u64);
    if let (Some(tried), Some(possible)) = (tried("pairs_tried"), tried("pairs_possible"))
        && tried < possible
    {
        limits.push(format!(
            "Targeted attacks were made on {tried} of the {possible} ordered pairs of classes."
        ));
    }
    if run.examples.is_empty() && metrics.is_object() {
        limits.push("No example pictures were kept with this run.".to_owned());
    }
    limits
}
