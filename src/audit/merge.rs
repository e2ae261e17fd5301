//! Pieces to one file of rows, the same as that of an audit in one piece.

use std::collections::{BTreeMap, HashMap};
use std::fs;
use std::io::{BufWriter, Write as _};
use std::path::{Path, PathBuf};

use super::pieces::{Piece, PieceFolder};
use super::plan::Plan;
use super::predictions::member;
use super::{AuditError, AuditOptions, Pictures, Row, Shard, Stage};
use crate::run::{RunError, write_file_by_parts};

/// A piece that no folder has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MissingPiece {
    /// Name of its file.
    pub name: String,
    /// Number in its stage.
    number: usize,
    /// Number of pieces of its stage.
    of: usize,
}

impl MissingPiece {
    /// The one of `count` shards that makes it.
    pub fn shard(&self, count: usize) -> Shard {
        Shard::of(self.number, self.of, count)
    }
}

/// What some folders hold, beside what they should.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Survey {
    /// Number of pieces that the audit has, the checks among them.
    pub pieces: usize,
    /// Those that no folder has.
    pub missing: Vec<MissingPiece>,
    /// Those that several have, by name.
    pub twice: Vec<(String, Vec<PathBuf>)>,
    /// Files that are no piece of this audit.
    pub foreign: Vec<PathBuf>,
}

/// The attacks of an audit, in the order in which they are made, and what they are made on.
pub struct Parts<'a> {
    plans: Vec<Plan<'a>>,
}

impl<'a> Parts<'a> {
    /// Each of the options has a name.
    ///
    /// # Errors
    /// As [`super::audit`] has them before it begins.
    pub fn new(
        pictures: Pictures<'a>,
        classes: usize,
        attacks: &'a [AuditOptions],
    ) -> Result<Self, AuditError> {
        let plan = |options: &'a AuditOptions| {
            Plan::new(pictures, options, options.name.as_deref().unwrap_or_default(), classes)
        };
        let plans: Vec<Plan> = attacks.iter().map(plan).collect::<Result<_, _>>()?;
        plans.first().map_or(Ok(()), |plan| plan.by_name().map(|_| ()))?;
        Ok(Self { plans })
    }

    /// All pieces in the order of the rows of an audit in one piece.
    fn pieces(&self) -> impl Iterator<Item = (&Plan<'a>, Piece)> {
        self.plans.iter().enumerate().flat_map(|(attack, plan)| {
            // Unchanged pictures are scored once for all attacks.
            let stages = Stage::ALL.into_iter().filter(move |stage| attack == 0 || *stage != Stage::Clean);
            stages.flat_map(move |stage| {
                (0..plan.pieces(stage)).map(move |number| (plan, Piece { stage, number }))
            })
        })
    }

    /// What is in the folders. They have the key of one run.
    ///
    /// # Errors
    /// When a folder cannot be read.
    pub fn survey(&self, folders: &[PieceFolder]) -> Result<Survey, AuditError> {
        let mut found: BTreeMap<String, Vec<PathBuf>> = BTreeMap::new();
        for folder in folders {
            let path = folder.folder();
            for entry in fs::read_dir(path).map_err(RunError::reading(path))? {
                let entry = entry.map_err(RunError::reading(path))?;
                let name = entry.file_name().to_string_lossy().into_owned();
                // A killed writer leaves a temporary file, whose name begins with a dot.
                if !name.starts_with('.') {
                    found.entry(name).or_default().push(entry.path());
                }
            }
        }
        let mut survey = Survey::default();
        let Some(first) = folders.first() else { return Ok(survey) };
        let checks = first.checks().file_name().unwrap_or_default().to_string_lossy().into_owned();
        let own = self
            .pieces()
            .map(|(plan, piece)| (first.name(plan.attack, piece), piece.number, plan.pieces(piece.stage)));
        // The checks are made by the first shard, as the first of any number of things is.
        for (name, number, of) in own.chain(std::iter::once((checks, 0, usize::MAX))) {
            survey.pieces += 1;
            match found.remove(&name) {
                None => survey.missing.push(MissingPiece { name, number, of }),
                Some(places) if places.len() > 1 => survey.twice.push((name, places)),
                Some(_) => {}
            }
        }
        survey.foreign = found.into_values().flatten().collect();
        Ok(survey)
    }

    /// Writes the rows of all pieces into one file, as [`super::audit`] would have written them, and gives their
    /// number. It holds one piece at a time.
    ///
    /// # Errors
    /// When a piece is missing or cannot be read, when pieces contradict each other, or the file cannot be written.
    /// Nothing is written then.
    pub fn join(&self, folders: &[PieceFolder], to: &Path) -> Result<u64, AuditError> {
        let mut rows_written = 0;
        let mut clean = HashMap::new();
        write_file_by_parts(to, |file| {
            let mut file = BufWriter::new(file);
            for (plan, piece) in self.pieces() {
                let (path, rows) = read(folders, plan, piece)?;
                agree(&mut clean, piece.stage, &path, &rows)?;
                let first = plan.places(piece).start;
                for places in plan.batches_of(piece) {
                    let batch = &rows[places.start - first..places.end - first];
                    let bytes = member(batch, rows_written == 0).map_err(RunError::writing(to))?;
                    file.write_all(&bytes).map_err(RunError::writing(to))?;
                    rows_written += batch.len() as u64;
                }
            }
            file.flush().map_err(RunError::writing(to))?;
            Ok::<(), AuditError>(())
        })?;
        Ok(rows_written)
    }
}

/// A piece from the first folder that has it.
fn read(folders: &[PieceFolder], plan: &Plan, piece: Piece) -> Result<(PathBuf, Vec<Row>), AuditError> {
    for folder in folders {
        if let Some(rows) = folder.read(plan, plan.attack, piece)? {
            return Ok((folder.path(plan.attack, piece), rows));
        }
    }
    let path = folders.first().map(|folder| folder.path(plan.attack, piece)).unwrap_or_default();
    Err(AuditError::Piece { path, cause: "is missing".to_owned() })
}

/// Checks that all rows of an image say the same of the unchanged picture. Machines with other instruction sets round
/// in another way, and may disagree about a picture on the border of two classes.
fn agree(
    clean: &mut HashMap<String, usize>,
    stage: Stage,
    path: &Path,
    rows: &[Row],
) -> Result<(), AuditError> {
    for row in rows {
        if stage == Stage::Clean {
            clean.insert(row.image.clone(), row.prediction);
        }
        let expected = clean.get(&row.image).copied().unwrap_or(row.clean_prediction);
        if expected != row.clean_prediction {
            let (image, found) = (&row.image, row.clean_prediction);
            let cause = format!(
                "says that image {image} is taken for class {found} unchanged, its clean row says {expected}: they were \
                 made on machines that round in different ways (SYFAR_SIMD=portable is the same everywhere)"
            );
            return Err(AuditError::Piece { path: path.to_owned(), cause });
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests;
