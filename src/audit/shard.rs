//! One of several processes that make an audit together.

use std::collections::BTreeSet;
use std::fmt;
use std::ops::Range;
use std::time::Instant;

use super::make::Maker;
use super::pieces::{Piece, PieceFolder};
use super::plan::{Inherited, Plan};
use super::{AuditError, AuditOptions, Pictures, Progress, Row, Stage};
use crate::attacks::Attack;
use crate::models::{Cost, Victim};
use crate::run::{StopFlag, part_of};

/// The part of the work that one of several processes does: `index` of `count`, counted from 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shard {
    index: usize,
    count: usize,
}

impl Shard {
    /// `None` unless `index < count`.
    pub fn new(index: usize, count: usize) -> Option<Self> {
        (index < count).then_some(Self { index, count })
    }

    /// Its number, from 0.
    pub fn index(self) -> usize {
        self.index
    }

    /// Number of shards.
    pub fn count(self) -> usize {
        self.count
    }

    /// Its share of some things in a row: neighbours, so that a shard needs few of the pictures. The shares of all
    /// shards are all things, each once, and differ by one at most.
    pub fn part(self, things: usize) -> Range<usize> {
        part_of(self.index, self.count, things)
    }

    /// The one of `count` shards that has a thing among its [`Self::part`] of `things`.
    pub fn of(thing: usize, things: usize, count: usize) -> Self {
        let index = ((thing as u128 + 1) * count as u128).div_ceil(things.max(1) as u128) - 1;
        Self { index: (index as usize).min(count - 1), count }
    }
}

impl fmt::Display for Shard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.index, self.count)
    }
}

/// Counts of the rows of a shard, each as a number and of how many. It has no matrix, so a shard takes no more memory
/// with more classes than its pictures and its model do.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Unchanged pictures that are recognised.
    pub clean: [u64; 2],
    /// Pictures that are recognised unchanged and under the untargeted attack.
    pub robust: [u64; 2],
    /// Targeted attacks that reached their target.
    pub targeted: [u64; 2],
}

impl Tally {
    fn add(&mut self, stage: Stage, rows: &[Row]) {
        let (counts, yes) = match stage {
            Stage::Clean => (&mut self.clean, rows.iter().filter(|row| row.prediction == row.label).count()),
            Stage::Untargeted => (&mut self.robust, rows.iter().filter(|row| !row.success).count()),
            Stage::Targeted => (&mut self.targeted, rows.iter().filter(|row| row.success).count()),
        };
        counts[0] += yes as u64;
        counts[1] += rows.len() as u64;
    }
}

/// What a shard came to.
#[derive(Clone, Copy, Debug)]
pub struct ShardOutcome {
    /// Counts of its rows, those of an earlier process included.
    pub tally: Tally,
    /// False when it was asked to stop before the end.
    pub finished: bool,
    /// Pieces that were there.
    pub found: usize,
    /// Pieces that were made in this call.
    pub made: usize,
    /// Pictures that were attacked in this call, each target counted.
    pub attacks: u64,
    /// What the attack asked of the victim in this call, without the forwards that check its result.
    pub cost: Cost,
    /// Seconds that this call took.
    pub seconds: f64,
}

/// Makes the pieces of a shard that are not in the folder, as [`super::audit`] would make their rows. A piece that is
/// there but cannot be read is made again.
///
/// An attack on some pictures needs to know what they are taken for unchanged: where other shards score them, they are
/// scored here as well, and not kept. Rows of other attacks that are taken over come from the folder, so the shard of
/// the same number was made with these attacks before.
///
/// # Errors
/// [`AuditError`]; the pieces made before are in the folder.
#[allow(clippy::too_many_arguments)] // The same as `audit` but for the folder and the shard.
pub fn audit_shard(
    victim: &Victim,
    pictures: Pictures,
    attack: &dyn Attack,
    options: &AuditOptions,
    folder: &PieceFolder,
    shard: Shard,
    stop: &StopFlag,
    progress: &mut dyn FnMut(Progress, &Tally),
) -> Result<ShardOutcome, AuditError> {
    let started = Instant::now();
    let name = options.name.as_deref().unwrap_or_else(|| attack.name());
    let plan = Plan::new(pictures, options, name, victim.classes())?;
    plan.by_name()?;
    let maker = Maker::new(victim, pictures, attack, options, name);
    let pieces = || {
        Stage::ALL
            .into_iter()
            .flat_map(|stage| shard.part(plan.pieces(stage)).map(move |number| Piece { stage, number }))
    };
    let total = pieces().map(|piece| plan.places(piece).len()).sum();
    let at = Progress { stage: Stage::Clean, done: 0, total };
    let mut work = ShardWork { plan: &plan, maker, folder, stop, progress, at, tally: Tally::default() };
    let (mut found, mut made, mut finished) = (0, 0, true);
    for piece in pieces() {
        work.at.stage = piece.stage;
        if work.take(piece)? {
            found += 1;
        } else if work.make(piece)? {
            made += 1;
        } else {
            finished = false;
            break;
        }
    }
    let (Maker { attacks, cost, .. }, tally) = (work.maker, work.tally);
    Ok(ShardOutcome { tally, finished, found, made, attacks, cost, seconds: started.elapsed().as_secs_f64() })
}

/// Class and target of each attack that a shard has still to make, once each: what a learned attack has to know.
///
/// # Errors
/// As [`audit_shard`] has them before it begins.
pub fn goals_left(
    pictures: Pictures,
    classes: usize,
    options: &AuditOptions,
    folder: &PieceFolder,
    shard: Shard,
) -> Result<BTreeSet<(usize, Option<usize>)>, AuditError> {
    let plan = Plan::new(pictures, options, options.name.as_deref().unwrap_or_default(), classes)?;
    let mut goals = BTreeSet::new();
    for stage in [Stage::Untargeted, Stage::Targeted] {
        for number in shard.part(plan.pieces(stage)) {
            let piece = Piece { stage, number };
            if !matches!(folder.read(&plan, plan.attack, piece), Ok(Some(_))) {
                let tasks = plan.tasks(stage, plan.places(piece));
                goals.extend(tasks.iter().map(|task| (pictures.labels[task.image], task.target)));
            }
        }
    }
    Ok(goals)
}

/// A shard at work.
struct ShardWork<'a> {
    plan: &'a Plan<'a>,
    maker: Maker<'a>,
    folder: &'a PieceFolder,
    stop: &'a StopFlag,
    progress: &'a mut dyn FnMut(Progress, &Tally),
    at: Progress,
    tally: Tally,
}

impl ShardWork<'_> {
    /// Takes a piece from the folder. False if it is not there, or cannot be used.
    fn take(&mut self, piece: Piece) -> Result<bool, AuditError> {
        let rows = match self.folder.read(self.plan, self.plan.attack, piece) {
            Ok(Some(rows)) => rows,
            Ok(None)
            | Err(AuditError::Piece { .. } | AuditError::Row { .. } | AuditError::Damaged { .. }) => {
                return Ok(false);
            }
            Err(error) => return Err(error),
        };
        if piece.stage == Stage::Clean {
            for (image, row) in self.plan.places(piece).zip(&rows) {
                self.maker.learn_clean(image, row);
            }
        }
        self.at.done += rows.len();
        self.tally.add(piece.stage, &rows);
        Ok(true)
    }

    /// Makes a piece. False if it was asked to stop: nothing of the piece is kept.
    fn make(&mut self, piece: Piece) -> Result<bool, AuditError> {
        let inherited = self.inherited(piece)?;
        let mut rows = Vec::with_capacity(self.plan.places(piece).len());
        for places in self.plan.batches_of(piece) {
            if self.stop.requested() {
                return Ok(false);
            }
            let tasks = self.plan.tasks(piece.stage, places);
            if piece.stage != Stage::Clean {
                for task in &tasks {
                    self.score_unchanged(task.image)?;
                }
            }
            let made = self.maker.rows(piece.stage, &tasks, &inherited)?;
            self.at.done += made.len();
            self.tally.add(piece.stage, &made);
            (self.progress)(self.at, &self.tally);
            rows.extend(made);
        }
        self.folder.write(self.plan, piece, &rows)?;
        Ok(true)
    }

    /// Scores the batch of unchanged pictures that an image is in: the whole of it, so that the rounding is that of
    /// the row that another shard writes.
    fn score_unchanged(&mut self, image: usize) -> Result<(), AuditError> {
        if !self.maker.knows_clean(image) {
            let size = self.plan.batch_size();
            let start = image / size * size;
            let end = self.plan.size(Stage::Clean).min(start + size);
            let tasks = self.plan.tasks(Stage::Clean, start..end);
            self.maker.rows(Stage::Clean, &tasks, &Inherited::default())?;
        }
        Ok(())
    }

    /// The rows of other attacks that the piece takes over.
    fn inherited(&self, piece: Piece) -> Result<Inherited, AuditError> {
        let mut inherited = Inherited::default();
        if piece.stage == Stage::Clean {
            return Ok(inherited);
        }
        for (rank, from) in self.plan.inherits().iter().enumerate() {
            let rows =
                self.folder.read(self.plan, &from.attack, piece)?.ok_or_else(|| AuditError::Piece {
                    path: self.folder.path(&from.attack, piece),
                    cause: "is missing, but a later attack takes its rows over".to_owned(),
                })?;
            let tasks = self.plan.tasks(piece.stage, self.plan.places(piece));
            for (task, row) in tasks.iter().zip(rows) {
                inherited.offer(task.index, rank, from.whole, row);
            }
        }
        Ok(inherited)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_shard_is_one_of_its_number() {
        assert_eq!(Shard::new(0, 0), None);
        assert_eq!(Shard::new(4, 4), None);
        let last = Shard::new(3, 4).expect("the last of four");
        assert_eq!((last.to_string(), last.index(), last.count()), ("3/4".to_owned(), 3, 4));
        // Ten things in four shares: 2, 3, 2, 3.
        let parts: Vec<_> = (0..4).map(|index| Shard { index, count: 4 }.part(10)).collect();
        assert_eq!(parts, [0..2, 2..5, 5..7, 7..10]);
    }

    proptest! {
        #[test]
        fn every_thing_is_in_the_part_of_one_shard(things in 0..300_usize, count in 1..300_usize) {
            let shards: Vec<Shard> = (0..count).filter_map(|index| Shard::new(index, count)).collect();
            let all: Vec<usize> = shards.iter().flat_map(|shard| shard.part(things)).collect();
            prop_assert_eq!(all, (0..things).collect::<Vec<_>>());
            let sizes: Vec<usize> = shards.iter().map(|shard| shard.part(things).len()).collect();
            prop_assert!(sizes.iter().max().zip(sizes.iter().min()).is_some_and(|(most, least)| most - least <= 1));
            for thing in 0..things {
                prop_assert!(Shard::of(thing, things, count).part(things).contains(&thing));
            }
        }
    }
}
