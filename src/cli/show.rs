//! `syfar show`: the figures of finished audits, without any model.

use std::path::PathBuf;

use anyhow::Context as _;

use crate::metrics::{FairnessReport, SCHEMA_VERSION};
use crate::report;
use crate::run::Layout;

#[derive(clap::Args)]
pub(super) struct ShowArguments {
    /// Run directories of audits; several are shown side by side.
    #[arg(required = true)]
    runs: Vec<PathBuf>,
    /// Print a markdown table.
    #[arg(long)]
    markdown: bool,
}

pub(super) fn show(arguments: &ShowArguments) -> anyhow::Result<()> {
    let reports: Vec<(String, FairnessReport)> = arguments
        .runs
        .iter()
        .map(|run| Ok((run.display().to_string(), read(run)?)))
        .collect::<anyhow::Result<_>>()?;
    let named: Vec<(&str, &FairnessReport)> =
        reports.iter().map(|(name, report)| (name.as_str(), report)).collect();
    let text = match (arguments.markdown, named.as_slice()) {
        (true, _) => report::markdown_comparison(&named),
        (false, [(_, only)]) => report::summary(only),
        _ => report::comparison(&named),
    };
    super::say(&text);
    Ok(())
}

/// The report of a finished audit.
///
/// # Errors
/// When there is none, or it is of another version.
pub(super) fn read(run: &std::path::Path) -> anyhow::Result<FairnessReport> {
    let path = Layout::open(run)?.metrics();
    let text = std::fs::read_to_string(&path).with_context(|| {
        format!(
            "{} has no finished audit; finish it with `syfar audit ... --out {} --resume`",
            run.display(),
            run.display()
        )
    })?;
    let found =
        serde_json::from_str(&text).ok().and_then(|json: serde_json::Value| json["schema_version"].as_u64());
    if let Some(found) = found.filter(|&found| found != u64::from(SCHEMA_VERSION)) {
        anyhow::bail!(
            "{} has schema version {found}, this version reads {SCHEMA_VERSION}; make it again from its rows with \
             `syfar audit ... --out {} --resume`, or use the version that wrote it",
            path.display(),
            run.display()
        );
    }
    serde_json::from_str(&text).with_context(|| unreadable(&path))
}

fn unreadable(path: &std::path::Path) -> String {
    format!(
        "{} is not a report that this version reads; audit again or use the version that wrote it",
        path.display()
    )
}
