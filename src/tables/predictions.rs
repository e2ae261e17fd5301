//! Tables of predictions, one row an image and attack, from any program that can write CSV.
//!
//! Columns are found by name: the true class, the prediction, and, where they are there, a name of the
//! image, an attack and a target. All others are ignored, unless they are asked for as groups.

use std::collections::HashMap;
use std::path::Path;

use csv::ByteRecord;

use super::TableError;
use super::classes::{KnownClasses, Numbering, short};
use super::groups::ClassGroups;
use super::records::{Records, cell, column};
use crate::stable_hash;

/// The name of rows of unchanged pictures in the attack column; an empty cell means the same.
pub const CLEAN: &str = "clean";

/// Most rows of one file: they take 16 bytes each, and as much again while they are counted.
pub const MOST_ROWS: usize = 1 << 26;

/// Longest row.
const LONGEST: usize = 1 << 20;

/// Most attacks in one file.
const MOST_ATTACKS: usize = 1000;

/// No target.
const NONE: u32 = u32::MAX;

/// Names of columns. What is `None` is looked for under its usual names.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Columns {
    /// Name of the image: `id`, `image`, `path`, `file` or `filename`. Without it rows are not checked for
    /// being there twice and two runs cannot be paired.
    pub id: Option<String>,
    /// True class: `label`, `true`, `y_true`, `true_label` or `class`.
    pub label: Option<String>,
    /// Predicted class: `prediction`, `predicted`, `pred`, `y_pred` or `predicted_label`.
    pub prediction: Option<String>,
    /// Class that a targeted attack aimed for, empty where there was none: `target`.
    pub target: Option<String>,
    /// Name of the attack, empty or `clean` for unchanged pictures: `attack`.
    pub attack: Option<String>,
    /// Columns that divide the classes into groups. All rows of a class must agree.
    pub groups: Vec<String>,
}

/// The rows under one attack.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Part {
    /// Name of the attack; `None` in a table without such a column.
    pub attack: Option<String>,
    /// A number for each image that is the same for the same name; empty where images have no names.
    pub ids: Vec<u64>,
    /// True class of each row.
    pub labels: Vec<u32>,
    /// Predicted class of each row.
    pub predictions: Vec<u32>,
    /// Target of each row, `u32::MAX` without; empty where no row has one.
    targets: Vec<u32>,
}

/// All rows of a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Predictions {
    /// Names of the classes.
    pub classes: Vec<String>,
    /// The rows of each attack: unchanged pictures first, then by first appearance.
    pub parts: Vec<Part>,
    /// The group columns that were asked for.
    pub groups: Vec<ClassGroups>,
}

impl Part {
    /// Target of a row.
    pub fn target(&self, row: usize) -> Option<u32> {
        self.targets.get(row).copied().filter(|&target| target != NONE)
    }

    /// The rows without a target.
    pub fn untargeted(&self) -> impl Iterator<Item = usize> + '_ {
        (0..self.labels.len()).filter(|&row| self.target(row).is_none())
    }

    /// The rows with a target.
    pub fn targeted(&self) -> impl Iterator<Item = usize> + '_ {
        (0..self.targets.len()).filter(|&row| self.target(row).is_some())
    }
}

/// Reads a table.
///
/// # Errors
/// When the file cannot be read or was cut off, lacks a column, has a class that is not known, a row with
/// too many or too few cells, the same image twice under the same attack and target, a class in two groups
/// of one column, or more than [`MOST_ROWS`] rows.
pub fn read_predictions(
    path: &Path,
    columns: &Columns,
    known: &KnownClasses,
) -> Result<Predictions, TableError> {
    read(path, columns, known, || Records::open(path, LONGEST))
}

/// Whether a file begins with the header of a table of predictions.
///
/// # Errors
/// When it cannot be read.
pub fn has_predictions(path: &Path, columns: &Columns) -> Result<bool, TableError> {
    let mut record = ByteRecord::new();
    let line = Records::open(path, LONGEST)?.next(&mut record)?;
    let plain = Columns { groups: Vec::new(), ..columns.clone() };
    Ok(line.is_some_and(|line| Places::find(path, line, &record, &plain).is_ok()))
}

fn read(
    path: &Path,
    columns: &Columns,
    known: &KnownClasses,
    open: impl Fn() -> Result<Records, TableError>,
) -> Result<Predictions, TableError> {
    let mut records = open()?;
    let mut record = ByteRecord::new();
    let mut table = Table::start(path, columns, known, &mut records, &mut record)?;
    while let Some(line) = records.next(&mut record)? {
        table.row(line, &record)?;
    }
    let twice = table.twice();
    if !twice.is_empty() {
        let mut records = open()?;
        records.next(&mut record)?;
        table.name_the_double(&twice, &mut records)?;
    }
    table.finish()
}

/// Where the columns are.
struct Places {
    names: Vec<String>,
    id: Option<usize>,
    label: usize,
    prediction: usize,
    target: Option<usize>,
    attack: Option<usize>,
    groups: Vec<usize>,
}

impl Places {
    fn find(path: &Path, line: u64, record: &ByteRecord, columns: &Columns) -> Result<Self, TableError> {
        let names: Vec<String> = (1..)
            .zip(record.iter())
            .map(|(at, bytes)| {
                Ok(cell(bytes).map_err(|why| TableError::cell(path, line, at, why))?.to_owned())
            })
            .collect::<Result<_, _>>()?;
        let header = || short(&names.join(","));
        let asked = |name: &str| {
            names.iter().position(|other| other == name).ok_or_else(|| {
                let near = names.iter().map(|other| (strsim::damerau_levenshtein(other, name), other)).min();
                let near = near.filter(|(distance, _)| *distance <= 3);
                let hint = near.map_or_else(String::new, |(_, other)| format!(". Did you mean `{other}`?"));
                TableError::line(path, line, format!("no column `{name}` in the header `{}`{hint}", header()))
            })
        };
        let usual = |asked_for: &Option<String>, usual: &[&str]| match asked_for {
            Some(name) => asked(name).map(Some),
            None => Ok(usual
                .iter()
                .find_map(|usual| names.iter().position(|name| name.eq_ignore_ascii_case(usual)))),
        };
        let needed = |found: Option<usize>, what: &str| {
            found.ok_or_else(|| {
                let problem = format!(
                    "no column `{what}` in the header `{}`; name it with --columns {what}=NAME",
                    header()
                );
                TableError::line(path, line, problem)
            })
        };
        let label = usual(&columns.label, &["label", "true", "y_true", "true_label", "class"])?;
        let prediction =
            usual(&columns.prediction, &["prediction", "predicted", "pred", "y_pred", "predicted_label"])?;
        Ok(Self {
            id: usual(&columns.id, &["id", "image", "path", "file", "filename"])?,
            label: needed(label, "label")?,
            prediction: needed(prediction, "prediction")?,
            target: usual(&columns.target, &["target"])?,
            attack: usual(&columns.attack, &["attack"])?,
            groups: columns.groups.iter().map(|name| asked(name)).collect::<Result<_, _>>()?,
            names,
        })
    }
}

struct Table<'a> {
    path: &'a Path,
    places: Places,
    numbering: Numbering,
    attacks: HashMap<Vec<u8>, usize>,
    parts: Vec<Part>,
    rows: usize,
    /// For each group column: the group of each preliminary class and the line that said so.
    groups: Vec<HashMap<u32, (String, u64)>>,
}

impl<'a> Table<'a> {
    fn start(
        path: &'a Path,
        columns: &Columns,
        known: &KnownClasses,
        records: &mut Records,
        record: &mut ByteRecord,
    ) -> Result<Self, TableError> {
        let Some(line) = records.next(record)? else {
            return Err(TableError::whole(path, "empty, expected a header such as `id,label,prediction`"));
        };
        let places = Places::find(path, line, record, columns)?;
        Ok(Self {
            path,
            numbering: Numbering::new(known),
            attacks: HashMap::new(),
            parts: if places.attack.is_none() { vec![Part::default()] } else { Vec::new() },
            rows: 0,
            groups: vec![HashMap::new(); places.groups.len()],
            places,
        })
    }

    fn wrong(&self, line: u64, at: usize, problem: impl Into<String>) -> TableError {
        TableError::cell(self.path, line, column(at, &self.places.names[at]), problem)
    }

    fn row(&mut self, line: u64, record: &ByteRecord) -> Result<(), TableError> {
        if record.len() != self.places.names.len() {
            let problem = format!("found {} cells, expected {}", record.len(), self.places.names.len());
            return Err(TableError::line(self.path, line, problem));
        }
        if self.rows == MOST_ROWS {
            let problem =
                format!("more than {MOST_ROWS} rows; count them into a confusion matrix, or split the file");
            return Err(TableError::line(self.path, line, problem));
        }
        self.rows += 1;
        let Places { label, prediction, id, target, attack, .. } = self.places;
        let label_number = self.class(line, label, record)?;
        let predicted = self.class(line, prediction, record)?;
        let aim = match target {
            Some(at) if !record[at].trim_ascii().is_empty() => self.class(line, at, record)?,
            _ => NONE,
        };
        let which = attack.map_or(Ok(0), |at| self.attack(line, at, record))?;
        let part = &mut self.parts[which];
        if aim != NONE {
            if part.attack.as_deref() == Some(CLEAN) {
                return Err(self.wrong(line, target.unwrap_or_default(), "a target, but no attack was made"));
            }
            part.targets.resize(part.labels.len(), NONE);
        }
        if aim != NONE || !part.targets.is_empty() {
            part.targets.push(aim);
        }
        part.labels.push(label_number);
        part.predictions.push(predicted);
        if let Some(at) = id {
            if record[at].is_empty() {
                return Err(self.wrong(line, at, "empty, expected the name of an image"));
            }
            self.parts[which].ids.push(stable_hash(&record[at]));
        }
        self.group(line, label_number, record)
    }

    fn class(&mut self, line: u64, at: usize, record: &ByteRecord) -> Result<u32, TableError> {
        self.numbering.number(&record[at]).map_err(|problem| self.wrong(line, at, problem))
    }

    fn attack(&mut self, line: u64, at: usize, record: &ByteRecord) -> Result<usize, TableError> {
        if let Some(&part) = self.attacks.get(&record[at]) {
            return Ok(part);
        }
        let name = cell(&record[at]).map_err(|why| self.wrong(line, at, why))?;
        let name = if name.is_empty() { CLEAN } else { name };
        if self.parts.len() == MOST_ATTACKS || self.attacks.len() == 2 * MOST_ATTACKS {
            let problem = format!("more than {MOST_ATTACKS} attacks; is this the column of attacks?");
            return Err(self.wrong(line, at, problem));
        }
        let known = self.parts.iter().position(|part| part.attack.as_deref() == Some(name));
        let part = known.unwrap_or(self.parts.len());
        if known.is_none() {
            self.parts.push(Part { attack: Some(name.to_owned()), ..Part::default() });
        }
        self.attacks.insert(record[at].to_vec(), part);
        Ok(part)
    }

    fn group(&mut self, line: u64, class: u32, record: &ByteRecord) -> Result<(), TableError> {
        for (which, &at) in self.places.groups.iter().enumerate() {
            let group = cell(&record[at]).map_err(|why| self.wrong(line, at, why))?;
            if let Some((before, first)) = self.groups[which].get(&class) {
                if before != group {
                    let problem = format!(
                        "class `{}` is in group `{}` here and in `{}` on line {first}; a class is in one group of a column \
                         (overlapping groups are given with --groups FILE)",
                        short(&String::from_utf8_lossy(&record[self.places.label])),
                        short(group),
                        short(before)
                    );
                    return Err(self.wrong(line, at, problem));
                }
            } else {
                let group = group.chars().take(256).collect();
                self.groups[which].insert(class, (group, line));
            }
        }
        Ok(())
    }

    /// The numbers of images that seem to be there twice under the same attack and target.
    fn twice(&self) -> HashMap<u64, Vec<Double>> {
        let mut found = HashMap::new();
        for part in &self.parts {
            if part.targets.is_empty() {
                let mut ids = part.ids.clone();
                ids.sort_unstable();
                let same = ids.windows(2).filter(|pair| pair[0] == pair[1]).take(1000);
                found.extend(same.map(|pair| (pair[0], Vec::new())));
            } else {
                let mut ids: Vec<(u64, u32)> =
                    part.ids.iter().copied().zip(part.targets.iter().copied()).collect();
                ids.sort_unstable();
                let same = ids.windows(2).filter(|pair| pair[0] == pair[1]).take(1000);
                found.extend(same.map(|pair| (pair[0].0, Vec::new())));
            }
        }
        found
    }

    /// Reads once more to tell images that are there twice from names whose numbers happen to be equal.
    fn name_the_double(
        &self,
        twice: &HashMap<u64, Vec<Double>>,
        records: &mut Records,
    ) -> Result<(), TableError> {
        let Some(id) = self.places.id else { return Ok(()) };
        let mut seen = twice.clone();
        let mut record = ByteRecord::new();
        while let Some(line) = records.next(&mut record)? {
            let Some(candidates) = record.get(id).and_then(|name| seen.get_mut(&stable_hash(name))) else {
                continue;
            };
            let part = |at: Option<usize>| at.and_then(|at| record.get(at)).unwrap_or_default().to_vec();
            let key = (record[id].to_vec(), part(self.places.attack), part(self.places.target));
            if let Some((_, first)) = candidates.iter().find(|(other, _)| *other == key) {
                let name = short(&String::from_utf8_lossy(&record[id])).clone();
                let problem = format!(
                    "image `{name}` is on line {first} already, under the same attack and target; keep one of them"
                );
                return Err(self.wrong(line, id, problem));
            }
            candidates.push((key, line));
        }
        Ok(())
    }

    fn finish(self) -> Result<Predictions, TableError> {
        if self.rows == 0 {
            return Err(TableError::whole(self.path, "a header and no rows"));
        }
        let (classes, of_number) =
            self.numbering.finish().map_err(|problem| TableError::whole(self.path, problem))?;
        let mut parts = self.parts;
        if let Some(of_number) = &of_number {
            for part in &mut parts {
                let columns = [&mut part.labels, &mut part.predictions, &mut part.targets];
                for class in columns.into_iter().flatten().filter(|class| **class != NONE) {
                    *class = of_number[*class as usize];
                }
            }
        }
        parts.sort_by_key(|part| part.attack.as_deref() != Some(CLEAN));
        let groups = self.places.groups.iter().zip(self.groups).map(|(&at, found)| {
            let mut of_class = vec![Vec::new(); classes.len()];
            for (number, (group, _)) in found {
                let class = of_number.as_ref().map_or(number, |of_number| of_number[number as usize]);
                if !group.is_empty() {
                    of_class[class as usize].push(group);
                }
            }
            ClassGroups::new(self.places.names[at].clone(), &of_class)
        });
        Ok(Predictions { groups: groups.collect(), classes, parts })
    }
}

/// Image, attack and target as they are in the file, and the line.
type Double = ((Vec<u8>, Vec<u8>, Vec<u8>), u64);

#[cfg(test)]
mod tests;
