//! How often a run that goes on writes an event.

use std::time::{Duration, Instant};

/// Lets an event through now and then: often in the beginning, when somebody looks, and seldom in a long run, whose
/// log has to stay small.
///
/// The distance of two events is a part of the time that has passed, within bounds. So the events between the two
/// bounds grow with the logarithm of the time.
#[derive(Clone, Debug)]
pub struct Pace {
    started: Instant,
    /// When the last one was let through, counted from the start.
    last: Option<Duration>,
    /// The time that has passed, divided by this, is the distance.
    divisor: u32,
    least: Duration,
    most: Duration,
}

impl Pace {
    /// For lines of a few hundred bytes: every two seconds in the first minutes, every minute after some hours.
    /// A day has at most 2,200 of them.
    pub fn of_lines() -> Self {
        Self::new(200, Duration::from_secs(2), Duration::from_mins(1))
    }

    /// For matrices of some kilobytes: every ten seconds at first, every five minutes after some hours. A day has
    /// at most 500 of them.
    pub fn of_matrices() -> Self {
        Self::new(50, Duration::from_secs(10), Duration::from_mins(5))
    }

    fn new(divisor: u32, least: Duration, most: Duration) -> Self {
        Self { started: Instant::now(), last: None, divisor, least, most }
    }

    /// Whether an event may be written now. The first one always may.
    pub fn due(&mut self) -> bool {
        self.due_after(self.started.elapsed())
    }

    fn due_after(&mut self, passed: Duration) -> bool {
        let distance = (passed / self.divisor).clamp(self.least, self.most);
        let due = self.last.is_none_or(|last| passed.saturating_sub(last) >= distance);
        if due {
            self.last = Some(passed);
        }
        due
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Events among steps of a tenth of a second.
    fn events(mut pace: Pace, seconds: u64) -> u64 {
        (0..seconds * 10).filter(|&step| pace.due_after(Duration::from_millis(step * 100))).count() as u64
    }

    #[test]
    fn the_first_is_let_through_and_the_next_waits() {
        let mut pace = Pace::of_lines();
        assert!(pace.due_after(Duration::from_millis(70)));
        assert!(!pace.due_after(Duration::from_millis(2060)));
        assert!(pace.due_after(Duration::from_millis(2070)));
    }

    #[test]
    fn a_log_stays_small() {
        assert_eq!(events(Pace::of_lines(), 400), 200);
        assert!((2_000..=2_200).contains(&events(Pace::of_lines(), 86_400)));
        assert!((400..=500).contains(&events(Pace::of_matrices(), 86_400)));
    }
}
