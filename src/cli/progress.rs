//! Progress: a bar on a terminal, a line every ten seconds elsewhere.

use std::io::IsTerminal;
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};

const LINE_EVERY: Duration = Duration::from_secs(10);

/// A progress display on standard error.
pub(super) struct Progress {
    bar: Option<ProgressBar>,
    name: String,
    total: u64,
    done: u64,
    /// What was done before this sitting, so that speed and time left are those of this one.
    start: u64,
    started: Instant,
    printed: Instant,
}

impl Progress {
    /// A display for `total` steps, `done` of which were done in an earlier sitting.
    pub fn new(name: &str, total: u64, done: u64) -> Self {
        let bar = std::io::stderr().is_terminal().then(|| {
            let bar = ProgressBar::new(total).with_position(done);
            let style = ProgressStyle::with_template("{prefix} {bar:24} {pos}/{len} {msg} {eta} left");
            bar.set_style(style.expect("the template is valid"));
            bar.set_prefix(name.to_owned());
            bar.reset_eta();
            bar
        });
        let now = Instant::now();
        Self { bar, name: name.to_owned(), total, done, start: done, started: now, printed: now }
    }

    /// The same with a clock that has run since `started`: when the work of this sitting began, where the first step
    /// is over before there is a display.
    pub fn since(self, started: Instant) -> Self {
        Self { started, ..self }
    }

    /// Says that `done` steps are done, with something about the last one.
    pub fn set(&mut self, done: u64, message: &str) {
        self.done = done;
        if let Some(bar) = &self.bar {
            bar.set_position(done);
            bar.set_message(message.to_owned());
        } else if self.printed.elapsed() >= LINE_EVERY {
            self.printed = Instant::now();
            eprintln!("{} {}/{} {message} {} left", self.name, self.done, self.total, self.time_left());
        }
    }

    /// Removes the bar.
    pub fn finish(&self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }

    /// Steps a second in this sitting; none before the first.
    pub fn speed(&self) -> Option<f64> {
        let done = self.done.saturating_sub(self.start);
        let seconds = self.started.elapsed().as_secs_f64();
        (done > 0 && seconds > 0.0).then(|| done as f64 / seconds)
    }

    /// Seconds that the rest takes at that speed.
    pub fn seconds_left(&self) -> Option<f64> {
        self.speed().map(|speed| self.total.saturating_sub(self.done) as f64 / speed)
    }

    fn time_left(&self) -> String {
        let seconds = self.seconds_left().and_then(|seconds| Duration::try_from_secs_f64(seconds).ok());
        seconds.map_or_else(|| "?".to_owned(), |left| indicatif::HumanDuration(left).to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_left_is_that_of_this_sitting() {
        let Some(started) = Instant::now().checked_sub(Duration::from_secs(10)) else { return };
        let mut progress = Progress::new("train", 100, 40).since(started);
        assert_eq!((progress.speed(), progress.seconds_left()), (None, None));
        progress.set(41, "");
        // Ten seconds for the first of sixty steps, or a little more.
        let left = progress.seconds_left().expect("a step is done");
        assert!(left >= 590.0, "{left}");
    }
}
