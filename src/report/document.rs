//! What `syfar metrics` found: figures of each part of the input, with everything behind them.
//!
//! Serialised it is the JSON of `syfar metrics --json`; docs/metrics-json.md describes it.

use serde::{Deserialize, Serialize};

use super::flat::{FlatFigure, FlatFigures, p_words};
use super::markdown::line;
use super::table::{Align, Table};
use crate::metrics::{ConfusionFigures, GroupFigures, GroupFlow, PairGap, TargetedFigures};

/// What the field `schema` says.
pub const METRICS_SCHEMA: &str = "syfar-metrics";

/// Rises when a field changes its meaning or goes away, not when one is added.
pub const METRICS_SCHEMA_VERSION: u32 = 1;

/// Classes and pairs that a table lists; the JSON has all classes.
const SHOWN: usize = 10;

/// All figures of one input.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct MetricsDocument {
    /// [`METRICS_SCHEMA`].
    pub schema: String,
    /// [`METRICS_SCHEMA_VERSION`] of the program that wrote it.
    pub schema_version: u32,
    /// Version of the program.
    pub syfar_version: String,
    /// The file or directory that was read.
    pub input: String,
    /// `K` names, to which all class indices refer.
    pub classes: Vec<String>,
    /// Seed of the random draws.
    pub seed: u64,
    /// Draws behind each interval and noise floor.
    pub draws: u32,
    /// What a reader has to know to read the figures rightly.
    pub notes: Vec<String>,
    /// One for each attack; a confusion matrix is one part.
    pub parts: Vec<PartReport>,
}

/// The figures under one attack, or of one matrix.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PartReport {
    /// Name of the attack, `clean`, or `all` where the input names none.
    pub name: String,
    /// The figures by name.
    pub figures: FlatFigures,
    /// Everything that was computed from the predictions without a target.
    pub untargeted: Option<ConfusionFigures>,
    /// The pairs of classes with the largest gap, largest first.
    pub largest_pairs: Vec<PairGap>,
    /// Everything that was computed from the targeted attacks.
    pub targeted: Option<TargetedFigures>,
    /// For each grouping of the classes.
    pub groups: Vec<PartGroups>,
}

/// One grouping of the classes in one part.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PartGroups {
    /// Name of the grouping, such as `gender`.
    pub column: String,
    /// Names of the groups, to which all group indices refer.
    pub groups: Vec<String>,
    /// Class indices of each group.
    pub members: Vec<Vec<usize>>,
    /// Whether some class is in several groups.
    pub overlap: bool,
    /// Accuracy of each group and flow of errors between them.
    pub untargeted: Option<GroupFigures>,
    /// Flow of errors where there are rates without counts.
    pub flow_of_rates: Option<GroupFlow>,
    /// Success of the targeted attacks between groups.
    pub targeted: Option<GroupFlow>,
}

impl MetricsDocument {
    /// For the terminal.
    pub fn table(&self) -> String {
        let mut table = Table::new(self.titles().into_iter().map(|title| (title, Align::Left)));
        self.rows().into_iter().for_each(|row| table.row(row));
        let mut parts = vec![table.to_string()];
        for part in &self.parts {
            parts.extend(self.weakest(part));
            parts.extend(self.pairs(part));
            parts.extend(part.groups.iter().filter_map(|groups| group_table(part, groups)));
        }
        parts.push(self.remarks().map(|remark| [remark, "\n"].concat()).collect());
        parts.join("\n")
    }

    /// As a markdown table.
    pub fn markdown(&self) -> String {
        let titles = self.titles();
        let mut lines = vec![
            line(&titles[0], titles[1..].iter().map(String::as_str)),
            format!("|---|{}", "---|".repeat(self.parts.len())),
        ];
        lines.extend(self.rows().iter().map(|row| line(&row[0], row[1..].iter().map(String::as_str))));
        lines.extend(self.remarks().map(|remark| format!("\n{remark}")));
        lines.join("\n")
    }

    /// As CSV, one line a figure, full precision, empty cells where there is no number.
    ///
    /// # Errors
    /// When the writer fails.
    pub fn write_csv(&self, to: impl std::io::Write) -> csv::Result<()> {
        let mut writer = csv::Writer::from_writer(to);
        writer.write_record(["part", "figure", "value", "low", "high", "n", "chance", "p_value"])?;
        for part in &self.parts {
            for (name, figure) in &part.figures.0 {
                let number = |value: Option<f64>| value.map_or_else(String::new, |value| value.to_string());
                let n = figure.n.map_or_else(String::new, |n| n.to_string());
                writer.write_record([
                    &part.name,
                    name,
                    &figure.value.to_string(),
                    &number(figure.low),
                    &number(figure.high),
                    &n,
                    &number(figure.chance),
                    &number(figure.p_value),
                ])?;
            }
        }
        Ok(writer.flush()?)
    }

    fn titles(&self) -> Vec<String> {
        let names = self.parts.iter().map(|part| part.name.clone());
        std::iter::once("figure".to_owned()).chain(names).collect()
    }

    /// One row a figure that any part has, one cell a part.
    fn rows(&self) -> Vec<Vec<String>> {
        let mut names: Vec<&String> = Vec::new();
        for (name, _) in self.parts.iter().flat_map(|part| &part.figures.0) {
            if !names.contains(&name) {
                names.push(name);
            }
        }
        let cell =
            |part: &PartReport, name: &str| part.figures.get(name).map_or_else(|| "-".to_owned(), flat_cell);
        let row = |name: &String| {
            std::iter::once(name.clone()).chain(self.parts.iter().map(|part| cell(part, name))).collect()
        };
        names.into_iter().map(row).collect()
    }

    fn weakest(&self, part: &PartReport) -> Option<String> {
        let found = part.untargeted.as_ref()?;
        let mut present: Vec<(usize, f64)> = found
            .source
            .per_class
            .iter()
            .enumerate()
            .filter_map(|(class, rate)| Some((class, rate.as_ref()?.value)))
            .collect();
        present.sort_by(|a, b| a.1.total_cmp(&b.1));
        let titles =
            [("accuracy", Align::Right), ("share of errors", Align::Right), ("exposure", Align::Right)];
        let first = (format!("weakest classes, {}", part.name), Align::Left);
        let mut table =
            Table::new(std::iter::once(first).chain(titles.map(|(title, align)| (title.to_owned(), align))));
        for &(class, _) in present.iter().take(SHOWN) {
            let rate =
                |rate: Option<FlatFigure>| rate.map_or_else(|| "-".to_owned(), |figure| flat_cell(&figure));
            table.row([
                self.classes[class].clone(),
                rate(found.source.per_class[class].map(Into::into)),
                found.target.shares[class].map_or_else(|| "-".into(), |share| format!("{:.3}", share.value)),
                found.target.exposures[class]
                    .map_or_else(|| "-".into(), |figure| format!("{:.3}", figure.value)),
            ]);
        }
        let more = present.len().saturating_sub(SHOWN);
        Some(if more > 0 { format!("{table}and {more} more classes\n") } else { table.to_string() })
    }

    fn pairs(&self, part: &PartReport) -> Option<String> {
        if part.largest_pairs.is_empty() {
            return None;
        }
        let first = (format!("largest gaps of a pair, {}", part.name), Align::Left);
        let titles = ["there", "back", "gap"].map(|title| (title.to_owned(), Align::Right));
        let mut table = Table::new(std::iter::once(first).chain(titles));
        for pair in part.largest_pairs.iter().take(SHOWN) {
            table.row([
                format!("{} > {}", self.classes[pair.from], self.classes[pair.to]),
                format!("{:.3}", pair.forward),
                format!("{:.3}", pair.backward),
                format!("{:.3}", pair.gap.value),
            ]);
        }
        Some(table.to_string())
    }

    fn remarks(&self) -> impl Iterator<Item = &str> {
        let figures = || self.parts.iter().flat_map(|part| &part.figures.0);
        let interval = figures().any(|(_, figure)| figure.low.is_some());
        let chance = figures().any(|(_, figure)| figure.chance.is_some());
        let legend = [
            interval.then_some("[low, high] is a 95 % interval, n the number of images or attacks behind a figure."),
            chance.then_some(
                "\"chance\" is the mean of a figure when the truth is symmetric and errors are as many; p is how often it then gets as large.",
            ),
            Some("Guessing is perfectly symmetric: asymmetry says something only next to accuracy."),
            Some("Worst and largest are chosen on the images they are reported on, so they look worse than they are."),
        ];
        self.notes.iter().map(String::as_str).chain(legend.into_iter().flatten())
    }
}

fn group_table(part: &PartReport, groups: &PartGroups) -> Option<String> {
    let found = groups.untargeted.as_ref()?;
    let first = (format!("{}, {}", groups.column, part.name), Align::Left);
    let titles = ["classes", "accuracy", "class mean"].map(|title| (title.to_owned(), Align::Right));
    let mut table = Table::new(std::iter::once(first).chain(titles));
    for (at, name) in groups.groups.iter().enumerate() {
        let group = found.per_group[at];
        let cell =
            |figure: Option<FlatFigure>| figure.map_or_else(|| "-".to_owned(), |figure| flat_cell(&figure));
        table.row([
            name.clone(),
            groups.members[at].len().to_string(),
            cell(group.sample_weighted.map(Into::into)),
            cell(group.class_macro.map(Into::into)),
        ]);
    }
    Some(table.to_string())
}

/// A figure with what is known of it.
pub fn flat_cell(figure: &FlatFigure) -> String {
    let FlatFigure { value, low, high, n, chance, p_value } = *figure;
    let interval = low.zip(high).map(|(low, high)| format!(" [{low:.3}, {high:.3}]"));
    let p = p_value.map(p_words);
    let noise = match (chance, p) {
        (Some(chance), Some(p)) => Some(format!(" (chance {chance:.3}, {p})")),
        (Some(chance), None) => Some(format!(" (chance {chance:.3})")),
        (None, Some(p)) => Some(format!(" ({p})")),
        (None, None) => None,
    };
    let n = n.map(|n| format!(" n {n}"));
    let [interval, noise, n] = [interval, noise, n].map(Option::unwrap_or_default);
    format!("{value:.3}{interval}{noise}{n}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::example::plain;

    fn document() -> MetricsDocument {
        let report = plain();
        let untargeted = report.untargeted.expect("attacked");
        let part = PartReport {
            name: "glasses".into(),
            figures: FlatFigures::of_confusion(&untargeted),
            largest_pairs: untargeted.symmetry.iter().map(|symmetry| symmetry.largest_gap).collect(),
            groups: vec![PartGroups {
                column: "gender".into(),
                groups: report.groups[0].groups.clone(),
                members: report.groups[0].members.clone(),
                overlap: false,
                untargeted: report.groups[0].untargeted.clone(),
                flow_of_rates: None,
                targeted: None,
            }],
            untargeted: Some(untargeted),
            targeted: None,
        };
        let rates = PartReport {
            name: "rates".into(),
            figures: FlatFigures(vec![("worst_class".into(), 0.25.into())]),
            untargeted: None,
            largest_pairs: Vec::new(),
            targeted: None,
            groups: Vec::new(),
        };
        MetricsDocument {
            schema: METRICS_SCHEMA.into(),
            schema_version: METRICS_SCHEMA_VERSION,
            syfar_version: "0".into(),
            input: "rows.csv".into(),
            classes: report.classes,
            seed: 0,
            draws: 200,
            notes: vec!["A note.".into()],
            parts: vec![part, rates],
        }
    }

    #[test]
    fn every_form_shows_every_figure() {
        let document = document();
        let (table, markdown) = (document.table(), document.markdown());
        let mut bytes = Vec::new();
        document.write_csv(&mut bytes).expect("memory");
        let csv = String::from_utf8(bytes).expect("UTF-8");
        for (name, figure) in &document.parts[0].figures.0 {
            assert!(table.contains(&format!("{name} ")) && table.contains(&flat_cell(figure)), "{name}");
            assert!(csv.contains(&format!("glasses,{name},{}", figure.value)), "{name}");
        }
        let cell = flat_cell(document.parts[0].figures.get("worst_class").expect("there"));
        assert!(markdown.contains(&format!("| worst\\_class | {cell} | 0.250 |")), "{markdown}");
        assert!(
            table.contains("female") && table.contains("Łucja > ben_o") && table.contains("A note."),
            "{table}"
        );
        assert!(table.contains("chance 0.310"), "{table}");
    }

    #[test]
    fn json_gives_the_document_back() {
        let document = document();
        let text = serde_json::to_string(&document).expect("JSON");
        assert_eq!(serde_json::from_str::<MetricsDocument>(&text).expect("its own JSON"), document);
    }
}
