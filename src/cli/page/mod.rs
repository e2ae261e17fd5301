//! `syfar report`: the page of runs, and the page that every audit ends with.

mod card;
mod examples;
mod read;
#[cfg(test)]
mod tests;

use std::path::{Path, PathBuf};

use anyhow::Context as _;

use super::Usage;
use crate::report::page::{Figure, Page, RunSource, Thresholds, figures, html};
use crate::run::write_file;

pub(super) use examples::{keep, of_pair};

/// Most runs on a page: more lines than that nobody tells apart.
const MOST_RUNS: usize = 50;

#[derive(clap::Args)]
pub(super) struct ReportArguments {
    /// Run directories. The first is shown in full, all are compared.
    #[arg(required = true)]
    runs: Vec<PathBuf>,
    /// The HTML file to write; report.html in the first run by default.
    #[arg(long, short)]
    out: Option<PathBuf>,
    /// Also write the plots, those of the first run and the comparison of all, as SVG and PNG files into this directory.
    #[arg(long, value_name = "DIR")]
    figures: Option<PathBuf>,
    /// Also write a model card, README.md, into the directory of the model that the first run audited.
    #[arg(long)]
    model_card: bool,
    /// Robust accuracy that is asked for, from 0 to 1.
    #[arg(long, default_value_t = Thresholds::default().robust, value_parser = share)]
    min_robust: f64,
    /// Asymmetry is called more than chance below this p-value, from 0 to 1; above it the question is open.
    #[arg(long, default_value_t = Thresholds::default().significance, value_parser = share)]
    significance: f64,
    /// Robust accuracy of the worst group over that of the best one that is asked for, from 0 to 1.
    #[arg(long, default_value_t = Thresholds::default().ratio, value_parser = share)]
    min_ratio: f64,
}

fn share(text: &str) -> Result<f64, String> {
    let value: f64 = text.parse().map_err(|_| format!("{text:?} is no number"))?;
    if (0.0..=1.0).contains(&value) { Ok(value) } else { Err(format!("{value} is not between 0 and 1")) }
}

pub(super) fn report(arguments: &ReportArguments) -> anyhow::Result<()> {
    let found = arguments.runs.len();
    if found > MOST_RUNS {
        return Err(Usage(format!("{found} runs were given, expected at most {MOST_RUNS}")).into());
    }
    let out = arguments.out.clone().unwrap_or_else(|| arguments.runs[0].join("report.html"));
    let thresholds = Thresholds {
        robust: arguments.min_robust,
        significance: arguments.significance,
        ratio: arguments.min_ratio,
    };
    let sources = sources(&arguments.runs)?;
    let bytes = write(&sources, &thresholds, &out)?;
    for note in sources.iter().flat_map(|source| &source.notes) {
        super::say(&format!("Note: {note}"));
    }
    if let Some(place) = &arguments.figures {
        std::fs::create_dir_all(place).with_context(|| format!("cannot make {}", place.display()))?;
        let figures = figures(&sources).context("the figures could not be made")?;
        for Figure { name, svg, png } in &figures {
            write_file(&place.join(format!("{name}.svg")), svg.as_bytes())?;
            write_file(&place.join(format!("{name}.png")), png)?;
        }
        super::say(&format!("Figures: {} in {}", figures.len(), place.display()));
    }
    if arguments.model_card {
        let card = card::write(&arguments.runs[0], &sources[0])?;
        super::say(&format!("Model card: {}", card.display()));
    }
    super::say(&format!("Page: {} ({} KB)", out.display(), bytes.div_ceil(1000)));
    Ok(())
}

/// The first run in full, and the figures of the others.
fn sources(runs: &[PathBuf]) -> anyhow::Result<Vec<RunSource>> {
    let read =
        |(place, run): (usize, &PathBuf)| if place == 0 { read::source(run) } else { read::compared(run) };
    runs.iter().enumerate().map(read).collect()
}

/// Gives the number of bytes.
fn write(sources: &[RunSource], thresholds: &Thresholds, out: &Path) -> anyhow::Result<usize> {
    let text = html(&Page::of(sources, thresholds)).context("the page could not be made")?;
    write_file(out, text.as_bytes())?;
    Ok(text.len())
}

/// The page of finished runs, at the end of a command that did the work. The runs are there whatever becomes of the
/// page, so an error is a line on standard error. Gives whether there is a page.
pub(super) fn at_the_end(runs: &[PathBuf], out: &Path) -> bool {
    let written = sources(runs).and_then(|sources| write(&sources, &Thresholds::default(), out));
    if let Err(error) = &written {
        eprintln!("The page {} was not written: {error:#}", out.display());
    }
    written.is_ok()
}
