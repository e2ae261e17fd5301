//! An audit in pieces, each in a file of its own, so that many processes can make it together.
//!
//! A piece is some batches of one stage of one attack. Which there are follows from the plan alone: not from how many
//! processes share the work, nor from what became of any picture. A file is written beside its place and renamed, so a
//! piece is there as a whole or not at all, and its name begins with the key of the run that it belongs to.

use std::ops::Range;
use std::path::{Path, PathBuf};

use super::plan::Plan;
use super::predictions::{member, read_rows};
use super::{AuditError, CLEAN, Row, Stage};
use crate::run::{RunError, write_file};

/// Most pieces of one stage of one attack, so that a folder does not have millions of files: with more batches than
/// this a piece has several.
const MOST_PIECES: usize = 10_000;

/// A piece of the audit of one attack.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Piece {
    pub stage: Stage,
    /// Number in its stage.
    pub number: usize,
}

impl Plan<'_> {
    fn batches_in_a_piece(&self, stage: Stage) -> usize {
        self.batch_count(stage).div_ceil(MOST_PIECES).max(1)
    }

    /// Number of pieces of a stage.
    pub(super) fn pieces(&self, stage: Stage) -> usize {
        self.batch_count(stage).div_ceil(self.batches_in_a_piece(stage))
    }

    /// The batches of a piece, as places in its stage.
    pub(super) fn batches_of(&self, piece: Piece) -> impl Iterator<Item = Range<usize>> {
        let batches = self.batches_in_a_piece(piece.stage);
        self.batches(piece.stage).skip(piece.number * batches).take(batches)
    }

    /// The places of a piece in its stage.
    pub(super) fn places(&self, piece: Piece) -> Range<usize> {
        let size = self.batches_in_a_piece(piece.stage) * self.batch_size();
        let end = self.size(piece.stage);
        (piece.number * size).min(end)..((piece.number + 1) * size).min(end)
    }
}

/// A folder with pieces of one run.
#[derive(Clone, Debug)]
pub struct PieceFolder {
    folder: PathBuf,
    run: String,
}

impl PieceFolder {
    /// `run` is the key of the run, see [`crate::run::config_key`].
    pub fn new(folder: &Path, run: &str) -> Self {
        Self { folder: folder.to_owned(), run: run.to_owned() }
    }

    /// Makes the folder where it is missing.
    ///
    /// # Errors
    /// [`RunError::Write`].
    pub fn make(&self) -> Result<(), RunError> {
        std::fs::create_dir_all(&self.folder).map_err(RunError::writing(&self.folder))
    }

    /// The folder itself.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Where the checks of the model and the attack are kept: a piece that the first shard makes.
    pub fn checks(&self) -> PathBuf {
        self.folder.join(format!("{}-checks.json", self.run))
    }

    /// Name of the file of a piece.
    pub(super) fn name(&self, attack: &str, Piece { stage, number }: Piece) -> String {
        let run = &self.run;
        match stage {
            Stage::Clean => format!("{run}-{CLEAN}-{number:06}.csv.gz"),
            Stage::Untargeted => format!("{run}-{attack}-untargeted-{number:06}.csv.gz"),
            Stage::Targeted => format!("{run}-{attack}-targeted-{number:06}.csv.gz"),
        }
    }

    /// The file of a piece.
    pub(super) fn path(&self, attack: &str, piece: Piece) -> PathBuf {
        self.folder.join(self.name(attack, piece))
    }

    /// The rows of a piece, in the order of its tasks; `None` if it is not there.
    ///
    /// # Errors
    /// When the file cannot be read, or has other rows than the piece.
    pub(super) fn read(
        &self,
        plan: &Plan,
        attack: &str,
        piece: Piece,
    ) -> Result<Option<Vec<Row>>, AuditError> {
        let path = self.path(attack, piece);
        if !path.exists() {
            return Ok(None);
        }
        let rows: Vec<Row> = read_rows(&path)?.collect::<Result<_, _>>()?;
        let tasks = plan.tasks(piece.stage, plan.places(piece));
        if rows.len() != tasks.len() {
            let cause = format!("has {} rows, expected {}", rows.len(), tasks.len());
            return Err(AuditError::Piece { path, cause });
        }
        match rows.iter().zip(&tasks).find(|(row, task)| !plan.is_row_of(row, attack, piece.stage, task)) {
            None => Ok(Some(rows)),
            Some((row, _)) => {
                let cause = format!("has a row of image {} that belongs elsewhere", row.image);
                Err(AuditError::Piece { path, cause })
            }
        }
    }

    /// Writes the rows of a piece of the plan's own attack.
    pub(super) fn write(&self, plan: &Plan, piece: Piece, rows: &[Row]) -> Result<(), RunError> {
        let path = self.path(plan.attack, piece);
        let bytes = member(rows, true).map_err(RunError::writing(&path))?;
        write_file(&path, &bytes)
    }
}
