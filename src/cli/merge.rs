//! `syfar merge`: an audit that was made in shards, as one that was made in one piece.

use std::collections::{BTreeMap, BTreeSet};
use std::io::BufRead as _;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use burn::tensor::Device;
use serde_json::{Value, json};

use super::audit::{self, AuditRunConfig, Prepared, prepare};
use super::sitting::Sitting;
use super::{Context, Usage};
use crate::audit::{AuditOptions, Parts, PieceFolder, Survey};
use crate::data::Dataset;
use crate::models::Model;
use crate::run::{Layout, RunDir, config_key, write_file};

/// Most of a kind of problem that are listed.
const LISTED: usize = 5;

#[derive(clap::Args)]
pub(super) struct MergeArguments {
    /// Run directories of the shards: one that they share, or several.
    #[arg(required = true)]
    runs: Vec<PathBuf>,
    /// A new directory for the audit; the directory that the shards share by default.
    #[arg(long)]
    out: Option<PathBuf>,
    /// Write the rows and the checks only. Figures and page come with `syfar audit --resume`; with very many classes
    /// use `syfar metrics --predictions` instead.
    #[arg(long)]
    rows_only: bool,
}

pub(super) fn merge(arguments: &MergeArguments, context: &Context) -> anyhow::Result<()> {
    let runs = open(&arguments.runs)?;
    let (config, stored) = config(&runs)?;
    let model = Model::load(&config.model, &Device::default()).context(THE_SAME)?;
    let data = Dataset::open(&config.data, model.config.preprocessing.framing()).context(THE_SAME)?;
    let prepared = prepare(&config, &model, &data)?;
    let changed = runs[0].differences(&prepared.stored)?;
    anyhow::ensure!(
        changed.is_empty(),
        "the shards in {} were made with another program, model or data set than are here now:\n  {}\nput back what was \
         there, or make the shards again",
        runs[0].root().display(),
        changed.join("\n  ")
    );
    let out = out(arguments)?;
    // Nobody may be writing what is merged.
    let others: Vec<&Layout> = runs.iter().filter(|run| run.root() != out).collect();
    let _held: Vec<RunDir> =
        others.iter().map(|run| RunDir::resume(run.root(), &stored)).collect::<Result<_, _>>()?;
    let key = config_key(&stored)?;
    let folders = runs.iter().map(|run| PieceFolder::new(&run.pieces(), &key)).collect();
    let shards = Shards { first: &runs[0], folders, logs: runs.iter().flat_map(shard_logs).collect() };
    context.say(&join(&config, &model, &prepared, &shards, &out, context)?);
    if let Some(note) = mixed(&shards.logs) {
        context.say(&note);
    }
    if arguments.rows_only {
        return Ok(());
    }
    drop(prepared);
    let audited = audit::run(&config, &model, &data, &out, true, "merge", context)?;
    audit::show(&config, &audited, &out, context);
    Ok(())
}

const THE_SAME: &str =
    "a merge needs the model and the pictures under the paths that the shards had (see config.toml)";

/// The directories, each once.
fn open(runs: &[PathBuf]) -> anyhow::Result<Vec<Layout>> {
    let mut seen = BTreeMap::new();
    let mut layouts = Vec::new();
    for run in runs {
        let layout = Layout::open(run)?;
        if !layout.pieces().is_dir() {
            let problem = "holds no pieces of an audit; give directories that `syfar audit --shard` wrote";
            return Err(Usage(format!("{} {problem}", run.display())).into());
        }
        let place = run.canonicalize().unwrap_or_else(|_| run.clone());
        if let Some(other) = seen.insert(place, run) {
            let (first, second) = (other.display(), run.display());
            return Err(Usage(format!("{first} and {second} are one directory; give it once")).into());
        }
        layouts.push(layout);
    }
    Ok(layouts)
}

/// The configuration that all runs have, and its text.
fn config(runs: &[Layout]) -> anyhow::Result<(AuditRunConfig, String)> {
    let path = runs[0].config();
    let text = std::fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
    for run in &runs[1..] {
        let differences = run.differences(&text)?;
        anyhow::ensure!(
            differences.is_empty(),
            "{} and {} are shards of two audits (\"now\" is the first):\n  {}\nmerge each by itself",
            runs[0].root().display(),
            run.root().display(),
            differences.join("\n  ")
        );
    }
    let unreadable = || {
        format!(
            "{} is no configuration of an audit of this version; merge with the version that made the shards",
            path.display()
        )
    };
    let mut table: toml::Table = text.parse().with_context(unreadable)?;
    table.remove("provenance");
    Ok((table.try_into().with_context(unreadable)?, text))
}

/// Where the audit goes.
fn out(arguments: &MergeArguments) -> Result<PathBuf, Usage> {
    let [run] = arguments.runs.as_slice() else {
        return arguments.out.clone().ok_or_else(|| {
            Usage("several directories are merged into a new one: give --out DIR".to_owned())
        });
    };
    let same = |out: &PathBuf| matches!((out.canonicalize(), run.canonicalize()), (Ok(a), Ok(b)) if a == b);
    Ok(arguments.out.clone().filter(|out| !same(out)).unwrap_or_else(|| run.clone()))
}

/// What there is to merge.
struct Shards<'a> {
    first: &'a Layout,
    folders: Vec<PieceFolder>,
    logs: Vec<ShardLog>,
}

/// Checks that everything is there once, and writes rows and checks.
fn join(
    config: &AuditRunConfig,
    model: &Model,
    prepared: &Prepared,
    shards: &Shards,
    out: &Path,
    context: &Context,
) -> anyhow::Result<String> {
    let Prepared { attack, points, split, stored } = prepared;
    let Shards { first, folders, logs } = shards;
    let sitting = Sitting { config, model, split, layout: first, context, save: None };
    let own = AuditOptions { name: Some(attack.as_attack().name().to_owned()), ..sitting.options() };
    let attacks: Vec<AuditOptions> =
        std::iter::once(own).chain(points.iter().map(|point| point.options(&sitting.options()))).collect();
    let load = sitting.load();
    let parts = Parts::new(sitting.pictures(&load), model.config.classes.len(), &attacks)?;
    let survey = parts.survey(folders)?;
    if let Some(problem) = problem(&survey, logs) {
        anyhow::bail!(problem);
    }
    let directory = super::run_directory(out, stored, super::begun(out))?;
    let layout = directory.layout();
    let rows = parts.join(folders, &layout.predictions())?;
    let checks = folders.iter().map(PieceFolder::checks).find(|path| path.exists());
    let checks = checks.context("the checks were there a moment ago; merge again")?;
    let bytes = std::fs::read(&checks).with_context(|| format!("cannot read {}", checks.display()))?;
    write_file(&layout.checks(), &bytes)?;
    let mut events = context.events(&layout.events())?;
    let shards: Vec<String> = logs.iter().map(|log| format!("{}/{}", log.index, log.count)).collect();
    events.append("merged", &json!({"pieces": survey.pieces, "rows": rows, "shards": shards}))?;
    let from =
        if folders.len() == 1 { String::new() } else { format!(" from {} directories", folders.len()) };
    Ok(format!("Merged {} pieces{from}: {rows} rows in {}", survey.pieces, layout.predictions().display()))
}

/// What keeps the pieces from being one audit.
fn problem(survey: &Survey, logs: &[ShardLog]) -> Option<String> {
    let list = |names: Vec<String>| {
        let more = names.len().saturating_sub(LISTED);
        let rest = if more > 0 { format!("\n  and {more} more") } else { String::new() };
        format!("  {}{rest}", names.into_iter().take(LISTED).collect::<Vec<_>>().join("\n  "))
    };
    if !survey.foreign.is_empty() {
        let files = survey.foreign.iter().map(|path| path.display().to_string()).collect();
        return Some(format!(
            "these files are no pieces of this audit (its configuration, model or data set is another one):\n{}\nmove them \
             away, or merge the run that they belong to",
            list(files)
        ));
    }
    if !survey.twice.is_empty() {
        let pieces = survey.twice.iter().map(|(name, places)| {
            let folders: Vec<String> = places
                .iter()
                .map(|path| path.parent().map_or_else(String::new, |folder| folder.display().to_string()))
                .collect();
            format!("{name} in {}", folders.join(" and "))
        });
        return Some(format!(
            "{} of {} pieces are there twice:\n{}\nleave out a directory that repeats a shard, or remove one of each",
            survey.twice.len(),
            survey.pieces,
            list(pieces.collect())
        ));
    }
    if survey.missing.is_empty() {
        return None;
    }
    let names = survey.missing.iter().map(|piece| piece.name.clone()).collect();
    Some(format!(
        "{} of {} pieces are missing:\n{}\n{}",
        survey.missing.len(),
        survey.pieces,
        list(names),
        remedy(survey, logs)
    ))
}

/// The commands that make what is missing.
fn remedy(survey: &Survey, logs: &[ShardLog]) -> String {
    let counts: BTreeSet<usize> = logs.iter().map(|log| log.count).collect();
    let Some(log) = logs.first() else {
        return "no log says how the shards were made: run the command of the audit with --shard 0/1, which makes what is \
                missing"
            .to_owned();
    };
    if counts.len() != 1 {
        return format!("to make all of them: {}", log.command_of(0, 1));
    }
    let count = log.count;
    let shards: BTreeSet<usize> = survey.missing.iter().map(|piece| piece.shard(count).index()).collect();
    let commands: Vec<String> = shards
        .iter()
        .take(LISTED)
        .map(|&index| {
            let own = logs.iter().find(|log| log.index == index);
            own.unwrap_or(log).command_of(index, count)
        })
        .collect();
    let numbers: Vec<String> = shards.iter().map(ToString::to_string).collect();
    let own_out = if logs.iter().any(|other| other.run != log.run) {
        " (each with the --out of that shard)"
    } else {
        ""
    };
    format!("run these shards of {count} again{own_out}: {}\n  {}", numbers.join(","), commands.join("\n  "))
}

/// What the log of a shard says about how it was made.
struct ShardLog {
    run: PathBuf,
    index: usize,
    count: usize,
    command: String,
    instruction_set: String,
}

impl ShardLog {
    /// The same command for another shard.
    fn command_of(&self, index: usize, count: usize) -> String {
        let mut words: Vec<String> = self.command.split(' ').map(ToOwned::to_owned).collect();
        for at in 0..words.len() {
            if words[at].starts_with("--shard=") {
                words[at] = format!("--shard={index}/{count}");
            } else if at > 0 && words[at - 1] == "--shard" {
                words[at] = format!("{index}/{count}");
            }
        }
        words.join(" ")
    }
}

/// The first line of the log of each shard, where it can be read.
fn shard_logs(run: &Layout) -> Vec<ShardLog> {
    let Ok(entries) = std::fs::read_dir(run.shards()) else { return Vec::new() };
    let mut logs: Vec<ShardLog> =
        entries.flatten().filter_map(|entry| shard_log(run.root(), &entry.path())).collect();
    logs.sort_by_key(|log| (log.count, log.index));
    logs
}

fn shard_log(run: &Path, place: &Path) -> Option<ShardLog> {
    let mut line = String::new();
    let file = std::fs::File::open(place.join("events.jsonl")).ok()?;
    std::io::BufReader::new(file).read_line(&mut line).ok()?;
    let event: Value = serde_json::from_str(&line).ok()?;
    let data = &event["data"];
    let number = |at: usize| data["shard"][at].as_u64().and_then(|number| usize::try_from(number).ok());
    let text = |key: &str| data[key].as_str().map(ToOwned::to_owned);
    Some(ShardLog {
        run: run.to_owned(),
        index: number(0)?,
        count: number(1)?,
        command: text("command")?,
        instruction_set: text("instruction_set").unwrap_or_default(),
    })
}

/// Says when the shards were made on machines that round in different ways.
fn mixed(logs: &[ShardLog]) -> Option<String> {
    let sets: BTreeSet<&str> = logs.iter().map(|log| log.instruction_set.as_str()).collect();
    (sets.len() > 1).then(|| {
        let sets: Vec<&str> = sets.into_iter().collect();
        format!(
            "Note: the shards were made with the instruction sets {}, so last digits may differ from those of one run; set \
             SYFAR_SIMD to have one of them everywhere.",
            sets.join(", ")
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn log(command: &str, index: usize) -> ShardLog {
        ShardLog {
            run: "runs/a".into(),
            index,
            count: 4,
            command: command.to_owned(),
            instruction_set: "avx2".to_owned(),
        }
    }

    #[test]
    fn a_command_is_repeated_for_another_shard() {
        let given = log("syfar audit --shard slurm/4 --out runs/a --set 'attack={a = 1}'", 0);
        assert_eq!(given.command_of(3, 4), "syfar audit --shard 3/4 --out runs/a --set 'attack={a = 1}'");
        assert_eq!(log("syfar audit --shard=mpi", 0).command_of(0, 1), "syfar audit --shard=0/1");
    }

    #[test]
    fn machines_that_round_differently_are_noted() {
        let mut logs = vec![log("", 0), log("", 1)];
        assert_eq!(mixed(&logs), None);
        logs[1].instruction_set = "avx512".to_owned();
        assert!(mixed(&logs).is_some_and(|note| note.contains("avx2, avx512")));
    }
}
