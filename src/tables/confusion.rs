//! Confusion matrices from CSV or `.npy`: counts or rates, with or without names.
//!
//! Rows are true classes, columns are predictions. A header, a column of names, both or neither are told
//! apart by shape and by what is a number: `K` rows of `K` numbers have no names; one row more is a
//! header; one column more holds names. Whole numbers are counts, unless every row sums to 1: then, and
//! where they are not whole, they are rates, and each row has to sum to 1. A row of zeros is a class
//! without images.

use std::fs::File;
use std::io::Read as _;
use std::path::Path;

use csv::ByteRecord;

use super::TableError;
use super::classes::{KnownClasses, all_different, short};
use super::npy::read_npy;
use super::records::{Records, cell};
use crate::metrics::{SparseCell, SparseMatrix};

/// Longest line of a matrix: some 600 000 classes as numpy writes them.
const LONGEST: usize = 1 << 24;

/// Most cells that are not zero.
pub(super) const MOST_CELLS: usize = 50_000_000;

/// Most classes of a matrix of rates, which is kept whole.
const MOST_OF_RATES: usize = 4096;

/// Above this, not every whole number is an `f64`.
const LARGEST: f64 = 9_007_199_254_740_992.0;

/// How far a row of rates may be from 1: rates are often rounded to three digits.
const ROUNDING: f64 = 0.005;

/// What the numbers of a matrix are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Kind {
    /// Counts if they are whole and some row does not sum to 1, else rates.
    #[default]
    Guess,
    /// Numbers of images.
    Counts,
    /// Shares of the images of their row.
    Rates,
}

/// The numbers of a matrix.
#[derive(Clone, Debug, PartialEq)]
pub enum Cells {
    /// Numbers of images.
    Counts(SparseMatrix),
    /// Shares of the images of a class, row by row, `K * K`; rows of a class without images are 0.
    Rates(Vec<f64>),
}

/// A confusion matrix as it was in a file.
#[derive(Clone, Debug, PartialEq)]
pub struct ConfusionTable {
    /// Names of the classes in their order; their indices where the file had no names.
    pub classes: Vec<String>,
    /// The numbers.
    pub cells: Cells,
}

/// A matrix before anybody asked what its numbers are.
pub(super) struct Grid {
    pub classes: usize,
    pub names: Option<Vec<String>>,
    /// The cells that are not zero.
    pub cells: Vec<(u32, u32, f64)>,
    /// The line of the first row, where rows are lines.
    pub first_line: u64,
}

/// Reads a matrix. Arrays are recognised by their first bytes; everything else is CSV, gzipped or not.
///
/// # Errors
/// When the file cannot be read, is not square, holds a negative or infinite number or NaN, rates that do
/// not sum to 1, counts beyond 2^53, or names other than those that are known.
pub fn read_confusion(path: &Path, known: &KnownClasses, kind: Kind) -> Result<ConfusionTable, TableError> {
    let wrong = |cause| TableError::read(path, cause);
    let mut start = Vec::new();
    File::open(path).map_err(wrong)?.take(6).read_to_end(&mut start).map_err(wrong)?;
    let grid = if start == b"\x93NUMPY" {
        let file = File::open(path).map_err(wrong)?;
        read_npy(path, std::io::BufReader::new(file))?
    } else {
        read_csv(path, Records::open(path, LONGEST)?)?
    };
    interpret(path, grid, known, kind)
}

/// What a number in a matrix can't be.
pub(super) fn flaw(value: f64) -> Option<String> {
    if value.is_nan() {
        Some("NaN, expected a count or a rate; a class without images has a row of zeros".into())
    } else if value < 0.0 {
        Some(format!("{value} is negative, expected a count or a rate"))
    } else if value > LARGEST {
        Some(format!("{value} is larger than any count can be, at most 2^53"))
    } else {
        None
    }
}

/// What the first record may turn out to be.
enum First {
    /// Names of columns.
    Header,
    /// Numbers that are a row, or names if there is one record too many.
    Numbers,
    /// A text and then numbers: a row with its name, or names if there is one record too many.
    Either,
}

struct Reader<'a> {
    path: &'a Path,
    columns: usize,
    first: First,
    first_line: u64,
    header: Vec<String>,
    /// Whether the first cell of a row is a name; not known before the second record.
    named: Option<bool>,
    row_names: Vec<String>,
    records: usize,
    cells: Vec<(u32, u32, f64)>,
}

pub(super) fn read_csv(path: &Path, mut records: Records) -> Result<Grid, TableError> {
    let mut record = ByteRecord::new();
    let Some(line) = records.next(&mut record)? else {
        return Err(TableError::whole(path, "empty, expected a confusion matrix"));
    };
    let mut reader = Reader::start(path, line, &record)?;
    while let Some(line) = records.next(&mut record)? {
        reader.row(line, &record)?;
    }
    reader.finish()
}

fn parse(bytes: &[u8]) -> Option<f64> {
    cell(bytes).ok()?.parse().ok()
}

impl<'a> Reader<'a> {
    fn start(path: &'a Path, line: u64, record: &ByteRecord) -> Result<Self, TableError> {
        let texts: Vec<String> = (1..)
            .zip(record.iter())
            .map(|(column, bytes)| {
                Ok(cell(bytes).map_err(|why| TableError::cell(path, line, column, why))?.to_owned())
            })
            .collect::<Result<_, _>>()?;
        let corner = parse(&record[0]).is_some();
        let other = texts.iter().skip(1).position(|text| text.parse::<f64>().is_err());
        let numbers = texts.iter().skip(1).any(|text| text.parse::<f64>().is_ok());
        let (first, named) = match (corner, other) {
            (true, None) => (First::Numbers, None),
            (true, Some(at)) if numbers => {
                let problem = format!("`{}` is not a number", short(&texts[at + 1]));
                return Err(TableError::cell(path, line, at + 2, problem));
            }
            (false, None) if texts.len() > 1 && !texts[0].is_empty() => (First::Either, Some(true)),
            _ => (First::Header, texts[0].is_empty().then_some(true)),
        };
        let columns = texts.len();
        let mut reader = Self {
            path,
            columns,
            first,
            first_line: line,
            header: texts,
            named,
            row_names: Vec::new(),
            records: 0,
            cells: Vec::new(),
        };
        match reader.first {
            First::Header => reader.records = 1,
            First::Numbers | First::Either => reader.row(line, record)?,
        }
        Ok(reader)
    }

    fn row(&mut self, line: u64, record: &ByteRecord) -> Result<(), TableError> {
        let path = self.path;
        if record.len() != self.columns {
            let problem =
                format!("found {} cells, expected {} as in the first line", record.len(), self.columns);
            return Err(TableError::line(path, line, problem));
        }
        if self.records > self.columns {
            let problem = format!("more rows than the {} columns, expected a square matrix", self.columns);
            return Err(TableError::line(path, line, problem));
        }
        // All rows are of one kind; the first one that holds data says which.
        let named = match self.first {
            First::Numbers if self.records == 0 => false,
            _ => *self.named.get_or_insert_with(|| parse(&record[0]).is_none()),
        };
        if named {
            let name = cell(&record[0]).map_err(|why| TableError::cell(path, line, 1, why))?;
            self.row_names.push(name.chars().take(1024).collect());
        }
        for (at, bytes) in record.iter().enumerate().skip(usize::from(named)) {
            let wrong = |problem: String| TableError::cell(path, line, at + 1, problem);
            let text = cell(bytes).map_err(|why| wrong(why.into()))?;
            let value: f64 = text.parse().map_err(|_| wrong(format!("`{}` is not a number", short(text))))?;
            // The first record may be names that look like numbers, negative ones too.
            if let Some(problem) = flaw(value).filter(|_| self.records > 0) {
                return Err(wrong(problem));
            }
            if value != 0.0 {
                self.cells.push((self.records as u32, (at - usize::from(named)) as u32, value));
            }
        }
        self.records += 1;
        if self.cells.len() > MOST_CELLS {
            let problem = format!("more than {MOST_CELLS} cells are not zero; give predictions instead");
            return Err(TableError::line(path, line, problem));
        }
        Ok(())
    }

    fn finish(mut self) -> Result<Grid, TableError> {
        let named = self.named.unwrap_or(false);
        let classes = self.columns - usize::from(named);
        let header = match self.first {
            First::Header => true,
            First::Numbers | First::Either => self.records == classes + 1,
        };
        let rows = self.records - usize::from(header);
        if rows != classes || classes == 0 {
            let problem = format!("found {rows} rows of {classes} numbers, expected a square matrix");
            return Err(TableError::whole(self.path, problem));
        }
        if header {
            self.cells.retain(|cell| cell.0 > 0);
            self.cells.iter_mut().for_each(|cell| cell.0 -= 1);
        } else if let Some((_, column, value)) =
            self.cells.iter().find(|cell| cell.0 == 0 && flaw(cell.2).is_some())
        {
            let column = *column as usize + 1 + usize::from(named);
            let problem = flaw(*value).unwrap_or_default();
            return Err(TableError::cell(self.path, self.first_line, column, problem));
        }
        let first_line = self.first_line + u64::from(header);
        let names = self.names(header, named, first_line)?;
        Ok(Grid { classes, names, cells: self.cells, first_line })
    }

    fn names(
        &mut self,
        header: bool,
        named: bool,
        first_line: u64,
    ) -> Result<Option<Vec<String>>, TableError> {
        let columns: Option<Vec<String>> = header.then(|| self.header.split_off(usize::from(named)));
        if header && matches!(self.first, First::Either) {
            self.row_names.remove(0);
        }
        let rows = named.then(|| std::mem::take(&mut self.row_names));
        if let (Some(columns), Some(rows)) = (&columns, &rows)
            && let Some(at) = (0..rows.len()).find(|&at| rows[at] != columns[at])
        {
            let problem = format!(
                "this row is `{}`, but column {} is `{}`; rows and columns need the same order",
                short(&rows[at]),
                at + 1,
                short(&columns[at])
            );
            return Err(TableError::line(self.path, first_line + at as u64, problem));
        }
        Ok(columns.or(rows))
    }
}

/// Decides what the numbers are and whom they belong to.
pub(super) fn interpret(
    path: &Path,
    grid: Grid,
    known: &KnownClasses,
    kind: Kind,
) -> Result<ConfusionTable, TableError> {
    let Grid { classes, names, cells, first_line } = grid;
    let mut sums = vec![0.0; classes];
    for &(row, _, value) in &cells {
        sums[row as usize] += value;
    }
    let fraction = cells.iter().find(|cell| cell.2.fract() != 0.0);
    let unit = |sum: &f64| *sum == 0.0 || (sum - 1.0).abs() <= ROUNDING;
    let rates = match kind {
        Kind::Rates => true,
        Kind::Counts => false,
        Kind::Guess => fraction.is_some() || (!cells.is_empty() && sums.iter().all(unit)),
    };
    let classes_of_file = class_names(path, classes, names, known)?;
    let line = |row: usize| first_line + row as u64;
    if !rates {
        if let Some(&(row, column, value)) = fraction {
            let problem = format!("{value} is not a whole number, expected counts");
            return Err(TableError::cell(path, line(row as usize), column + 1, problem));
        }
        if sums.iter().sum::<f64>() > LARGEST {
            return Err(TableError::whole(path, "more than 2^53 images, which no count can hold"));
        }
        let cells = cells
            .into_iter()
            .map(|(label, prediction, value)| SparseCell { label, prediction, count: value as u64 })
            .collect();
        return Ok(ConfusionTable {
            classes: classes_of_file,
            cells: Cells::Counts(SparseMatrix::new(classes, cells)),
        });
    }
    if let Some(row) = sums.iter().position(|sum| !unit(sum)) {
        let problem = format!(
            "the row sums to {}; expected rates, which sum to 1, or counts, which are whole numbers",
            sums[row]
        );
        return Err(TableError::line(path, line(row), problem));
    }
    if classes > MOST_OF_RATES {
        let problem =
            format!("rates of {classes} classes, at most {MOST_OF_RATES}; give counts, which may be sparse");
        return Err(TableError::whole(path, problem));
    }
    let mut dense = vec![0.0; classes * classes];
    for (row, column, value) in cells {
        dense[row as usize * classes + column as usize] = value;
    }
    Ok(ConfusionTable { classes: classes_of_file, cells: Cells::Rates(dense) })
}

fn class_names(
    path: &Path,
    classes: usize,
    found: Option<Vec<String>>,
    known: &KnownClasses,
) -> Result<Vec<String>, TableError> {
    let indices = || (0..classes).map(|class| class.to_string()).collect();
    let expected = match known {
        KnownClasses::Unknown => None,
        KnownClasses::Number(number) => Some((*number, None)),
        KnownClasses::Named(names) => Some((names.len(), Some(names))),
    };
    if let Some((number, _)) = expected.filter(|(number, _)| *number != classes) {
        return Err(TableError::whole(path, format!("a matrix of {classes} classes, expected {number}")));
    }
    if let Some(found) = &found {
        all_different(found).map_err(|problem| TableError::whole(path, problem))?;
    }
    match (expected.and_then(|(_, names)| names), found) {
        (Some(known), Some(found)) => match (0..classes).find(|&class| known[class] != found[class]) {
            Some(class) => {
                let problem = format!(
                    "class {class} is called `{}`, expected `{}`",
                    short(&found[class]),
                    short(&known[class])
                );
                Err(TableError::whole(path, problem))
            }
            None => Ok(found),
        },
        (Some(known), None) => Ok(known.clone()),
        (None, found) => Ok(found.unwrap_or_else(indices)),
    }
}

#[cfg(test)]
mod tests;
