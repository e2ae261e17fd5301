//! Several processes that do one command together, and that must all end when one of them fails.

use std::path::Path;

use anyhow::Context as _;
use clap::Parser as _;
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::{Arguments, Command, Context, Usage, exit_code, train};
use crate::data::Dataset;
use crate::run::Layout;
use crate::train::{Team, TrainError};

/// How a rank ended, with its exit code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// All ranks know, and end by themselves.
    Together(u8),
    /// The other ranks may be waiting for this one: they have to be ended.
    Alone(u8),
}

/// Another rank failed, and has said why.
#[derive(Debug, thiserror::Error)]
#[error("rank {0} failed")]
struct Elsewhere(usize);

/// Parses the arguments and does what they ask as one rank of several. Errors are printed with the rank.
pub fn run_in_team(team: &'static dyn Team) -> Ended {
    let arguments = match Arguments::try_parse() {
        Ok(arguments) => arguments,
        Err(error) => {
            if team.rank() == 0 {
                let _ = error.print();
            }
            return Ended::Together(u8::try_from(error.exit_code()).unwrap_or(2));
        }
    };
    let outcome = match arguments.command {
        Command::Train(arguments) => Context::stoppable().and_then(|context| {
            train::train(&arguments, &context.with_json(arguments.json && team.rank() == 0).in_team(team))
        }),
        _ => Err(Usage("several ranks can only train; for everything else there is syfar".to_owned()).into()),
    };
    let Err(error) = outcome else { return Ended::Together(0) };
    let (known, first) = (known_to_all(&error), team.rank() == 0);
    let (error, to_say) = match error.downcast::<OfThisRank>() {
        Ok(own) => (own.0, true),
        Err(error) => {
            let to_say = !error.is::<Elsewhere>() && (first || !known);
            (error, to_say)
        }
    };
    if to_say {
        eprintln!("rank {} of {}: {}", team.rank(), team.size(), super::in_words(&error));
    }
    let code = exit_code(&error);
    if known { Ended::Together(code) } else { Ended::Alone(code) }
}

/// Whether every rank came to the same end. In the loop, a file that cannot be read or written is known to the rank
/// that wanted it; all else follows from numbers that all ranks have, or was asked of all of them.
fn known_to_all(error: &anyhow::Error) -> bool {
    !matches!(
        error.downcast_ref::<TrainError>(),
        Some(TrainError::Data(_) | TrainError::Model(_) | TrainError::Checkpoint { .. } | TrainError::Log(_))
    )
}

/// An error of this rank that the others know of, but not the reason.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
struct OfThisRank(anyhow::Error);

/// What rank 0 makes; an error on all ranks where it cannot.
pub(super) fn of_first_rank<T: Serialize + DeserializeOwned>(
    team: &dyn Team,
    make: impl FnOnce() -> anyhow::Result<T>,
) -> anyhow::Result<T> {
    if team.size() == 1 {
        return make();
    }
    if team.rank() == 0 {
        let made = make().and_then(|value| Ok((toml::to_string(&value)?, value)));
        let sent = made.as_ref().map_or_else(|_| vec![1], |(text, _)| [&[0], text.as_bytes()].concat());
        team.broadcast(sent);
        return made.map(|(_, value)| value);
    }
    match team.broadcast(Vec::new()).split_first() {
        Some((0, text)) => {
            toml::from_str(&String::from_utf8_lossy(text)).context("the configuration of rank 0")
        }
        _ => Err(Elsewhere(0).into()),
    }
}

/// What this rank has made, if all ranks have.
pub(super) fn together<T>(team: &dyn Team, made: anyhow::Result<T>) -> anyhow::Result<T> {
    if team.size() == 1 {
        return made;
    }
    let failed = team.gather(&[u8::from(made.is_err())]).iter().position(|said| said == &[1]);
    match (made, failed) {
        (Ok(value), None) => Ok(value),
        // Of ranks that fail, which they often do for one reason, the first says why.
        (Err(error), Some(rank)) if rank == team.rank() => Err(OfThisRank(error).into()),
        (_, rank) => Err(Elsewhere(rank.unwrap_or_default()).into()),
    }
}

/// Refuses ranks that would train something else than rank 0.
pub(super) fn same_everywhere(team: &dyn Team, data: &Dataset, stored: &str) -> anyhow::Result<()> {
    let program = format!("{} {}", env!("CARGO_PKG_VERSION"), env!("SYFAR_COMMIT"));
    for (what, own) in [("program", program.as_str()), ("data set", &data.hash), ("configuration", stored)] {
        let others = team.others_than_first(own.as_bytes());
        if !others.is_empty() {
            let ranks: Vec<String> = others.iter().take(8).map(usize::to_string).collect();
            let reason = format!(
                "the {what} of rank {} is not that of rank 0: install the same program and the same files everywhere",
                ranks.join(", ")
            );
            return Err(Usage(reason).into());
        }
    }
    Ok(())
}

/// The files of the run that rank 0 has begun.
pub(super) fn shared_layout(out: &Path) -> anyhow::Result<Layout> {
    Layout::open(out).with_context(|| {
        format!(
            "rank 0 has begun {}, and this rank does not see it: --out must be in a file system that all ranks share",
            out.display()
        )
    })
}
