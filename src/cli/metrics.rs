//! `syfar metrics`: the figures of predictions or of a confusion matrix, whoever made them.

use std::path::PathBuf;

use anyhow::Context as _;

use super::Usage;
use super::input::TableArguments;
use super::measure::{measure, official};

#[derive(clap::Args)]
pub(super) struct MetricsArguments {
    /// Run directory of an audit.
    #[arg(conflicts_with_all = ["confusion", "predictions"])]
    run: Option<PathBuf>,
    /// Confusion matrix, rows are true classes: CSV (counts or rates, with or without names) or .npy.
    #[arg(long, value_name = "FILE", conflicts_with = "predictions")]
    confusion: Option<PathBuf>,
    /// CSV, gzipped or not, with the columns label and prediction, and id, attack and target if there are such.
    #[arg(long, value_name = "FILE")]
    predictions: Option<PathBuf>,
    #[command(flatten)]
    tables: TableArguments,
    /// Draws behind each interval and noise floor; 0 for neither.
    #[arg(long, value_parser = clap::value_parser!(u32).range(..=100_000))]
    draws: Option<u32>,
    /// Decides every random draw.
    #[arg(long, default_value_t = 0, value_parser = super::seeds())]
    seed: u64,
    /// How to write the figures.
    #[arg(long, value_enum, default_value_t = Format::Table)]
    format: Format,
    /// Short for --format json.
    #[arg(long, conflicts_with_all = ["format", "markdown", "csv"])]
    json: bool,
    /// Short for --format markdown.
    #[arg(long, conflicts_with_all = ["format", "csv"])]
    markdown: bool,
    /// Short for --format csv.
    #[arg(long, conflicts_with = "format")]
    csv: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Format {
    /// Aligned tables.
    Table,
    /// Everything, see docs/metrics-json.md.
    Json,
    /// A markdown table.
    Markdown,
    /// One line a figure.
    Csv,
    /// The keys of the `metrics_report.py` published with Sy-FAR.
    Official,
}

impl MetricsArguments {
    fn format(&self) -> Format {
        match (self.json, self.markdown, self.csv) {
            (true, _, _) => Format::Json,
            (_, true, _) => Format::Markdown,
            (_, _, true) => Format::Csv,
            _ => self.format,
        }
    }
}

pub(super) fn metrics(arguments: &MetricsArguments) -> anyhow::Result<()> {
    let input = match (&arguments.run, &arguments.confusion, &arguments.predictions) {
        (Some(run), _, _) if run.is_file() => {
            let problem = format!(
                "{} is a file; give it as --predictions or as --confusion, or give the run directory of an audit",
                run.display()
            );
            return Err(Usage(problem).into());
        }
        (Some(run), _, _) => arguments.tables.run(run)?,
        (_, Some(file), _) => arguments.tables.confusion(file)?,
        (_, _, Some(file)) => arguments.tables.predictions(file)?,
        _ => return Err(Usage("give a run directory, --confusion or --predictions".into()).into()),
    };
    if arguments.format() == Format::Official {
        let report = official(&input)?;
        super::say(&serde_json::to_string_pretty(&report).context("a report always has a JSON form")?);
        return Ok(());
    }
    let document = measure(&input, arguments.seed, arguments.draws)?;
    let text = match arguments.format() {
        Format::Json => serde_json::to_string_pretty(&document).context("a report always has a JSON form")?,
        Format::Markdown => document.markdown(),
        Format::Csv => {
            let mut bytes = Vec::new();
            document.write_csv(&mut bytes)?;
            String::from_utf8(bytes)?
        }
        _ => document.table(),
    };
    super::say(text.trim_end());
    Ok(())
}
