//! The tables of what is done, written to `table.md`, `table.csv` and `table.json` and printed, and a page of each.

use std::collections::BTreeMap;
use std::path::PathBuf;

use anyhow::Context as _;
use serde_json::{Value, json};

use super::super::{page, say};
use super::plan::{Cell, Plan};
use super::search;
use super::state::{self, State};
use super::work::Failures;
use crate::report::{
    ExperimentInput, ExperimentTable, MethodRuns, experiment_csv, experiment_markdown, experiment_terminal,
};
use crate::run::write_file;

/// Makes and prints the tables of the cells that are done. Gives false when there is none.
///
/// # Errors
/// When a result cannot be read, a figure is not known, or a file cannot be written.
pub(super) fn write(
    plan: &Plan,
    cells: &[Cell],
    figures: &[String],
    failures: &Failures,
) -> anyhow::Result<bool> {
    let mut tables = Vec::new();
    let mut notes = Vec::new();
    let mut searches = Vec::new();
    for data in 0..plan.file.data.len() {
        for model in 0..plan.file.model.len() {
            let of_table = |cell: &&Cell| cell.data == data && cell.model == model && cell.trial.is_none();
            let cells: Vec<Cell> = cells.iter().filter(of_table).copied().collect();
            let table = table(plan, &cells, figures, (data, model))?;
            if table.most_seeds() > 0 {
                notes.extend(choices(plan, &cells, &mut searches)?);
                tables.push(table);
            }
        }
    }
    if tables.is_empty() {
        return Ok(false);
    }
    if !failures.is_empty() {
        notes.push(format!("{} cells failed and are not in the tables.", failures.len()));
    }
    let mut terminal: Vec<String> = tables.iter().map(experiment_terminal).collect();
    let mut markdown: Vec<String> = tables.iter().map(experiment_markdown).collect();
    if !notes.is_empty() {
        terminal.push(format!("Hyper-parameters:\n{}\n", notes.join("\n")));
        markdown.push(format!("Hyper-parameters:\n\n- {}\n", notes.join("\n- ")));
    }
    let mut csv = Vec::new();
    experiment_csv(&mut csv, &tables).context("the tables have no form in CSV")?;
    let json = json!({
        "schema": "syfar-experiment",
        "schema_version": 1,
        "syfar_version": env!("CARGO_PKG_VERSION"),
        "git_commit": env!("SYFAR_COMMIT"),
        "tables": tables,
        "searches": searches,
        "notes": notes,
        "failures": failures,
    });
    write_file(&plan.root.join("table.md"), markdown.join("\n").as_bytes())?;
    write_file(&plan.root.join("table.csv"), &csv)?;
    write_file(&plan.root.join("table.json"), (serde_json::to_string_pretty(&json)? + "\n").as_bytes())?;
    say(&format!("{}\nTables: {}/table.md, .csv, .json", terminal.join("\n"), plan.root.display()));
    Ok(true)
}

/// A page that compares the methods, for each data set and model: the audits of the first seed under the first attack.
/// The figures of all seeds are in the tables.
pub(super) fn pages(plan: &Plan, cells: &[Cell]) -> anyhow::Result<()> {
    let mut found: BTreeMap<PathBuf, Vec<PathBuf>> = BTreeMap::new();
    for cell in
        cells.iter().filter(|cell| cell.trial.is_none() && Some(&cell.seed) == plan.file.seeds.first())
    {
        let Some(first) = plan.audits(cell)?.into_iter().next() else { continue };
        if let Some(folder) = plan.place(cell).ancestors().nth(2).filter(|_| state::audited(&first.place)) {
            found.entry(folder.to_path_buf()).or_default().push(first.place);
        }
    }
    for (folder, runs) in found {
        let page = folder.join("report.html");
        if page::at_the_end(&runs, &page) {
            say(&format!("Page of the methods, seed {}: {}", plan.file.seeds[0], page.display()));
        }
    }
    Ok(())
}

fn table(
    plan: &Plan,
    cells: &[Cell],
    figures: &[String],
    (data, model): (usize, usize),
) -> anyhow::Result<ExperimentTable> {
    let mut methods = Vec::new();
    for (at, method) in plan.file.method.iter().enumerate().filter(|(_, method)| !method.hidden) {
        let mut runs = Vec::new();
        for seed in &plan.file.seeds {
            let cell = cells.iter().find(|cell| cell.method == at && cell.seed == *seed);
            if let Some(cell) = cell
                && state::of(plan, cell)? == State::Done
            {
                runs.push((*seed, state::figures(plan, cell)?));
            }
        }
        methods.push(MethodRuns { name: method.name.clone(), runs });
    }
    known(figures, &methods)?;
    let entry = &plan.file.data[data];
    Ok(ExperimentTable::of(&ExperimentInput {
        data: entry.name().to_owned(),
        model: plan.file.model[model].name.clone(),
        baseline: plan.file.baseline.clone(),
        methods,
        figures: figures.to_vec(),
        same_pictures: !entry.split_per_seed(),
        family: plan.file.holm,
    }))
}

/// Refuses a figure that no run has, if the default list does not have it either: a targeted one may be missing
/// because no target was attacked.
fn known(figures: &[String], methods: &[MethodRuns]) -> anyhow::Result<()> {
    let runs = || methods.iter().flat_map(|method| &method.runs);
    if runs().next().is_none() {
        return Ok(());
    }
    for name in figures {
        if super::file::FIGURES.contains(&name.as_str()) || runs().any(|(_, found)| found.get(name).is_some())
        {
            continue;
        }
        let mut all: Vec<&str> =
            runs().flat_map(|(_, found)| &found.0).map(|(name, _)| name.as_str()).collect();
        all.sort_unstable();
        all.dedup();
        let nearest = all.iter().map(|other| (strsim::damerau_levenshtein(other, name), other)).min();
        let hint = nearest.map_or_else(String::new, |(_, other)| format!(" Did you mean `{other}`?"));
        return Err(super::super::Usage(format!(
            "no run has the figure `{name}`.{hint} There are: {}",
            all.join(", ")
        ))
        .into());
    }
    Ok(())
}

/// What was chosen for each method, in words, and everything tried for JSON.
fn choices(plan: &Plan, cells: &[Cell], searches: &mut Vec<Value>) -> anyhow::Result<Vec<String>> {
    let mut notes = Vec::new();
    for (at, method) in plan.file.method.iter().enumerate() {
        let Some(cell) = cells.iter().find(|cell| cell.method == at) else { continue };
        let (data, model) = (plan.file.data[cell.data].name(), &plan.file.model[cell.model].name);
        if method.search.is_empty() {
            notes.push(format!("{data}, {model}, {}: as in the file, nothing was searched", method.name));
            continue;
        }
        let Some(choice) = search::chosen(plan, cell)? else { continue };
        let values: Vec<String> =
            choice.setting.iter().map(|(key, value)| format!("{key} = {value}")).collect();
        notes.push(format!(
            "{data}, {model}, {}: {}, of {} tried on seed {}; rule: {}",
            method.name,
            values.join(", "),
            choice.trials.len(),
            plan.file.selection.seed,
            plan.file.selection.words()
        ));
        searches.push(json!({
            "data": data,
            "model": model,
            "method": method.name,
            "seed": plan.file.selection.seed,
            "rule": plan.file.selection.words(),
            "trials": choice.trials,
        }));
    }
    Ok(notes)
}
