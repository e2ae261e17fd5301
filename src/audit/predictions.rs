//! One row for each image, attack and target: the seam between attacking and reporting.
//!
//! `predictions.csv.gz` is CSV in gzip and can be read by anything that reads those. Each block of rows is
//! a gzip member of its own, on the disk before the next one is begun; gzip readers take members one
//! after another as one text. A killed writer leaves at most one incomplete member at the end, which is
//! cut off when the file is opened again.

use std::fs::File;
use std::io::{self, BufRead, BufReader, ErrorKind, Read, Seek};
use std::path::{Path, PathBuf};

use flate2::Compression;
use flate2::bufread::{GzDecoder, MultiGzDecoder};
use flate2::write::GzEncoder;
use serde::{Deserialize, Serialize};

use super::AuditError;
use crate::run::{GrowingFile, RunError};

/// What the column `attack` says in the rows of unchanged pictures.
pub const CLEAN: &str = "clean";

/// What became of one image under one attack with one target.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Row {
    /// Name of the image, such as its path inside the data set.
    pub image: String,
    /// Its class.
    pub label: usize,
    /// Name of the attack, or [`CLEAN`].
    pub attack: String,
    /// Target of a targeted attack, empty otherwise.
    pub target: Option<usize>,
    /// Prediction for the unchanged picture. An image that is misclassified unchanged is attacked
    /// with a target like any other, so both denominators, all images and the correctly classified ones,
    /// can be had from the rows.
    pub clean_prediction: usize,
    /// Prediction for the adversarial picture (for the unchanged one in a clean row).
    pub prediction: usize,
    /// Targeted: prediction is the target. Untargeted: prediction is not the label. Clean: false.
    pub success: bool,
    /// Logit of the label minus the largest other logit, of the same picture as `prediction`.
    pub margin: f32,
    /// Largest change of any channel of any pixel, in units of pixels in `[0, 1]`.
    pub linf: f32,
    /// Euclidean length of the change, in the same units.
    pub l2: f32,
    /// Share of the pixels that changed in any channel, in `[0, 1]`.
    pub changed: f32,
    /// Of an attack that is made of several, the first part that had success; empty otherwise.
    #[serde(default)]
    pub part: Option<String>,
}

impl Row {
    /// Whether its attack came to what it was meant for, by its prediction.
    fn reached(&self) -> bool {
        match self.target {
            Some(target) => self.prediction == target,
            None => self.attack != CLEAN && self.prediction != self.label,
        }
    }

    /// What is wrong with a row that somebody else may have written.
    fn flaw(&self) -> Option<String> {
        let reached = self.reached();
        let Self { image, attack, success, prediction, label, .. } = self;
        if *success != reached {
            Some(format!(
                "image {image} under attack {attack:?} is said to have success {success}, \
                 but its prediction is {prediction}"
            ))
        } else if self.part.is_some() && !success {
            Some(format!("image {image} stands, but a part of attack {attack:?} is said to have turned it"))
        } else if self.target == Some(*label) {
            Some(format!("image {image} has its own class {label} as target of attack {attack:?}"))
        } else {
            None
        }
    }

    /// A row without a flaw, of a picture that is recognised unchanged and that nothing changed.
    #[cfg(test)]
    pub(crate) fn plain(
        image: &str,
        label: usize,
        attack: &str,
        target: Option<usize>,
        prediction: usize,
    ) -> Self {
        let row = Self {
            image: image.to_owned(),
            label,
            attack: attack.to_owned(),
            target,
            clean_prediction: label,
            prediction,
            success: false,
            margin: 0.0,
            linf: 0.0,
            l2: 0.0,
            changed: 0.0,
            part: None,
        };
        Self { success: row.reached(), ..row }
    }
}

/// The writer of a file of rows.
#[derive(Debug)]
pub struct PredictionLog(GrowingFile);

impl PredictionLog {
    /// Opens or makes a file. An incomplete last block is cut off.
    ///
    /// # Errors
    /// When the file cannot be read or written, or is damaged otherwise.
    pub fn open(path: &Path) -> Result<Self, AuditError> {
        GrowingFile::open(path, |file| whole_members(file, path)).map(Self)
    }

    /// Appends a block of rows. It is on the disk when this returns; after an error the file holds what
    /// it held before.
    ///
    /// # Errors
    /// [`RunError::Write`].
    pub fn append(&mut self, rows: &[Row]) -> Result<(), RunError> {
        if rows.is_empty() {
            return Ok(());
        }
        let block = member(rows, self.0.is_empty()).map_err(RunError::writing(self.path()))?;
        self.0.append_to_disk(&block)
    }

    /// The file.
    pub fn path(&self) -> &Path {
        self.0.path()
    }
}

/// Rows as one gzip member.
pub(super) fn member(rows: &[Row], header: bool) -> io::Result<Vec<u8>> {
    let encoder = GzEncoder::new(Vec::new(), Compression::default());
    let mut csv = csv::WriterBuilder::new().has_headers(header).from_writer(encoder);
    for row in rows {
        csv.serialize(row)?;
    }
    csv.into_inner().map_err(csv::IntoInnerError::into_error)?.finish()
}

/// The rows of a file, one after another. An incomplete last block is left out.
///
/// # Errors
/// When the file cannot be read or is damaged; each row may be an error too.
pub fn read_rows(path: &Path) -> Result<Rows, AuditError> {
    let file = File::open(path).map_err(RunError::reading(path))?;
    let whole = whole_members(&file, path)?;
    let mut input = BufReader::new(file);
    input.rewind().map_err(RunError::reading(path))?;
    // A decoder takes a file without a member for an incomplete one.
    let text: Box<dyn Read> =
        if whole == 0 { Box::new(io::empty()) } else { Box::new(MultiGzDecoder::new(input.take(whole))) };
    Ok(Rows { path: path.to_owned(), records: csv::Reader::from_reader(text).into_deserialize() })
}

/// Iterator over the rows of a file.
pub struct Rows {
    path: PathBuf,
    records: csv::DeserializeRecordsIntoIter<Box<dyn Read>, Row>,
}

impl Iterator for Rows {
    type Item = Result<Row, AuditError>;

    fn next(&mut self) -> Option<Self::Item> {
        let cause = match self.records.next()? {
            Err(error) => error.to_string(),
            Ok(row) => match row.flaw() {
                None => return Some(Ok(row)),
                Some(flaw) => flaw,
            },
        };
        Some(Err(AuditError::Row { path: self.path.clone(), cause }))
    }
}

/// Number of bytes up to the end of the last whole gzip member.
fn whole_members(file: &File, path: &Path) -> Result<u64, AuditError> {
    let mut input = BufReader::new(file);
    let mut whole = 0;
    while !input.fill_buf().map_err(RunError::reading(path))?.is_empty() {
        let mut decoder = GzDecoder::new(input);
        match io::copy(&mut decoder, &mut io::sink()) {
            Ok(_) => input = decoder.into_inner(),
            Err(error) if error.kind() == ErrorKind::UnexpectedEof => break,
            Err(error) => {
                return Err(AuditError::Damaged { path: path.to_owned(), whole, cause: error.to_string() });
            }
        }
        whole = input.stream_position().map_err(RunError::reading(path))?;
    }
    Ok(whole)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn row(image: &str, target: Option<usize>) -> Row {
        let plain = Row::plain(image, 0, "pgd", target, 2);
        Row { margin: -0.1, linf: 8.0 / 255.0, l2: 1.5e-7, changed: 1.0, ..plain }
    }

    fn read(path: &Path) -> Vec<Row> {
        read_rows(path).expect("readable").map(|row| row.expect("a row")).collect()
    }

    #[test]
    fn blocks_read_as_one_csv_with_one_header() {
        let directory = tempfile::tempdir().expect("temporary directory");
        let path = directory.path().join("predictions.csv.gz");
        PredictionLog::open(&path).expect("new").append(&[row("a, \"b\".png", None)]).expect("written");
        PredictionLog::open(&path).expect("old").append(&[row("c.png", Some(1))]).expect("written");
        let mut text = String::new();
        let mut decoder = MultiGzDecoder::new(BufReader::new(File::open(&path).expect("file")));
        decoder.read_to_string(&mut text).expect("gzip");
        insta::assert_snapshot!(text, @r#"
        image,label,attack,target,clean_prediction,prediction,success,margin,linf,l2,changed,part
        "a, ""b"".png",0,pgd,,0,2,true,-0.1,0.03137255,1.5e-7,1.0,
        c.png,0,pgd,1,0,2,false,-0.1,0.03137255,1.5e-7,1.0,
        "#);
    }

    #[test]
    fn a_file_cut_at_any_byte_keeps_its_whole_blocks_and_goes_on() {
        let directory = tempfile::tempdir().expect("temporary directory");
        let path = directory.path().join("predictions.csv.gz");
        let rows: Vec<Row> = ["a", "b", "c", "d"].map(|name| row(name, Some(1))).to_vec();
        let mut log = PredictionLog::open(&path).expect("new");
        let mut ends = vec![0];
        for block in rows.chunks(2) {
            log.append(block).expect("written");
            ends.push(std::fs::metadata(&path).expect("metadata").len() as usize);
        }
        let whole = std::fs::read(&path).expect("readable");
        for length in 0..=whole.len() {
            std::fs::write(&path, &whole[..length]).expect("written");
            let blocks = ends.iter().filter(|end| **end <= length).count() - 1;
            assert_eq!(read(&path), rows[..2 * blocks], "while it is cut at {length}");
            let mut log = PredictionLog::open(&path).expect("repaired");
            log.append(&rows[2 * blocks..]).expect("written");
            assert_eq!(read(&path), rows, "after the cut at {length}");
        }
    }

    #[test]
    fn a_damaged_file_is_an_error_that_says_where() {
        let directory = tempfile::tempdir().expect("temporary directory");
        let path = directory.path().join("predictions.csv.gz");
        PredictionLog::open(&path).expect("new").append(&[row("a", None)]).expect("written");
        let mut bytes = std::fs::read(&path).expect("readable");
        let whole = bytes.len();
        bytes.extend([0; 64]);
        std::fs::write(&path, &bytes).expect("written");
        let error = PredictionLog::open(&path).expect_err("damaged").to_string();
        assert!(error.contains(&format!("truncate -s {whole})")), "{error}");
        assert_eq!(std::fs::read(&path).expect("readable"), bytes, "a damaged file is not touched");
    }

    #[test]
    fn a_row_that_contradicts_itself_is_an_error() {
        let directory = tempfile::tempdir().expect("temporary directory");
        let path = directory.path().join("predictions.csv.gz");
        let rows = [
            Row { success: true, ..row("a.png", Some(1)) },
            Row { success: false, ..row("a.png", None) },
            Row { attack: CLEAN.to_owned(), ..row("a.png", None) },
            row("a.png", Some(0)),
            Row { part: Some("square".to_owned()), ..row("a.png", Some(1)) },
        ];
        let mut log = PredictionLog::open(&path).expect("new");
        log.append(&rows).expect("written");
        for row in read_rows(log.path()).expect("readable") {
            let error = row.expect_err("a contradiction").to_string();
            assert!(error.contains("image a.png"), "{error}");
        }
    }

    #[test]
    fn an_empty_file_has_no_rows_and_a_missing_one_is_an_error() {
        let directory = tempfile::tempdir().expect("temporary directory");
        let path = directory.path().join("predictions.csv.gz");
        assert!(read_rows(&path).is_err());
        PredictionLog::open(&path).expect("new").append(&[]).expect("nothing to write");
        assert!(read(&path).is_empty());
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(50))]
        #[test]
        fn rows_come_back_exactly(
            image in "\\PC{1,12}",
            margin in prop::num::f32::NORMAL | prop::num::f32::SUBNORMAL | prop::num::f32::ZERO,
            l2 in 0.0..300.0_f32,
            target in prop::option::of(1..9_usize)
        ) {
            let directory = tempfile::tempdir().expect("temporary directory");
            let path = directory.path().join("predictions.csv.gz");
            let part = target.filter(|target| *target == 2).map(|_| "apgd-ce".to_owned());
            let rows = [Row { margin, l2, part, ..row(&image, target) }];
            PredictionLog::open(&path).expect("new").append(&rows).expect("written");
            prop_assert_eq!(read(&path), rows);
        }
    }
}
