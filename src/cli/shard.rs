//! `syfar audit --shard`: one of several processes that make an audit together.

use std::path::Path;

use serde_json::json;

use super::audit::{AuditRunConfig, Prepared, checked, prepare};
use super::curve::Point;
use super::ending::tell_end;
use super::sitting::{Sitting, figures_of_shard};
use super::worn::{self, Built};
use super::{Context, Usage};
use crate::attacks::Attack as _;
use crate::audit::{AuditOptions, PieceFolder, Shard, ShardOutcome, goals_left};
use crate::data::Dataset;
use crate::models::{Cost, Model};
use crate::run::{EventLog, RunDir, config_key};

/// The shard that this process is to make, from what was given as `--shard` and, where that names who started it, from
/// the environment.
pub(super) fn of_process(given: &str) -> Result<Shard, Usage> {
    resolve(given, |name| std::env::var(name).ok())
}

fn resolve(given: &str, variable: impl Fn(&str) -> Option<String>) -> Result<Shard, Usage> {
    let wrong = |problem: String| Usage(format!("--shard {given}: {problem}"));
    let number = |name: &str| -> Result<usize, Usage> {
        let text = variable(name).ok_or_else(|| {
            wrong(format!(
                "{name} is not set, so {} did not start this process as one of several; give --shard I/N",
                starter(given)
            ))
        })?;
        text.parse().map_err(|_| wrong(format!("{name} is {text:?}, expected a whole number from 0")))
    };
    let (who, count) = match given.split_once('/') {
        Some((who, count)) => {
            let expected = || wrong(format!("{count:?} is no number of shards, expected such as {who}/200"));
            (who, Some(count.parse::<usize>().map_err(|_| expected())?))
        }
        None => (given, None),
    };
    let (index, count) = match (who, count) {
        ("slurm", Some(count)) => (number("SLURM_ARRAY_TASK_ID")?, count),
        ("slurm", None) => slurm(&number, &wrong)?,
        ("kubernetes", Some(count)) => (number("JOB_COMPLETION_INDEX")?, count),
        ("kubernetes", None) => {
            let problem = "a pod is not told how many there are; give the completions of the job, such as kubernetes/200";
            return Err(wrong(problem.to_owned()));
        }
        ("mpi", None) => (number("OMPI_COMM_WORLD_RANK")?, number("OMPI_COMM_WORLD_SIZE")?),
        (index, Some(count)) if index.parse::<usize>().is_ok() => (index.parse().unwrap_or_default(), count),
        _ => {
            let problem = "expected I/N such as 0/200, slurm, slurm/N, kubernetes/N or mpi";
            return Err(wrong(problem.to_owned()));
        }
    };
    Shard::new(index, count).ok_or_else(|| {
        wrong(match count {
            0 => "there are 0 shards, expected at least 1".to_owned(),
            _ => format!(
                "shard {index} of {count}; shards are counted from 0, expected 0/{count} to {}/{count}",
                count - 1
            ),
        })
    })
}

/// Who is named, in words.
fn starter(given: &str) -> &'static str {
    match given.split('/').next() {
        Some("slurm") => "Slurm (sbatch --array)",
        Some("kubernetes") => "Kubernetes (completionMode: Indexed)",
        _ => "mpirun (of Open MPI)",
    }
}

/// Number and count of a task of an array whose indices follow each other. In an array with gaps, such as one that
/// makes some shards again, the indices are not the numbers of shards of the array's own count.
fn slurm(
    number: &impl Fn(&str) -> Result<usize, Usage>,
    wrong: &impl Fn(String) -> Usage,
) -> Result<(usize, usize), Usage> {
    let [id, least, most, count] = [
        number("SLURM_ARRAY_TASK_ID")?,
        number("SLURM_ARRAY_TASK_MIN")?,
        number("SLURM_ARRAY_TASK_MAX")?,
        number("SLURM_ARRAY_TASK_COUNT")?,
    ];
    if most.checked_sub(least).and_then(|gap| gap.checked_add(1)) != Some(count)
        || !(least..=most).contains(&id)
    {
        return Err(wrong(format!(
            "the array has {count} tasks from {least} to {most}, with gaps; say how many shards there are, such as \
             slurm/200, and the index of a task is the number of its shard"
        )));
    }
    Ok((id - least, count))
}

/// Makes the pieces of a shard that are not there yet.
pub(super) fn run(
    config: &AuditRunConfig,
    model: &Model,
    data: &Dataset,
    out: &Path,
    shard: Shard,
    context: &Context,
) -> anyhow::Result<()> {
    let Prepared { mut attack, points, split, stored } = prepare(config, model, data)?;
    let directory = RunDir::join(out, &stored)?;
    let layout = directory.layout();
    if layout.predictions().exists() && !layout.pieces().exists() {
        let problem = "holds an audit in one piece; choose another --out for shards, or leave out --shard";
        return Err(Usage(format!("{} {problem}", out.display())).into());
    }
    super::keep_splits(layout, data)?;
    let folder = PieceFolder::new(&layout.pieces(), &config_key(&stored)?);
    folder.make()?;
    let place = layout.shards().join(format!("{}-of-{}", shard.index(), shard.count()));
    let _claim = directory.claim(&place)?;
    let mut events = context.events(&place.join("events.jsonl"))?;
    let plan = json!({"attack": attack.as_attack().name(), "shard": [shard.index(), shard.count()]});
    events.append("audit_start", &super::provenance(config.seed, data, plan))?;
    let sitting = Sitting { config, model, split, layout, context, save: None };
    let sum = tell_end(&mut events, |events| {
        if shard.index() == 0 {
            checked(&sitting, &folder.checks(), events)?;
        }
        make(&mut attack, &points, &sitting, data, (&folder, shard), events)
    })?;
    context.say(&format!(
        "Shard {shard}: {} pieces, {} made in {:.1} s with {} attacks.\nWhen all shards are done: syfar merge {}",
        sum.found + sum.made,
        sum.made,
        sum.seconds,
        sum.attacks,
        out.display()
    ));
    Ok(())
}

/// Teaches an attack what its shard needs, and makes its pieces and those of the points of its curves.
fn make(
    attack: &mut Built,
    points: &[Point],
    sitting: &Sitting,
    data: &Dataset,
    (folder, shard): (&PieceFolder, Shard),
    events: &mut EventLog,
) -> anyhow::Result<Sum> {
    let options = sitting.options();
    if let Built::Untaught(taught) = attack {
        let load = sitting.load();
        let named = AuditOptions { name: Some(taught.name().to_owned()), ..options.clone() };
        let goals = goals_left(sitting.pictures(&load), data.classes.len(), &named, folder, shard)?;
        let keys = goals.into_iter().map(|(label, target)| taught.key(label, target)).collect();
        let lessons = worn::teach(taught, sitting, data, Some(&keys), events)?;
        events.append("lessons", &lessons)?;
    }
    let own = sitting.make_shard(attack.as_attack(), &options, folder, shard, events)?;
    let mut sum = Sum::default();
    sum.add(&own);
    for point in points {
        let attack = point.build(crate::models::Classifier::input_shape(&sitting.model.network))?;
        let options = point.options(&sitting.options());
        sum.add(&sitting.make_shard(attack.as_ref(), &options, folder, shard, events)?);
    }
    let figures = figures_of_shard(&own.tally);
    events.append("shard_end", &json!({"pieces": sum, "figures": figures}))?;
    Ok(sum)
}

/// What the attacks of a shard came to together.
#[derive(Default, serde::Serialize)]
struct Sum {
    found: usize,
    made: usize,
    attacks: u64,
    cost: Cost,
    seconds: f64,
}

impl Sum {
    fn add(&mut self, outcome: &ShardOutcome) {
        self.found += outcome.found;
        self.made += outcome.made;
        self.attacks += outcome.attacks;
        self.cost = self.cost + outcome.cost;
        self.seconds += outcome.seconds;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shard(given: &str, variables: &[(&str, &str)]) -> Result<String, String> {
        let of = |name: &str| {
            let found = variables.iter().find(|(known, _)| *known == name);
            found.map(|(_, value)| (*value).to_owned())
        };
        resolve(given, of).map(|shard| shard.to_string()).map_err(|error| error.to_string())
    }

    /// What Slurm sets in a task of an array.
    fn array<'a>(id: &'a str, count: &'a str, least: &'a str, most: &'a str) -> [(&'a str, &'a str); 4] {
        [
            ("SLURM_ARRAY_TASK_ID", id),
            ("SLURM_ARRAY_TASK_COUNT", count),
            ("SLURM_ARRAY_TASK_MIN", least),
            ("SLURM_ARRAY_TASK_MAX", most),
        ]
    }

    #[test]
    fn a_shard_comes_from_numbers_or_from_who_started_the_process() {
        assert_eq!(shard("0/1", &[]).as_deref(), Ok("0/1"));
        assert_eq!(shard("199/200", &[]).as_deref(), Ok("199/200"));
        assert_eq!(shard("slurm", &array("3", "4", "1", "4")).as_deref(), Ok("2/4"));
        assert_eq!(shard("slurm", &array("0", "4", "0", "3")).as_deref(), Ok("0/4"));
        // An array of the two shards that are missing.
        assert_eq!(shard("slurm/200", &array("17", "2", "17", "42")).as_deref(), Ok("17/200"));
        assert_eq!(shard("kubernetes/8", &[("JOB_COMPLETION_INDEX", "7")]).as_deref(), Ok("7/8"));
        let rank = [("OMPI_COMM_WORLD_RANK", "1"), ("OMPI_COMM_WORLD_SIZE", "2")];
        assert_eq!(shard("mpi", &rank).as_deref(), Ok("1/2"));
    }

    #[test]
    fn nothing_is_guessed() {
        let refused = |given: &str, variables: &[(&str, &str)], words: &[&str]| {
            let error = shard(given, variables).expect_err(given);
            assert!(error.starts_with(&format!("--shard {given}: ")), "{error}");
            assert!(words.iter().all(|word| error.contains(word)), "{error}");
        };
        refused("5/4", &[], &["shard 5 of 4", "counted from 0", "expected 0/4 to 3/4"]);
        refused("4/4", &[], &["expected 0/4 to 3/4"]);
        refused("0/0", &[], &["0 shards", "at least 1"]);
        for nonsense in ["", "3", "-1/4", "a/4", "1/2/3", "1/", "/4", "1/-4", "1.5/4", "pbs", "mpi/4"] {
            refused(nonsense, &[], &["expected"]);
        }
        refused("slurm", &[], &["SLURM_ARRAY_TASK_ID is not set", "--array"]);
        refused("slurm", &array("17", "2", "17", "42"), &["with gaps", "slurm/200"]);
        refused("slurm", &array("x", "2", "0", "1"), &["\"x\"", "whole number"]);
        refused("slurm/4", &array("4", "5", "0", "4"), &["shard 4 of 4"]);
        refused("kubernetes", &[("JOB_COMPLETION_INDEX", "7")], &["kubernetes/200"]);
        refused("kubernetes/8", &[], &["JOB_COMPLETION_INDEX is not set"]);
        refused("mpi", &[("SLURM_ARRAY_TASK_ID", "1")], &["OMPI_COMM_WORLD_RANK is not set"]);
    }
}
