//! The work list: every image unchanged, then under the untargeted attack, then with each of its
//! targets. It is never written out: a task is a number, and the order is fixed.

use std::collections::HashMap;

use super::predictions::{CLEAN, read_rows};
use super::{AuditError, AuditOptions, Pictures, Row};

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
        let mut plan = Self { pictures, options, attack, classes, starts: vec![0] };
        let mut start = 0;
        for image in 0..pictures.labels.len() {
            start += plan.targets(image).len();
            plan.starts.push(start);
        }
        Ok(plan)
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
        let untargeted = if self.options.untargeted { self.images() } else { 0 };
        self.images() + untargeted + self.starts[self.images()]
    }

    /// The tasks of a stage, image by image, the targets of each in ascending order. So a batch of
    /// targeted tasks has few images many times, and each is loaded about once.
    pub fn tasks(&self, stage: Stage) -> Box<dyn Iterator<Item = Task> + '_> {
        let images = 0..self.images();
        match stage {
            Stage::Clean => Box::new(images.map(|image| Task { index: image, image, target: None })),
            Stage::Untargeted if self.options.untargeted => {
                let first = self.images();
                Box::new(images.map(move |image| Task { index: first + image, image, target: None }))
            }
            Stage::Untargeted => Box::new(std::iter::empty()),
            Stage::Targeted => {
                let tasks = images.flat_map(|image| self.targets(image).into_iter().map(move |t| (image, t)));
                let first = 2 * self.images();
                Box::new(tasks.enumerate().map(move |(number, (image, target))| Task {
                    index: first + number,
                    image,
                    target: Some(target),
                }))
            }
        }
    }

    /// Reads what an earlier process has done, calls `each` with the image of every such row, and says for
    /// every task whether it is done.
    pub fn done(
        &self,
        path: &std::path::Path,
        mut each: impl FnMut(usize, &Row) -> Result<(), AuditError>,
    ) -> Result<Vec<bool>, AuditError> {
        let mut images = HashMap::new();
        for (image, name) in self.pictures.names.iter().enumerate() {
            if images.insert(name.as_str(), image).is_some() {
                return Err(AuditError::Twice(name.clone()));
            }
        }
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

    /// The rows of other attacks that this one may take over, by task.
    pub fn inherited(&self, path: &std::path::Path) -> Result<HashMap<usize, Row>, AuditError> {
        let mut rows = HashMap::new();
        if self.options.inherit.is_empty() {
            return Ok(rows);
        }
        let names = self.pictures.names.iter().enumerate();
        let images: HashMap<&str, usize> = names.map(|(image, name)| (name.as_str(), image)).collect();
        for row in read_rows(path)? {
            let row = row?;
            let whole = match self.options.inherit.iter().find(|from| from.attack == row.attack) {
                Some(from) => from.whole,
                None => continue,
            };
            // A row of another plan, such as a target that is not among these, is no help and no harm.
            let found = self.find(&images, &row).ok().filter(|_| whole || row.success);
            if let Some((_, index)) = found
                && (row.success || !rows.contains_key(&index))
            {
                rows.insert(index, row);
            }
        }
        Ok(rows)
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
