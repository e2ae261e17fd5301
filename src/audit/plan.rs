//! The work list: every image unchanged, then under the untargeted attack, then with each of its
//! targets. It is never written out: a task is a number, and the order is fixed.

use std::collections::HashMap;
use std::ops::Range;

use super::predictions::{CLEAN, read_rows};
use super::{AuditError, AuditOptions, Inherit, Pictures, Row};

/// The parts of an audit, in their order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Stage {
    /// Unchanged pictures.
    Clean,
    /// The untargeted attack.
    Untargeted,
    /// Every image with each of its targets.
    Targeted,
}

impl Stage {
    /// All stages, in their order.
    pub(super) const ALL: [Self; 3] = [Self::Clean, Self::Untargeted, Self::Targeted];
}

/// One picture to score, after an attack or unchanged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Task {
    /// Number in the work list.
    pub index: usize,
    /// Position of the image.
    pub image: usize,
    /// Target of a targeted attack.
    pub target: Option<usize>,
}

/// Rows of other attacks, by task. Of several for one task a success is taken, and of these that of the attack
/// that is named first: so the order in which they come does not matter.
#[derive(Default)]
pub(super) struct Inherited {
    rows: HashMap<usize, (usize, Row)>,
}

impl Inherited {
    /// A row for a task, of the attack in this place of the list; one without success counts only if the attack
    /// is taken over as a `whole`.
    pub fn offer(&mut self, index: usize, rank: usize, whole: bool, row: Row) {
        let rank_of = |rank: usize, row: &Row| (!row.success, rank);
        let better = |(other, there): &(usize, Row)| rank_of(rank, &row) < rank_of(*other, there);
        if (whole || row.success) && self.rows.get(&index).is_none_or(better) {
            self.rows.insert(index, (rank, row));
        }
    }

    /// The row that is taken over for a task.
    pub fn get(&self, index: usize) -> Option<&Row> {
        self.rows.get(&index).map(|(_, row)| row)
    }
}

/// The work list of one attack.
pub(super) struct Plan<'a> {
    pictures: Pictures<'a>,
    options: &'a AuditOptions,
    /// Name of the attack in the rows.
    pub attack: &'a str,
    pub classes: usize,
    /// Number of targets of the images before each image, and of all images.
    starts: Vec<usize>,
}

impl<'a> Plan<'a> {
    /// Checks labels, targets, names and the batch size.
    pub fn new(
        pictures: Pictures<'a>,
        options: &'a AuditOptions,
        attack: &'a str,
        classes: usize,
    ) -> Result<Self, AuditError> {
        if options.batch_size == 0 {
            return Err(AuditError::BatchSize);
        }
        let plain = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
        if attack.is_empty() || attack == CLEAN || !attack.chars().all(plain) {
            return Err(AuditError::Name(attack.to_owned()));
        }
        options.targets.check(classes)?;
        options.targets.check_images(pictures.names)?;
        for (&class, name) in pictures.labels.iter().zip(pictures.names) {
            if class >= classes {
                return Err(AuditError::Class { what: format!("the label of {name}"), class, classes });
            }
        }
        let mut starts = vec![0];
        let mut start = 0;
        for (&label, &id) in pictures.labels.iter().zip(pictures.ids) {
            start += options.targets.count(label, id, classes);
            starts.push(start);
        }
        Ok(Self { pictures, options, attack, classes, starts })
    }

    fn images(&self) -> usize {
        self.pictures.labels.len()
    }

    fn targets(&self, image: usize) -> Vec<usize> {
        let (label, id) = (self.pictures.labels[image], self.pictures.ids[image]);
        self.options.targets.of(label, id, self.classes, self.options.seed)
    }

    /// Number of rows when all is done.
    pub fn total(&self) -> usize {
        Stage::ALL.map(|stage| self.size(stage)).iter().sum()
    }

    /// Number of tasks of a stage.
    pub fn size(&self, stage: Stage) -> usize {
        match stage {
            Stage::Clean => self.images(),
            Stage::Untargeted if self.options.untargeted => self.images(),
            Stage::Untargeted => 0,
            Stage::Targeted => self.starts[self.images()],
        }
    }

    /// The batches of a stage, as places in it. They follow from the plan alone and not from what became of
    /// any picture, so a part of an audit has the same batches, and with them the same rounding, as the whole.
    pub fn batches(&self, stage: Stage) -> impl Iterator<Item = Range<usize>> {
        let (size, batch) = (self.size(stage), self.batch_size());
        (0..self.batch_count(stage)).map(move |number| number * batch..size.min((number + 1) * batch))
    }

    /// Number of batches of a stage.
    pub fn batch_count(&self, stage: Stage) -> usize {
        self.size(stage).div_ceil(self.batch_size())
    }

    /// Most tasks of a batch, at least 1.
    pub fn batch_size(&self) -> usize {
        self.options.batch_size
    }

    /// Attacks whose rows are taken over.
    pub fn inherits(&self) -> &[Inherit] {
        &self.options.inherit
    }

    /// The tasks in some places of a stage: image by image, the targets of each in ascending order. So a batch of
    /// targeted tasks has few images many times, and each is loaded about once.
    pub fn tasks(&self, stage: Stage, places: Range<usize>) -> Vec<Task> {
        let images = self.images();
        let untargeted = |first: usize| move |image| Task { index: first + image, image, target: None };
        match stage {
            Stage::Clean => places.map(untargeted(0)).collect(),
            Stage::Untargeted => places.map(untargeted(images)).collect(),
            Stage::Targeted => {
                let mut tasks = Vec::with_capacity(places.len());
                let first = self.starts.partition_point(|start| *start <= places.start).saturating_sub(1);
                for image in first..images {
                    let start = self.starts[image];
                    if start >= places.end {
                        break;
                    }
                    let of_image = (start..).zip(self.targets(image));
                    tasks.extend(of_image.filter(|(place, _)| places.contains(place)).map(
                        |(place, target)| Task { index: 2 * images + place, image, target: Some(target) },
                    ));
                }
                tasks
            }
        }
    }

    /// Whether a row is that of a task under an attack of this name.
    pub fn is_row_of(&self, row: &Row, attack: &str, stage: Stage, task: &Task) -> bool {
        let attack = if stage == Stage::Clean { CLEAN } else { attack };
        row.attack == attack
            && row.image == self.pictures.names[task.image]
            && row.label == self.pictures.labels[task.image]
            && row.target == task.target
    }

    /// The images by their names.
    ///
    /// # Errors
    /// [`AuditError::Twice`].
    pub fn by_name(&self) -> Result<HashMap<&str, usize>, AuditError> {
        let mut images = HashMap::new();
        for (image, name) in self.pictures.names.iter().enumerate() {
            if images.insert(name.as_str(), image).is_some() {
                return Err(AuditError::Twice(name.clone()));
            }
        }
        Ok(images)
    }

    /// Reads what an earlier process has done, calls `each` with the image of every such row, and says for
    /// every task whether it is done.
    pub fn done(
        &self,
        path: &std::path::Path,
        mut each: impl FnMut(usize, &Row) -> Result<(), AuditError>,
    ) -> Result<Vec<bool>, AuditError> {
        let images = self.by_name()?;
        // An audit without the untargeted attack leaves its numbers unused.
        let mut done = vec![false; 2 * self.images() + self.starts[self.images()]];
        for row in read_rows(path)? {
            let row = row?;
            if row.attack != self.attack && row.attack != CLEAN {
                continue;
            }
            let found = self.find(&images, &row).and_then(|(image, index)| {
                let again = std::mem::replace(&mut done[index], true);
                if again { Err("that is there twice") } else { Ok(image) }
            });
            match found {
                Ok(image) => each(image, &row)?,
                Err(cause) => {
                    return Err(AuditError::Foreign {
                        path: path.to_owned(),
                        image: row.image,
                        attack: row.attack,
                        target: row.target.map_or_else(|| "none".to_owned(), |target| target.to_string()),
                        cause,
                    });
                }
            }
        }
        Ok(done)
    }

    /// The rows of other attacks that this one may take over.
    pub fn inherited(&self, path: &std::path::Path) -> Result<Inherited, AuditError> {
        let mut inherited = Inherited::default();
        if self.options.inherit.is_empty() {
            return Ok(inherited);
        }
        let names = self.pictures.names.iter().enumerate();
        let images: HashMap<&str, usize> = names.map(|(image, name)| (name.as_str(), image)).collect();
        for row in read_rows(path)? {
            let row = row?;
            let from = self.options.inherit.iter().position(|from| from.attack == row.attack);
            // A row of another plan, such as a target that is not among these, is no help and no harm.
            if let (Some(rank), Ok((_, index))) = (from, self.find(&images, &row)) {
                inherited.offer(index, rank, self.options.inherit[rank].whole, row);
            }
        }
        Ok(inherited)
    }

    /// Image and task of a row.
    fn find(&self, images: &HashMap<&str, usize>, row: &Row) -> Result<(usize, usize), &'static str> {
        let image = *images.get(row.image.as_str()).ok_or("that is not in this data set")?;
        if row.label != self.pictures.labels[image] {
            return Err("that has another label in this data set");
        }
        let index = match row.target {
            None if row.attack == CLEAN => image,
            None if self.options.untargeted => self.images() + image,
            None => return Err("that this audit does not make"),
            Some(target) => {
                let position = self.targets(image).binary_search(&target);
                2 * self.images()
                    + self.starts[image]
                    + position.map_err(|_| "that is not one of its targets")?
            }
        };
        Ok((image, index))
    }
}
