//! What `syfar metrics` and `syfar compare` read: runs, tables and reports.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Read as _;
use std::path::{Path, PathBuf};

use anyhow::Context as _;

use super::Usage;
use crate::metrics::{ConfusionFigures, FairnessReport, SparseMatrix};
use crate::report::{FlatFigures, METRICS_SCHEMA, METRICS_SCHEMA_VERSION, MetricsDocument};
use crate::run::Layout;
use crate::tables::{
    Cells, ClassGroups, Columns, Kind, KnownClasses, Part, has_predictions, intersections, read_class_names,
    read_confusion, read_groups, read_predictions,
};

/// Longest report that is read: that of 100 000 classes takes less than a tenth of it.
const LONGEST_REPORT: u64 = 1 << 29;

/// How tables are to be read.
#[derive(clap::Args)]
pub(super) struct TableArguments {
    /// CSV with the class in the first column and a group in each other one.
    #[arg(long, value_name = "FILE")]
    groups: Option<PathBuf>,
    /// Take this column of the predictions as groups of their classes; may be repeated.
    #[arg(long, value_name = "COLUMN")]
    group_column: Vec<String>,
    /// Add each pair of group columns as a column of its own.
    #[arg(long)]
    intersections: bool,
    /// Names of the columns of predictions, such as label=truth,prediction=output; also id, target, attack.
    #[arg(long, value_name = "COLUMN=NAME", value_delimiter = ',')]
    columns: Vec<String>,
    /// Number of the classes, or a file with their names, one a line in their order.
    #[arg(long, value_name = "NUMBER|FILE")]
    classes: Option<String>,
    /// Take the numbers of a confusion matrix as counts or as rates.
    #[arg(long, value_enum)]
    numbers: Option<Numbers>,
}

#[derive(Clone, Copy, clap::ValueEnum)]
enum Numbers {
    Counts,
    Rates,
}

/// An input before anything is computed from it.
pub(super) struct Loaded {
    /// The file or directory.
    pub name: String,
    pub classes: Vec<String>,
    pub parts: Vec<LoadedPart>,
    pub groups: Vec<ClassGroups>,
}

/// The predictions under one attack, or one matrix.
pub(super) struct LoadedPart {
    pub name: String,
    /// Predictions without a target.
    pub cells: Option<Cells>,
    /// Where the cells came from, if it was a table of predictions.
    pub rows: Option<Part>,
}

/// Figures that somebody computed before.
pub(super) struct Known {
    /// Name and figures of each part.
    pub parts: Vec<(String, FlatFigures)>,
}

/// What a path turned out to be.
pub(super) enum Input {
    Data(Loaded),
    Figures(Known),
}

impl TableArguments {
    /// Reads whatever the path is: a run directory, a report (`.json`), a matrix or a table.
    pub fn open(&self, path: &Path) -> anyhow::Result<Input> {
        if path.is_dir() {
            return Ok(Input::Data(self.run(path)?));
        }
        if path.extension().is_some_and(|ending| ending.eq_ignore_ascii_case("json")) {
            return Ok(Input::Figures(known(path)?));
        }
        let array = path.extension().is_some_and(|ending| ending.eq_ignore_ascii_case("npy"));
        let rows = !array && has_predictions(path, &self.columns()?)?;
        Ok(Input::Data(if rows { self.predictions(path)? } else { self.confusion(path)? }))
    }

    /// Reads a confusion matrix.
    pub fn confusion(&self, path: &Path) -> anyhow::Result<Loaded> {
        if !self.group_column.is_empty() {
            return Err(Usage("a confusion matrix has no --group-column; give --groups FILE".into()).into());
        }
        let kind = match self.numbers {
            None => Kind::Guess,
            Some(Numbers::Counts) => Kind::Counts,
            Some(Numbers::Rates) => Kind::Rates,
        };
        let table = read_confusion(path, &self.known_classes()?, kind)?;
        let part = LoadedPart { name: "all".into(), cells: Some(table.cells), rows: None };
        self.finish(path, table.classes, vec![part], Vec::new())
    }

    /// Reads a table of predictions.
    pub fn predictions(&self, path: &Path) -> anyhow::Result<Loaded> {
        self.rows(path, path, &self.known_classes()?, Vec::new())
    }

    /// Reads the directory of a finished audit.
    pub fn run(&self, path: &Path) -> anyhow::Result<Loaded> {
        let layout = Layout::open(path)?;
        let text = report_text(&layout.metrics()).with_context(|| {
            format!("{} holds no finished audit; finish it with `syfar audit ... --resume`", path.display())
        })?;
        let report = audit_report(serde_json::from_str(&text), &layout.metrics())?;
        let groups = report.groups.into_iter().map(|group| ClassGroups {
            column: group.column,
            groups: group.groups,
            members: group.members,
        });
        self.rows(path, &layout.predictions(), &KnownClasses::Named(report.classes), groups.collect())
    }

    fn rows(
        &self,
        name: &Path,
        file: &Path,
        known: &KnownClasses,
        mut groups: Vec<ClassGroups>,
    ) -> anyhow::Result<Loaded> {
        let found = read_predictions(file, &self.columns()?, known)?;
        groups.extend(found.groups);
        let classes = found.classes.len();
        let part = |rows: Part| {
            let images = rows.untargeted().map(|row| (rows.labels[row], rows.predictions[row]));
            let matrix = SparseMatrix::of_images(classes, images);
            let name = rows.attack.clone().unwrap_or_else(|| "all".into());
            LoadedPart {
                name,
                cells: (matrix.total() > 0).then_some(Cells::Counts(matrix)),
                rows: Some(rows),
            }
        };
        self.finish(name, found.classes, found.parts.into_iter().map(part).collect(), groups)
    }

    fn finish(
        &self,
        path: &Path,
        classes: Vec<String>,
        parts: Vec<LoadedPart>,
        mut groups: Vec<ClassGroups>,
    ) -> anyhow::Result<Loaded> {
        if let Some(file) = &self.groups {
            groups.extend(read_groups(file, &classes)?);
        }
        for (at, group) in groups.iter().enumerate() {
            if groups[..at].iter().any(|other| other.column == group.column) {
                return Err(Usage(format!("the group column `{}` is given twice", group.column)).into());
            }
        }
        if self.intersections {
            if groups.len() < 2 {
                return Err(Usage("--intersections needs at least two group columns".into()).into());
            }
            groups.extend(intersections(&groups));
        }
        Ok(Loaded { name: path.display().to_string(), classes, parts, groups })
    }

    fn known_classes(&self) -> anyhow::Result<KnownClasses> {
        Ok(match &self.classes {
            None => KnownClasses::Unknown,
            Some(given) => match given.parse::<usize>() {
                Ok(classes) if (1..=1 << 22).contains(&classes) => KnownClasses::Number(classes),
                Ok(classes) => {
                    return Err(Usage(format!("--classes {classes}: expected 1 to {}", 1 << 22)).into());
                }
                Err(_) => KnownClasses::Named(read_class_names(Path::new(given))?),
            },
        })
    }

    fn columns(&self) -> anyhow::Result<Columns> {
        let mut given = BTreeMap::new();
        for pair in &self.columns {
            let (column, name) = pair.split_once('=').ok_or_else(|| {
                Usage(format!("--columns {pair}: expected COLUMN=NAME, such as label=truth"))
            })?;
            given.insert(column.trim().to_owned(), name.trim().to_owned());
        }
        let columns = Columns {
            id: given.remove("id"),
            label: given.remove("label"),
            prediction: given.remove("prediction"),
            target: given.remove("target"),
            attack: given.remove("attack"),
            groups: self.group_column.clone(),
        };
        match given.keys().next() {
            None => Ok(columns),
            Some(key) => {
                let problem = format!("--columns {key}=..: expected id, label, prediction, target or attack");
                Err(Usage(problem).into())
            }
        }
    }
}

/// The figures of a report: of `syfar metrics --json`, or the `metrics.json` of an audit.
fn known(path: &Path) -> anyhow::Result<Known> {
    let text = report_text(path).with_context(|| format!("cannot read {}", path.display()))?;
    known_text(&text, path)
}

/// The text of a report, if it is no longer than one can be.
fn report_text(path: &Path) -> anyhow::Result<String> {
    let mut text = String::new();
    File::open(path)?.take(LONGEST_REPORT + 1).read_to_string(&mut text)?;
    let most = LONGEST_REPORT >> 20;
    anyhow::ensure!(text.len() as u64 <= LONGEST_REPORT, "more than {most} MiB, expected a report");
    Ok(text)
}

pub(super) fn known_text(text: &str, path: &Path) -> anyhow::Result<Known> {
    let json: serde_json::Value = serde_json::from_str(text).with_context(|| unreadable(path))?;
    if json["schema"] == METRICS_SCHEMA {
        anyhow::ensure!(json["schema_version"] == METRICS_SCHEMA_VERSION, unreadable(path));
        let document: MetricsDocument = serde_json::from_value(json).with_context(|| unreadable(path))?;
        return Ok(Known {
            parts: document.parts.into_iter().map(|part| (part.name, part.figures)).collect(),
        });
    }
    let report = audit_report(serde_json::from_value(json), path)?;
    let part = |found: Option<&ConfusionFigures>| found.map(FlatFigures::of_confusion).unwrap_or_default();
    let (mut clean, mut attacked) = (part(Some(&report.clean)), part(report.untargeted.as_ref()));
    if let Some(targeted) = &report.targeted {
        attacked.add_targeted(targeted);
    }
    for group in &report.groups {
        clean.add_groups(&group.column, &group.clean);
        if let Some(found) = &group.untargeted {
            attacked.add_groups(&group.column, found);
        }
        if let Some(flow) = &group.targeted {
            attacked.add_targeted_flow(&group.column, flow);
        }
    }
    Ok(Known { parts: vec![("clean".into(), clean), (report.attack, attacked)] })
}

/// A report of an audit whose classes and groups are all there.
fn audit_report(found: serde_json::Result<FairnessReport>, path: &Path) -> anyhow::Result<FairnessReport> {
    let report = found.with_context(|| unreadable(path))?;
    let problem = "a class or group in it has a number beyond the last: the file was damaged";
    anyhow::ensure!(report.indices_fit(), "{}: {problem}; write it again", path.display());
    Ok(report)
}

fn unreadable(path: &Path) -> String {
    format!(
        "{} is not a report that this version reads; give the metrics.json of an audit or what `syfar metrics \
         --json` of this version wrote",
        path.display()
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Seed;
    use crate::metrics::{AuditCounts, GroupColumn};
    use crate::tables::damage::{damaged, one_of};
    use proptest::prelude::*;

    fn audit() -> FairnessReport {
        let column =
            GroupColumn { name: "gender".into(), of_class: ["f", "m", "f"].map(String::from).into() };
        let counts = AuditCounts {
            classes: ["a", "b", "c"].map(String::from).into(),
            attack: "pgd".into(),
            clean: [[5, 1, 0], [0, 6, 0], [1, 1, 4]].into(),
            untargeted: Some([[2, 3, 1], [0, 4, 2], [3, 1, 2]].into()),
            targeted: None,
            outcomes: None,
            groups: vec![column],
        };
        FairnessReport::compute(&counts, Seed::new(0), 20)
    }

    /// What `syfar metrics --json` writes.
    fn document() -> Vec<u8> {
        let images = [(0, 0), (0, 1), (1, 1), (1, 0), (1, 1), (0, 0)].into_iter();
        let cells = Some(Cells::Counts(SparseMatrix::of_images(2, images)));
        let input = Loaded {
            name: "cm.csv".into(),
            classes: ["a", "b"].map(String::from).into(),
            parts: vec![LoadedPart { name: "all".into(), cells, rows: None }],
            groups: vec![ClassGroups {
                column: "g".into(),
                groups: ["x", "y"].map(String::from).into(),
                members: vec![vec![0], vec![1]],
            }],
        };
        let document = super::super::measure::measure(&input, 0, Some(20)).expect("figures");
        serde_json::to_vec_pretty(&document).expect("JSON")
    }

    #[test]
    fn figures_come_from_the_report_of_an_audit() {
        let text = serde_json::to_string(&audit()).expect("JSON");
        let found = known_text(&text, Path::new("metrics.json")).expect("good");
        let names: Vec<&str> = found.parts.iter().map(|part| part.0.as_str()).collect();
        assert_eq!(names, ["clean", "pgd"]);
        assert!(
            (found.parts[0].1.get("micro_accuracy").expect("a figure").value - 15.0 / 18.0).abs() < 1e-12
        );
    }

    #[test]
    fn a_class_or_group_that_is_not_there_is_an_error() {
        let whole = serde_json::to_value(audit()).expect("JSON");
        for (place, value) in [
            ("/groups/0/members/0/1", 7),
            ("/groups/0/clean/class_macro/worst", 2),
            ("/untargeted/source/worst/class", 3),
            ("/clean/symmetry/largest_gap/to", 3),
        ] {
            let mut damaged = whole.clone();
            *damaged.pointer_mut(place).expect(place) = value.into();
            let error = known_text(&damaged.to_string(), Path::new("m.json")).err().expect(place).to_string();
            assert!(error.contains("beyond the last") && error.contains("m.json"), "{place}: {error}");
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn damaged_reports_are_an_answer_or_an_error(
            bytes in damaged(one_of(vec![
                serde_json::to_vec_pretty(&audit()).expect("JSON"),
                document(),
            ]))
        ) {
            match known_text(&String::from_utf8_lossy(&bytes), Path::new("m.json")) {
                Ok(found) => prop_assert!(found.parts.iter().all(|part| part.1.0.iter().all(|(name, _)| !name.is_empty()))),
                Err(error) => prop_assert!(error.to_string().contains("m.json"), "{}", error),
            }
        }
    }
}
