//! How a run that has begun ends in its log.
//!
//! Between `*_start` and `*_end` anything can go wrong: a check, a picture, the disk. Whatever it is, the log says
//! `stopped` or `failed`, so that nobody who watches takes a run for one that goes on.

use serde_json::json;

use super::{Interrupted, in_words};
use crate::run::EventLog;

/// Does the work that follows `*_start`. The work itself tells of its good end; an error is told here, and returned. That
/// it cannot be told hides nothing: the error of the work is the one to report.
pub(super) fn tell_end<T>(
    events: &mut EventLog,
    work: impl FnOnce(&mut EventLog) -> anyhow::Result<T>,
) -> anyhow::Result<T> {
    work(events).inspect_err(|error| {
        let told = if error.is::<Interrupted>() {
            events.append("stopped", &json!({}))
        } else {
            events.append("failed", &json!({"error": in_words(error)}))
        };
        if let Err(second) = told {
            eprintln!("The log does not say how the run ended: {second}");
        }
    })
}

#[cfg(test)]
mod tests {
    use anyhow::{Context as _, bail};

    use super::*;
    use crate::run::read_events;

    #[test]
    fn whatever_goes_wrong_is_told_and_returned() {
        let place = tempfile::tempdir().expect("temporary directory");
        let path = place.path().join("events.jsonl");
        let mut log = EventLog::open(&path).expect("new log");
        let said = |outcome: anyhow::Result<()>| outcome.expect_err("an error").to_string();
        let failed = tell_end(&mut log, |log| {
            log.append("train_start", &())?;
            Err(anyhow::anyhow!("disk full")).context("cannot write model")
        });
        assert_eq!(said(failed), "cannot write model");
        let stopped: anyhow::Result<()> =
            tell_end(&mut log, |_| Err(Interrupted { resume: "again".to_owned() }.into()));
        assert!(stopped.is_err_and(|error| error.is::<Interrupted>()));
        assert_eq!(tell_end(&mut log, |_| Ok(3)).expect("no error"), 3);
        let events: Vec<_> =
            read_events(&path).expect("a log").map(|event| event.expect("an event")).collect();
        let kinds: Vec<&str> = events.iter().map(|event| event.kind.as_str()).collect();
        assert_eq!(kinds, ["train_start", "failed", "stopped"]);
        assert_eq!(events[1].data["error"], "cannot write model: disk full");
        let mut broken = EventLog::that_fails(&path);
        assert_eq!(said(tell_end(&mut broken, |_| bail!("diverged"))), "diverged");
        assert_eq!(read_events(&path).expect("a log").count(), 3);
    }
}
