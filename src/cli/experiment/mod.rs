//! `syfar experiment`: data sets x models x methods x seeds from one file. docs/experiments.md describes the file.
//!
//! A cell is one training with its audits, in `OUT/<data>/<model>/<method>/seed-<n>/`, an ordinary run directory each.
//! What is done is skipped, what is begun goes on, and the tables are made from what the cells hold.

mod estimate;
mod file;
mod names;
mod outcome;
mod pictures;
mod plan;
mod search;
mod state;
mod work;

use std::path::PathBuf;

use super::{Context, say};
use plan::Plan;

#[derive(clap::Args)]
pub(super) struct ExperimentArguments {
    /// The experiment, such as experiments/synthetic-siblings.toml.
    file: PathBuf,
    /// Where everything goes; runs/ and the name of the file by default.
    #[arg(long)]
    out: Option<PathBuf>,
    /// Cells at once, each in a process of its own with its part of the threads; changes no result.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=256))]
    jobs: u16,
    /// List the cells and about how long they take, and train nothing. Only pictures are made, to time steps on.
    #[arg(long)]
    dry_run: bool,
    /// Make the tables of what is done, and train nothing.
    #[arg(long, conflicts_with = "dry_run")]
    table: bool,
    /// Figures of the tables by their JSON names, separated by commas, instead of those of the file.
    #[arg(long, value_delimiter = ',')]
    figures: Vec<String>,
    /// Do one cell: what a process of --jobs does.
    #[arg(long, hide = true)]
    cell: Option<String>,
}

pub(super) fn experiment(arguments: &ExperimentArguments, context: &Context) -> anyhow::Result<()> {
    let plan = Plan::read(&arguments.file, arguments.out.as_deref())?;
    if let Some(key) = &arguments.cell {
        return work::child(&plan, key, context);
    }
    let cells = plan.cells();
    if arguments.dry_run {
        return estimate::dry_run(&plan, &cells, context);
    }
    let failures =
        if arguments.table { Vec::new() } else { work::all(&plan, &cells, arguments.jobs.into(), context)? };
    let figures = if arguments.figures.is_empty() { &plan.file.figures } else { &arguments.figures };
    if !outcome::write(&plan, &cells, figures, &failures)? {
        say(&format!("No cell of {} is done: there is no table yet.", plan.root.display()));
    }
    outcome::pages(&plan, &cells)?;
    let words: Vec<String> = failures.iter().map(|(key, reason)| format!("{key}: {reason}")).collect();
    anyhow::ensure!(
        failures.is_empty(),
        "{} cells failed; everything else is done. The same command tries them again.\n{}",
        failures.len(),
        words.join("\n")
    );
    Ok(())
}
