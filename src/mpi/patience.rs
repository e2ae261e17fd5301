//! How long a rank waits for the others.
//!
//! A rank whose machine or network is gone does not fail. It is silent, and the others would wait for it in the next
//! exchange until something else ends the job. So each rank reports at rank 0 before an exchange, and rank 0 hears the
//! reports one after the other: whom it waits for is the one that is missing. A second thread looks at that each
//! second, and says so and ends the job when it has been too long.
//!
//! Ranks do the same work, so one that waits knows about how long the others may need: as long as itself since the
//! last exchange. Too long is ten times that, and never less than a time that the user may set. Seconds are counted by
//! looking: a job that its scheduler has stopped for an hour (SIGSTOP) has not waited for an hour.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// The variable that says how long a rank waits at least, in whole seconds.
pub(super) const VARIABLE: &str = "SYFAR_PATIENCE";

const SECONDS: u64 = 600;

/// How many times as long as itself a rank lets another one work.
const SLOWER: u64 = 10;

/// Seconds from the value of [`VARIABLE`], 600 without one.
pub(super) fn seconds(value: Option<&str>) -> Result<u64, String> {
    let Some(text) = value else { return Ok(SECONDS) };
    text.trim().parse().ok().filter(|seconds| *seconds > 0).ok_or_else(|| {
        format!(
            "{VARIABLE}={text}: expected whole seconds, 1 or more, that a rank waits for another one at least; \
             {SECONDS} without it"
        )
    })
}

/// Whom a rank waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Whom {
    Nobody,
    /// Who has not yet come to the exchange.
    Rank(usize),
    /// The end of an exchange that all have come to, as far as this rank knows.
    All,
}

/// What a rank is waiting for.
pub(super) struct Waiting(Mutex<State>);

struct State {
    whom: Whom,
    exchange: u64,
    ended: Option<Instant>,
    /// What this rank has done since the last exchange took so long.
    work: Duration,
}

impl Waiting {
    pub const fn new() -> Self {
        Self(Mutex::new(State { whom: Whom::Nobody, exchange: 0, ended: None, work: Duration::ZERO }))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// This rank has come to an exchange.
    pub fn begin(&self) {
        let mut state = self.state();
        state.exchange += 1;
        state.work = state.ended.map_or(Duration::ZERO, |ended| ended.elapsed());
    }

    pub fn on(&self, whom: Whom) {
        self.state().whom = whom;
    }

    /// The exchange is over.
    pub fn end(&self) {
        let mut state = self.state();
        state.whom = Whom::Nobody;
        state.ended = Some(Instant::now());
    }
}

/// Looks each second at what a rank waits for.
pub(super) struct Watch {
    pub rank: usize,
    /// Names of the machines of all ranks.
    pub hosts: Vec<String>,
    /// Seconds that a rank waits at least.
    pub least: u64,
    exchange: u64,
    looks: u64,
}

impl Watch {
    pub fn new(rank: usize, hosts: Vec<String>, least: u64) -> Self {
        Self { rank, hosts, least, exchange: 0, looks: 0 }
    }

    /// One look, a second after the one before: what there is to say when it has been too long.
    pub fn look(&mut self, waiting: &Waiting) -> Option<String> {
        let state = waiting.state();
        let (whom, exchange, work) = (state.whom, state.exchange, state.work);
        drop(state);
        if whom == Whom::Nobody || exchange != self.exchange {
            (self.exchange, self.looks) = (exchange, 0);
            return None;
        }
        self.looks += 1;
        let limit = self.least.max(SLOWER * work.as_secs());
        // Rank 0 knows who is missing: the others let it speak first.
        let limit = if self.rank == 0 { limit } else { 2 * limit };
        (self.looks >= limit).then(|| self.reason(whom))
    }

    fn reason(&self, whom: Whom) -> String {
        let name = |rank: usize| format!("rank {rank} of {} ({})", self.hosts.len(), self.hosts[rank]);
        let (own, seconds) = (name(self.rank), self.looks);
        let what = match whom {
            Whom::Rank(rank) => format!("{} has been silent for {seconds} s", name(rank)),
            Whom::Nobody | Whom::All if self.rank == 0 => {
                format!("an exchange to which all ranks have come has not ended for {seconds} s")
            }
            Whom::Nobody | Whom::All => format!("{} has not answered for {seconds} s", name(0)),
        };
        format!(
            "{what}, and {own} ends the job. Look whether that machine runs and can be reached, and go on from the \
             last checkpoint with --resume. {VARIABLE} says how many seconds ranks wait at least ({}).",
            self.least
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn watch(rank: usize) -> Watch {
        Watch::new(rank, ["a", "b", "c"].map(str::to_owned).to_vec(), 3)
    }

    /// What the first so many looks say.
    fn looks(watch: &mut Watch, waiting: &Waiting, count: usize) -> Vec<Option<String>> {
        (0..count).map(|_| watch.look(waiting)).collect()
    }

    #[test]
    fn the_silent_rank_is_named_when_it_is_too_long() {
        let (waiting, mut watch) = (Waiting::new(), watch(0));
        assert!(looks(&mut watch, &waiting, 9).iter().all(Option::is_none), "it works, and waits for nobody");
        waiting.begin();
        waiting.on(Whom::Rank(1));
        assert!(looks(&mut watch, &waiting, 2).iter().all(Option::is_none));
        // Another one is missing now, in the same exchange.
        waiting.on(Whom::Rank(2));
        let said = looks(&mut watch, &waiting, 2);
        assert_eq!(said[0], None);
        let said = said[1].as_ref().expect("three seconds");
        assert!(
            said.starts_with("rank 2 of 3 (c) has been silent for 3 s, and rank 0 of 3 (a) ends"),
            "{said}"
        );
    }

    #[test]
    fn every_exchange_is_waited_for_anew_and_others_let_rank_0_speak_first() {
        let (waiting, mut first, mut second) = (Waiting::new(), watch(0), watch(1));
        for _ in 0..5 {
            waiting.begin();
            waiting.on(Whom::All);
            assert!(looks(&mut first, &waiting, 3).iter().all(Option::is_none));
            assert!(looks(&mut second, &waiting, 6).iter().all(Option::is_none));
            waiting.end();
        }
        waiting.begin();
        waiting.on(Whom::All);
        let said =
            looks(&mut first, &waiting, 4).pop().flatten().expect("three seconds after the first look");
        assert!(said.contains("has not ended for 3 s"), "{said}");
        let said = looks(&mut second, &waiting, 7).pop().flatten().expect("twice as long");
        assert!(
            said.starts_with("rank 0 of 3 (a) has not answered for 6 s, and rank 1 of 3 (b) ends"),
            "{said}"
        );
    }

    #[test]
    fn who_works_long_waits_long() {
        let (waiting, mut watch) = (Waiting::new(), watch(0));
        waiting.begin();
        waiting.on(Whom::Rank(1));
        waiting.state().work = Duration::from_secs(2);
        let said = looks(&mut watch, &waiting, 21);
        assert_eq!(
            said.iter().position(Option::is_some),
            Some(20),
            "ten times two seconds after the first look"
        );
    }

    #[test]
    fn what_the_variable_may_say() {
        assert_eq!(seconds(None), Ok(600));
        assert_eq!(seconds(Some(" 45 ")), Ok(45));
        for wrong in ["", "0", "-3", "2.5", "1 h"] {
            assert!(seconds(Some(wrong)).expect_err("not seconds").contains(wrong), "{wrong}");
        }
    }
}
