//! `syfar compare`: two runs side by side, and conditions that a pipeline stops on.

use std::path::PathBuf;

use anyhow::Context as _;
use serde::Serialize;

use super::condition::{Condition, Side};
use super::difference::{Difference, Differences};
use super::input::{Input, LoadedPart, TableArguments};
use super::measure::{difference_draws, measure};
use super::{Failed, Usage};
use crate::report::{Align, FlatFigure, FlatFigures, Table, flat_cell};

#[derive(clap::Args)]
pub(super) struct CompareArguments {
    /// What to compare with: a run directory of an audit, a report (.json), predictions or a confusion matrix.
    base: PathBuf,
    /// What is compared, in any of these forms.
    candidate: PathBuf,
    /// Exit with code 3 if this holds, such as `worst_class < base - 0.02 only if significant`; may be repeated.
    #[arg(long, value_name = "CONDITION")]
    fail_if: Vec<String>,
    #[command(flatten)]
    tables: TableArguments,
    /// Draws behind each interval and noise floor; 0 for neither.
    #[arg(long, value_parser = clap::value_parser!(u32).range(..=100_000))]
    draws: Option<u32>,
    /// Decides every random draw.
    #[arg(long, default_value_t = 0, value_parser = super::seeds())]
    seed: u64,
    /// Print JSON.
    #[arg(long)]
    json: bool,
    /// Print markdown.
    #[arg(long, conflicts_with = "json")]
    markdown: bool,
}

/// One side with all that is known of it.
struct Run {
    name: String,
    classes: Option<Vec<String>>,
    parts: Vec<(String, FlatFigures)>,
    loaded: Vec<LoadedPart>,
    notes: Vec<String>,
}

/// What is printed; docs/metrics-json.md describes it.
#[derive(Serialize)]
pub(super) struct Comparison {
    schema: &'static str,
    schema_version: u32,
    base: String,
    candidate: String,
    parts: Vec<PartComparison>,
    conditions: Vec<Judged>,
    notes: Vec<String>,
}

#[derive(Serialize)]
struct PartComparison {
    /// Name of the part in the candidate.
    name: String,
    /// Its name in the base.
    base_name: String,
    #[serde(flatten)]
    found: Differences,
}

#[derive(Serialize)]
struct Judged {
    condition: String,
    holds: bool,
    /// Whether it would hold if chance were not asked about.
    without_chance: bool,
    text: String,
}

pub(super) fn compare(arguments: &CompareArguments) -> anyhow::Result<()> {
    let comparison = comparison(arguments)?;
    let text = if arguments.json {
        serde_json::to_string_pretty(&comparison).context("a comparison always has a JSON form")?
    } else {
        comparison.text(arguments.markdown)
    };
    super::say(text.trim_end());
    let failed: Vec<&str> = comparison
        .conditions
        .iter()
        .filter(|judged| judged.holds)
        .map(|judged| judged.text.as_str())
        .collect();
    if failed.is_empty() { Ok(()) } else { Err(Failed(failed.join("\n")).into()) }
}

/// The two sides with their differences, and what became of the conditions.
pub(super) fn comparison(arguments: &CompareArguments) -> anyhow::Result<Comparison> {
    let conditions = arguments
        .fail_if
        .iter()
        .map(|text| Condition::parse(text).map_err(|error| Usage(format!("--fail-if '{text}': {error}"))))
        .collect::<Result<Vec<_>, _>>()?;
    let base = open(arguments, &arguments.base)?;
    let candidate = open(arguments, &arguments.candidate)?;
    if let (Some(ours), Some(theirs)) = (&base.classes, &candidate.classes)
        && ours != theirs
    {
        anyhow::bail!(
            "{} has {} classes and {} has {}, or they differ in name or order; give both the same with --classes",
            base.name,
            ours.len(),
            candidate.name,
            theirs.len()
        );
    }
    let parts = parts(arguments, &base, &candidate)?;
    if parts.is_empty() {
        let names = |run: &Run| run.parts.iter().map(|part| part.0.clone()).collect::<Vec<_>>().join(", ");
        anyhow::bail!(
            "no part in common: the base has {}, the candidate {}",
            names(&base),
            names(&candidate)
        );
    }
    let judged =
        conditions.iter().map(|condition| judge(condition, &parts)).collect::<anyhow::Result<Vec<_>>>()?;
    Ok(Comparison {
        schema: "syfar-comparison",
        schema_version: 1,
        notes: [&base, &candidate]
            .iter()
            .flat_map(|run| run.notes.iter().map(|note| format!("{}: {note}", run.name)))
            .collect(),
        base: base.name,
        candidate: candidate.name,
        parts,
        conditions: judged,
    })
}

fn open(arguments: &CompareArguments, path: &std::path::Path) -> anyhow::Result<Run> {
    let name = path.display().to_string();
    Ok(match arguments.tables.open(path)? {
        Input::Figures(known) => {
            Run { name, classes: None, parts: known.parts, loaded: Vec::new(), notes: Vec::new() }
        }
        Input::Data(loaded) => {
            let document = measure(&loaded, arguments.seed, arguments.draws)?;
            Run {
                name,
                parts: document.parts.into_iter().map(|part| (part.name, part.figures)).collect(),
                classes: Some(loaded.classes),
                loaded: loaded.parts,
                notes: document.notes,
            }
        }
    })
}

/// The parts of the candidate with their partners in the base: those of the same name, and, where each
/// side has one attack, these whatever their names.
fn parts(arguments: &CompareArguments, base: &Run, candidate: &Run) -> anyhow::Result<Vec<PartComparison>> {
    let attacked = |run: &Run| {
        let mut names = run.parts.iter().map(|part| part.0.clone()).filter(|name| name != "clean");
        names.next().filter(|_| names.next().is_none())
    };
    let mut found = Vec::new();
    for (name, figures) in &candidate.parts {
        let only = attacked(candidate).filter(|only| only == name).and_then(|_| attacked(base));
        let partner = base.parts.iter().find(|part| part.0 == *name);
        let Some((base_name, base_figures)) =
            partner.or_else(|| base.parts.iter().find(|part| Some(&part.0) == only.as_ref()))
        else {
            continue;
        };
        let loaded = |run: &'_ Run, name: &str| run.loaded.iter().position(|part| part.name == name);
        let of_base = loaded(base, base_name).map(|at| &base.loaded[at]);
        let of_candidate = loaded(candidate, name).map(|at| &candidate.loaded[at]);
        let classes = candidate.classes.as_deref().unwrap_or_default();
        let draws = difference_draws(arguments.draws, classes.len());
        let seed = crate::Seed::new(arguments.seed).purpose("comparison").purpose(name);
        let differences =
            Differences::of((base_figures, of_base), (figures, of_candidate), classes, seed, draws)?;
        found.push(PartComparison { name: name.clone(), base_name: base_name.clone(), found: differences });
    }
    Ok(found)
}

/// The part that a name of a figure speaks of, and the figure in it.
fn find<'a>(parts: &'a [PartComparison], name: &str) -> anyhow::Result<&'a Difference> {
    let (part, figure) = match name.rsplit_once('.') {
        Some((part, figure)) => {
            (parts.iter().find(|known| known.name == part || known.base_name == part), figure)
        }
        None => (parts.iter().find(|known| known.name != "clean").or(parts.first()), name),
    };
    let Some(part) = part else {
        let names: Vec<&str> = parts.iter().map(|part| part.name.as_str()).collect();
        return Err(
            Usage(format!("--fail-if: no part for `{name}`, expected one of {}", names.join(", "))).into()
        );
    };
    part.found.differences.iter().find(|known| known.name == figure).ok_or_else(|| {
        let near = part
            .found
            .differences
            .iter()
            .map(|known| (strsim::damerau_levenshtein(&known.name, figure), &known.name))
            .min()
            .filter(|(distance, _)| *distance <= 4);
        let hint = near.map_or_else(String::new, |(_, near)| format!(". Did you mean `{near}`?"));
        let known: Vec<&str> = part.found.differences.iter().map(|known| known.name.as_str()).collect();
        Usage(format!(
            "--fail-if: no figure `{figure}` in part `{}`{hint} There are: {}",
            part.name,
            known.join(", ")
        ))
        .into()
    })
}

fn judge(condition: &Condition, parts: &[PartComparison]) -> anyhow::Result<Judged> {
    for (side, name) in condition.figures() {
        let found = find(parts, name)?;
        let (value, whose) = match side {
            Side::Base => (found.base, "base"),
            Side::Candidate => (found.candidate, "candidate"),
        };
        anyhow::ensure!(value.is_some(), "--fail-if '{}': the {whose} has no `{name}`", condition.text);
    }
    let value = |side, name: &str| {
        let found = find(parts, name).ok()?;
        match side {
            Side::Base => found.base,
            Side::Candidate => found.candidate,
        }
    };
    let without_chance = condition
        .holds(&value)
        .with_context(|| format!("--fail-if '{}' cannot be judged: it is not a number", condition.text))?;
    let difference = find(parts, &condition.figure)?;
    let significant = if condition.significant {
        difference.significant().with_context(|| {
            format!(
                "--fail-if '{}' cannot be judged: the difference of `{}` has no interval; give predictions or counts \
                 of both runs, and draws",
                condition.text, condition.figure
            )
        })?
    } else {
        true
    };
    let holds = without_chance && significant;
    let verdict = match (holds, without_chance) {
        (true, _) => "holds",
        (false, true) => "holds, but chance may have made the difference",
        (false, false) => "does not hold",
    };
    let number = |value: Option<f64>| value.map_or_else(|| "-".to_owned(), |value| format!("{value:.4}"));
    let text = format!(
        "{}: {verdict} ({} is {}, in the base {})",
        condition.text,
        condition.figure,
        number(difference.candidate),
        number(difference.base)
    );
    Ok(Judged { condition: condition.text.clone(), holds, without_chance, text })
}

impl Comparison {
    pub fn text(&self, markdown: bool) -> String {
        let mut lines = Vec::new();
        for part in &self.parts {
            let title = if part.name == part.base_name {
                part.name.clone()
            } else {
                format!("{} (in the base {})", part.name, part.base_name)
            };
            let titles = [title.as_str(), "base", "candidate", "difference"];
            let mut table = Table::new(titles.map(|title| (title, Align::Left)));
            for found in &part.found.differences {
                let cell =
                    |figure: &Option<FlatFigure>| figure.as_ref().map_or_else(|| "-".to_owned(), flat_cell);
                table.row([
                    found.name.clone(),
                    cell(&found.base_figure),
                    cell(&found.candidate_figure),
                    found.cell(),
                ]);
            }
            let (table, between) =
                if markdown { (table.markdown(), "\n\n") } else { (table.to_string(), "\n") };
            lines.push(format!("{table}{}{}\n", &between[1..], part.found.remarks().join(between)));
        }
        lines.extend(self.notes.iter().map(|note| format!("{note}\n")));
        lines.extend(self.conditions.iter().map(|judged| format!("{}\n", judged.text)));
        lines.join("\n")
    }
}
