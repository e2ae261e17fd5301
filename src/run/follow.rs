//! Reading a log while somebody writes it.

use std::fs::File;
use std::io::{ErrorKind, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use super::{Event, RunError};

/// Most bytes of a log that are held at once, and so the longest line. The longest there is has the names of the
/// classes: 2 MB for 100,000 names of 20 bytes.
const PORTION: u64 = 16 << 20;

/// Reads the events of a log as they come. It never writes and takes no lock, so it disturbs nobody, and needs
/// nothing but the file, which may be a copy.
#[derive(Debug)]
pub struct EventFollower {
    path: PathBuf,
    /// Bytes that were read: whole lines, and what was passed over of one that is too long.
    read: u64,
    /// Whether the rest of a line that is too long comes next.
    within: bool,
    /// Most bytes of one look.
    portion: u64,
}

/// What came since the last look.
#[derive(Debug, Default)]
pub struct News {
    /// Whole lines, in order.
    pub events: Vec<Event>,
    /// Whole lines that are no events. They are passed over.
    pub damaged: usize,
    /// Whether the file is shorter than what was read, so that another one has taken its place and `events` begins
    /// with its first line.
    pub restarted: bool,
    /// Whether there is more to be read at once, which was left so that nobody has to hold a whole log.
    pub more: bool,
}

impl EventFollower {
    /// From the beginning of a log, which need not exist yet.
    pub fn new(path: &Path) -> Self {
        Self { path: path.to_owned(), read: 0, within: false, portion: PORTION }
    }

    /// What was written since the last call, as much as is held at once: 16 MiB. A last line without its end is left
    /// for the next call, or for nobody, where its writer was killed. A line that is longer than what is held is
    /// damaged.
    ///
    /// # Errors
    /// When the file is there and cannot be read.
    pub fn news(&mut self) -> Result<News, RunError> {
        let mut news = News::default();
        let mut file = match File::open(&self.path) {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(news),
            found => found.map_err(RunError::reading(&self.path))?,
        };
        let mut bytes = Vec::new();
        let mut read = || -> std::io::Result<()> {
            if file.metadata()?.len() < self.read {
                news.restarted = true;
                (self.read, self.within) = (0, false);
            }
            file.seek(SeekFrom::Start(self.read))?;
            (&mut file).take(self.portion).read_to_end(&mut bytes).map(|_| ())
        };
        read().map_err(RunError::reading(&self.path))?;
        news.more = bytes.len() as u64 == self.portion;
        let whole = super::events::whole_lines(&bytes);
        if whole.is_empty() && news.more {
            news.damaged = usize::from(!self.within);
            self.within = true;
            self.read += self.portion;
        }
        for line in whole.split_inclusive(|byte| *byte == b'\n') {
            self.read += line.len() as u64;
            if std::mem::take(&mut self.within) {
                continue;
            }
            match serde_json::from_slice(line) {
                Ok(event) => news.events.push(event),
                Err(_) => news.damaged += 1,
            }
        }
        Ok(news)
    }
}

#[cfg(test)]
mod tests {
    use super::super::EventLog;
    use super::*;
    use std::fs;

    fn kinds(news: &News) -> Vec<&str> {
        news.events.iter().map(|event| event.kind.as_str()).collect()
    }

    #[test]
    fn events_come_once_and_a_cut_line_when_it_is_whole() {
        let directory = tempfile::tempdir().expect("temporary directory");
        let path = directory.path().join("events.jsonl");
        let mut follower = EventFollower::new(&path);
        assert!(follower.news().expect("no file is no error").events.is_empty());
        let mut log = EventLog::open(&path).expect("new log");
        log.append("a", &1).expect("appended");
        assert_eq!(kinds(&follower.news().expect("readable")), ["a"]);
        let before = fs::read_to_string(&path).expect("readable");
        fs::write(&path, format!("{before}{{\"time\":1.0,\"ki")).expect("written");
        assert!(follower.news().expect("readable").events.is_empty());
        // The next writer cuts the line off and goes on.
        EventLog::open(&path).expect("old log").append("b", &2).expect("appended");
        let news = follower.news().expect("readable");
        assert_eq!((kinds(&news), news.restarted, news.damaged), (vec!["b"], false, 0));
    }

    #[test]
    fn damaged_lines_are_counted_and_another_file_is_read_from_its_start() {
        let directory = tempfile::tempdir().expect("temporary directory");
        let path = directory.path().join("events.jsonl");
        let line = "{\"time\":0.0,\"kind\":\"a\",\"data\":null}\n";
        fs::write(&path, format!("{line}nonsense\n\u{0}\n{line}")).expect("written");
        let mut follower = EventFollower::new(&path);
        let news = follower.news().expect("readable");
        assert_eq!((kinds(&news), news.damaged, news.restarted), (vec!["a", "a"], 2, false));
        fs::write(&path, line).expect("written");
        let news = follower.news().expect("readable");
        assert_eq!((kinds(&news), news.damaged, news.restarted), (vec!["a"], 0, true));
    }

    #[test]
    fn a_large_log_comes_in_portions_and_a_line_without_an_end_is_passed_over() {
        let directory = tempfile::tempdir().expect("temporary directory");
        let path = directory.path().join("events.jsonl");
        let line = |kind: &str| format!("{{\"time\":0.0,\"kind\":\"{kind}\",\"data\":null}}\n");
        let endless = "x".repeat(1000);
        fs::write(&path, [&line("a"), &line("b"), &line("c"), &endless].map(String::as_str).concat())
            .expect("written");
        let mut follower = EventFollower { portion: 100, ..EventFollower::new(&path) };
        let all = |follower: &mut EventFollower| {
            let (mut found, mut damaged) = (Vec::new(), 0);
            loop {
                let news = follower.news().expect("readable");
                assert!(news.events.len() <= 2, "two lines are 80 bytes");
                found.extend(news.events.into_iter().map(|event| event.kind));
                damaged += news.damaged;
                if !news.more {
                    return (found.concat(), damaged);
                }
            }
        };
        assert_eq!(all(&mut follower), ("abc".to_owned(), 1));
        let mut file = File::options().append(true).open(&path).expect("log");
        std::io::Write::write_all(&mut file, format!("xx\n{}", line("d")).as_bytes()).expect("written");
        assert_eq!(all(&mut follower), ("d".to_owned(), 0));
        // The next writer cuts such a line off: it never had an end.
        fs::write(&path, [&line("a"), &endless].map(String::as_str).concat()).expect("written");
        assert_eq!(all(&mut follower), ("a".to_owned(), 1));
        EventLog::open(&path).expect("old log").append("b", &2).expect("appended");
        assert_eq!(all(&mut follower), ("ab".to_owned(), 0), "from the start again");
    }

    #[test]
    fn a_directory_in_its_place_is_an_error() {
        let directory = tempfile::tempdir().expect("temporary directory");
        assert!(EventFollower::new(directory.path()).news().is_err());
    }
}
