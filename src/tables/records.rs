//! Records of a CSV file, gzipped or not, with a bound on the length of each.

use std::cell::Cell;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::rc::Rc;

use csv::ByteRecord;
use flate2::bufread::MultiGzDecoder;

use super::TableError;

/// Bytes that are read at once.
const BLOCK: usize = 1 << 16;

/// The records of one file, one after another.
pub(super) struct Records {
    path: PathBuf,
    reader: csv::Reader<Bounded>,
    left: Rc<Cell<usize>>,
    longest: usize,
}

/// Hands out so many bytes and then refuses: a parser that waits for the end of a line, or for a closing
/// quotation mark, would otherwise read all the rest of a file into memory.
struct Bounded {
    input: Box<dyn Read>,
    left: Rc<Cell<usize>>,
}

impl Read for Bounded {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let Some(left) = self.left.get().checked_sub(buffer.len().min(BLOCK)) else {
            return Err(io::Error::other(TooLong));
        };
        self.left.set(left);
        let most = buffer.len().min(BLOCK);
        self.input.read(&mut buffer[..most])
    }
}

#[derive(Debug, thiserror::Error)]
#[error("a record is too long")]
struct TooLong;

impl Records {
    /// Opens a file. Gzip is recognised by its first bytes, the separator (comma, semicolon or tab) by
    /// the first line. No record may have more than about `longest` bytes.
    pub fn open(path: &Path, longest: usize) -> Result<Self, TableError> {
        let file = File::open(path).map_err(|cause| TableError::read(path, cause))?;
        Self::new(path, Box::new(file), longest)
    }

    /// From bytes; the path is for messages.
    pub fn new(path: &Path, input: Box<dyn Read>, longest: usize) -> Result<Self, TableError> {
        let wrong = |cause| TableError::read(path, cause);
        let mut input = BufReader::with_capacity(BLOCK, input);
        let zipped = input.fill_buf().map_err(wrong)?.starts_with(&[0x1f, 0x8b]);
        let mut text: BufReader<Box<dyn Read>> = if zipped {
            BufReader::with_capacity(BLOCK, Box::new(MultiGzDecoder::new(input)))
        } else {
            BufReader::with_capacity(BLOCK, Box::new(input))
        };
        let separator = separator(text.fill_buf().map_err(wrong)?);
        let left = Rc::new(Cell::new(0));
        let bounded = Bounded { input: Box::new(text), left: Rc::clone(&left) };
        let reader = csv::ReaderBuilder::new()
            .has_headers(false)
            .flexible(true)
            .delimiter(separator)
            // The parser's own idea of a line counts \r\n only when the next line is read.
            .terminator(csv::Terminator::Any(b'\n'))
            .buffer_capacity(BLOCK)
            .from_reader(bounded);
        Ok(Self { path: path.to_owned(), reader, left, longest })
    }

    /// Reads the next record and returns its line; `None` at the end. Cells may have spaces around them,
    /// the last one a carriage return too.
    pub fn next(&mut self, record: &mut ByteRecord) -> Result<Option<u64>, TableError> {
        loop {
            self.left.set(self.longest + BLOCK);
            let before = self.reader.position().line();
            match self.reader.read_byte_record(record) {
                Ok(false) => return Ok(None),
                Ok(true) if record.len() == 1 && record[0].trim_ascii().is_empty() => {}
                Ok(true) => return Ok(Some(record.position().map_or(before, csv::Position::line))),
                Err(error) => return Err(self.explain(before, error)),
            }
        }
    }

    fn explain(&self, line: u64, error: csv::Error) -> TableError {
        match error.into_kind() {
            csv::ErrorKind::Io(cause)
                if cause.get_ref().is_some_and(<dyn std::error::Error + Send + Sync>::is::<TooLong>) =>
            {
                let most = self.longest >> 10;
                TableError::line(
                    &self.path,
                    line,
                    format!(
                        "a record of more than {most} KiB; is it a CSV file, and is every quotation mark closed?"
                    ),
                )
            }
            csv::ErrorKind::Io(cause) if cause.kind() == io::ErrorKind::UnexpectedEof => TableError::line(
                &self.path,
                line,
                "the compressed data ends here, in the middle: the file was cut off; fetch or write it again",
            ),
            csv::ErrorKind::Io(cause) => TableError::read(&self.path, cause),
            other => TableError::line(&self.path, line, format!("{other:?}")),
        }
    }
}

fn separator(start: &[u8]) -> u8 {
    let line = start.split(|byte| *byte == b'\n').next().unwrap_or_default();
    [b',', b';', b'\t'].into_iter().find(|separator| line.contains(separator)).unwrap_or(b',')
}

/// A cell as text without the spaces around it.
pub(super) fn cell(bytes: &[u8]) -> Result<&str, &'static str> {
    std::str::from_utf8(bytes).map(str::trim).map_err(|_| "not valid UTF-8; save the file as UTF-8")
}

/// A number of a column with its name, for messages.
pub(super) fn column(at: usize, name: &str) -> String {
    format!("{} (`{name}`)", at + 1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tables::damage::gzipped;

    fn all(bytes: Vec<u8>) -> Result<Vec<(u64, Vec<String>)>, TableError> {
        let mut records = Records::new(Path::new("a.csv"), Box::new(io::Cursor::new(bytes)), 1 << 16)?;
        let (mut record, mut found) = (ByteRecord::new(), Vec::new());
        while let Some(line) = records.next(&mut record)? {
            let cells = record.iter().map(|bytes| cell(bytes).expect("UTF-8").to_owned()).collect();
            found.push((line, cells));
        }
        Ok(found)
    }

    #[test]
    fn plain_and_gzipped_with_any_separator() {
        for text in ["a,b\n\"x,y\",2\n", "a;b\n\"x,y\";2\n", "a\tb\nx,y\t2\n", "\u{feff}a,b\r\n\"x,y\",2"] {
            for bytes in [text.as_bytes().to_vec(), gzipped(text.as_bytes())] {
                let found = all(bytes).expect("readable");
                assert_eq!(found[0].1, ["a", "b"]);
                assert_eq!(found[1], (2, vec!["x,y".to_owned(), "2".to_owned()]));
            }
        }
    }

    #[test]
    fn a_line_without_an_end_is_refused_at_its_bound() {
        for text in ["x".repeat(1 << 20), format!("a,b\n\"{}", "y\n".repeat(1 << 19))] {
            let error = all(text.into_bytes()).expect_err("too long").to_string();
            assert!(error.contains("more than 64 KiB") && error.contains("line"), "{error}");
        }
        let endless = Records::new(Path::new("a"), Box::new(io::repeat(b'z')), 1 << 16);
        assert!(endless.and_then(|mut records| records.next(&mut ByteRecord::new())).is_err());
    }

    #[test]
    fn a_cut_gzip_file_says_so_with_the_line() {
        let text: Vec<String> = (0..20_000_u64).map(|n| format!("{},{}\n", n, n * n % 7919)).collect();
        let whole = gzipped(text.concat().as_bytes());
        let error = all(whole[..whole.len() / 2].to_vec()).expect_err("cut").to_string();
        assert!(error.contains("cut off") && error.contains("a.csv, line"), "{error}");
    }
}
