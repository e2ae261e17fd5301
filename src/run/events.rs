//! The event log: what happened when, one JSON object a line, only ever appended to.
//!
//! A line is `{"time":1767225600.25,"kind":"epoch","data":{...}}`; `time` is in seconds since the
//! beginning of 1970 (UTC). Training and audits write the same log, so that whoever watches a run needs
//! to know one format.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};

use super::{GrowingFile, RunError};

/// So many bytes at the end of a log are looked at at once.
const BLOCK: u64 = 64 << 10;

/// One line of the log.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Event<T = serde_json::Value> {
    /// Seconds since the beginning of 1970 (UTC).
    pub time: f64,
    /// What happened, such as `epoch` or `audit_batch`.
    pub kind: String,
    /// What there is to say about it.
    pub data: T,
}

/// The writer. A line reaches the operating system before `append` returns, so that a killed process
/// loses none; only a power failure can.
pub struct EventLog {
    file: GrowingFile,
    /// Who else gets the lines.
    copy: Option<Box<dyn Write + Send>>,
}

impl EventLog {
    /// Opens or makes a log. A last line that a killed writer left incomplete is cut off.
    ///
    /// # Errors
    /// When the file cannot be read or written.
    pub fn open(path: &Path) -> Result<Self, RunError> {
        let whole = |file: &mut File| end_of_lines(file).map_err(RunError::reading(path));
        Ok(Self { file: GrowingFile::open(path, whole)?, copy: None })
    }

    /// Gives a copy of each line that is appended from now on to somebody else as well. When that fails, because
    /// nobody reads any more, the log goes on without.
    #[must_use]
    pub fn with_copy(self, copy: Box<dyn Write + Send>) -> Self {
        Self { copy: Some(copy), ..self }
    }

    /// Appends one event with the present time.
    ///
    /// # Errors
    /// When `data` has no form in JSON (a map with keys that are not text), or the file cannot be
    /// written. The log holds whole lines in either case.
    pub fn append(&mut self, kind: &str, data: &impl Serialize) -> Result<(), RunError> {
        // A clock before 1970 is no reason to lose an event.
        let time = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0.0, |since| since.as_secs_f64());
        let event = Event { time, kind: kind.to_owned(), data };
        let mut line = serde_json::to_vec(&event)
            .map_err(|error| RunError::Event { kind: kind.to_owned(), cause: error.to_string() })?;
        line.push(b'\n');
        self.file.append(&line)?;
        if let Some(copy) = &mut self.copy
            && copy.write_all(&line).and_then(|()| copy.flush()).is_err()
        {
            self.copy = None;
        }
        Ok(())
    }

    /// One to which nothing can be written.
    #[cfg(test)]
    pub(crate) fn that_fails(path: &Path) -> Self {
        Self { file: GrowingFile::that_fails(path), copy: None }
    }
}

/// The events of a log, one after another. A last line that is still being written is left out.
///
/// # Errors
/// When the file cannot be read; each event may be an error too, where a whole line is none.
pub fn read_events(path: &Path) -> Result<Events, RunError> {
    let file = File::open(path).map_err(RunError::reading(path))?;
    Ok(Events { path: path.to_owned(), input: BufReader::new(file), line: Vec::new(), number: 0 })
}

/// Iterator over the events of a log.
pub struct Events {
    path: PathBuf,
    input: BufReader<File>,
    line: Vec<u8>,
    /// Lines that were read.
    number: usize,
}

impl Iterator for Events {
    type Item = Result<Event, RunError>;

    fn next(&mut self) -> Option<Self::Item> {
        self.line.clear();
        if let Err(error) = self.input.read_until(b'\n', &mut self.line) {
            return Some(Err(RunError::reading(&self.path)(error)));
        }
        if self.line.last() != Some(&b'\n') {
            return None;
        }
        self.number += 1;
        let event = serde_json::from_slice(&self.line);
        Some(event.map_err(|error| RunError::Line {
            path: self.path.clone(),
            line: self.number,
            cause: error.to_string(),
        }))
    }
}

/// Number of bytes up to the end of the last whole line.
fn end_of_lines(file: &mut File) -> io::Result<u64> {
    let mut end = file.seek(SeekFrom::End(0))?;
    let mut block = Vec::new();
    while end > 0 {
        let start = end.saturating_sub(BLOCK);
        file.seek(SeekFrom::Start(start))?;
        block.clear();
        Read::by_ref(file).take(end - start).read_to_end(&mut block)?;
        match whole_lines(&block).len() {
            0 => end = start,
            whole => return Ok(start + whole as u64),
        }
    }
    Ok(0)
}

/// Everything up to the last newline.
pub(super) fn whole_lines(bytes: &[u8]) -> &[u8] {
    let end = bytes.iter().rposition(|byte| *byte == b'\n').map_or(0, |position| position + 1);
    &bytes[..end]
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn all(path: &Path) -> Result<Vec<Event>, RunError> {
        read_events(path)?.collect()
    }

    fn kinds(path: &Path) -> Vec<String> {
        all(path).expect("readable").into_iter().map(|event| event.kind).collect()
    }

    #[test]
    fn events_come_back_with_their_data_and_in_order() {
        let directory = tempfile::tempdir().expect("temporary directory");
        let path = directory.path().join("events.jsonl");
        let mut log = EventLog::open(&path).expect("new log");
        log.append("start", &json!({"note": "a\nb"})).expect("appended");
        drop(log);
        let mut log = EventLog::open(&path).expect("old log");
        log.append("epoch", &json!({"loss": 0.5})).expect("appended");
        let events = all(&path).expect("readable");
        assert_eq!(events[0].data, json!({"note": "a\nb"}));
        assert_eq!((events[1].kind.as_str(), &events[1].data["loss"]), ("epoch", &json!(0.5)));
        assert!(events[0].time > 1.7e9 && events[1].time >= events[0].time);
    }

    #[test]
    fn a_log_cut_at_any_byte_keeps_its_whole_lines_and_goes_on() {
        let directory = tempfile::tempdir().expect("temporary directory");
        let path = directory.path().join("events.jsonl");
        let mut log = EventLog::open(&path).expect("new log");
        for kind in ["a", "b", "c"] {
            log.append(kind, &"é").expect("appended");
        }
        let whole = std::fs::read(&path).expect("readable");
        for length in 0..=whole.len() {
            std::fs::write(&path, &whole[..length]).expect("written");
            let left = whole[..length].split(|byte| *byte == b'\n').count() - 1;
            assert_eq!(kinds(&path), ["a", "b", "c"][..left], "while it is cut at {length}");
            EventLog::open(&path).expect("repaired").append("d", &()).expect("appended");
            let expected: Vec<&str> = ["a", "b", "c"][..left].iter().copied().chain(["d"]).collect();
            assert_eq!(kinds(&path), expected, "after the cut at {length}");
        }
    }

    #[test]
    fn a_long_line_that_was_cut_goes_and_the_lines_before_it_stay() {
        let directory = tempfile::tempdir().expect("temporary directory");
        let path = directory.path().join("events.jsonl");
        let long = "x".repeat(BLOCK as usize * 2);
        EventLog::open(&path).expect("new log").append("a", &long).expect("appended");
        let whole = std::fs::read(&path).expect("readable");
        for more in [1, BLOCK as usize - 1, BLOCK as usize, BLOCK as usize + 1, long.len()] {
            std::fs::write(&path, [&whole, &long.as_bytes()[..more]].concat()).expect("written");
            assert_eq!(kinds(&path), ["a"], "with {more} bytes of the next line");
            drop(EventLog::open(&path).expect("repaired"));
            assert!(std::fs::read(&path).expect("readable") == whole, "{more} bytes are cut off");
        }
    }

    #[test]
    fn a_copy_has_the_same_lines_until_nobody_reads_it() {
        let directory = tempfile::tempdir().expect("temporary directory");
        let path = directory.path().join("events.jsonl");
        let (mut reader, writer) = std::io::pipe().expect("a pipe");
        let mut log = EventLog::open(&path).expect("new log").with_copy(Box::new(writer));
        log.append("a", &1).expect("appended");
        let mut copied = vec![0; std::fs::metadata(&path).expect("a file").len() as usize];
        reader.read_exact(&mut copied).expect("a copy");
        assert_eq!(copied, std::fs::read(&path).expect("readable"));
        drop(reader);
        log.append("b", &2).expect("appended");
        assert_eq!(kinds(&path), ["a", "b"]);
    }

    #[test]
    fn a_damaged_line_is_named() {
        let directory = tempfile::tempdir().expect("temporary directory");
        let path = directory.path().join("events.jsonl");
        std::fs::write(&path, "{\"time\":0.0,\"kind\":\"a\",\"data\":1}\nnonsense\n").expect("written");
        let error = all(&path).expect_err("damaged").to_string();
        assert!(error.contains("events.jsonl, line 2: "), "{error}");
    }

    #[test]
    fn data_without_a_form_in_json_is_an_error_and_writes_nothing() {
        let directory = tempfile::tempdir().expect("temporary directory");
        let path = directory.path().join("events.jsonl");
        let mut log = EventLog::open(&path).expect("new log");
        let data = std::collections::BTreeMap::from([((1, 2), 3)]);
        assert!(log.append("pairs", &data).expect_err("no JSON").to_string().contains("\"pairs\""));
        log.append("after", &()).expect("appended");
        assert_eq!(kinds(&path), ["after"]);
    }
}
