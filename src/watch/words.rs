//! Numbers and names as people read them.

/// Longest name that is shown, in characters.
const LONGEST: usize = 160;

/// A share, or a dash where there is none.
pub(super) fn share(value: Option<f64>) -> String {
    value.map_or_else(|| "-".to_owned(), |value| format!("{value:.3}"))
}

/// A span of time in its two largest units, such as `2 h 05 min`; `?` for what is none.
pub fn duration(seconds: f64) -> String {
    // Beyond any run, and numbers that are none.
    if !(0.0..1e11).contains(&seconds) {
        return "?".to_owned();
    }
    let whole = seconds.round() as u64;
    let (days, hours, minutes, rest) = (whole / 86_400, whole / 3600 % 24, whole / 60 % 60, whole % 60);
    match (days, hours, minutes) {
        (0, 0, 0) => format!("{rest} s"),
        (0, 0, _) => format!("{minutes} min {rest:02} s"),
        (0, ..) => format!("{hours} h {minutes:02} min"),
        _ => format!("{days} d {hours:02} h"),
    }
}

/// The time of day (UTC) of a moment in seconds since 1970.
pub(super) fn clock(time: f64) -> String {
    let second = if (0.0..1e11).contains(&time) { time as u64 % 86_400 } else { 0 };
    format!("{:02}:{:02}:{:02}", second / 3600, second / 60 % 60, second % 60)
}

/// Text of a file as it may be shown: what a terminal would obey, or what turns the direction of the text around, is
/// a dot, and it ends somewhere.
pub(super) fn shown(text: &str) -> String {
    let turns =
        |c: char| matches!(c, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    let mut letters = text.chars().map(|c| if c.is_control() || turns(c) { '·' } else { c });
    let mut short: String = letters.by_ref().take(LONGEST).collect();
    if letters.next().is_some() {
        short.push('…');
    }
    short
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_of_time() {
        let cases = [
            (0.4, "0 s"),
            (59.6, "1 min 00 s"),
            (754.0, "12 min 34 s"),
            (7265.0, "2 h 01 min"),
            (200_000.0, "2 d 07 h"),
            (f64::NAN, "?"),
            (-1.0, "?"),
            (f64::INFINITY, "?"),
        ];
        for (seconds, text) in cases {
            assert_eq!(duration(seconds), text);
        }
        assert_eq!(
            (clock(86_400.0 + 3725.9), clock(f64::NAN)),
            ("01:02:05".to_owned(), "00:00:00".to_owned())
        );
    }

    #[test]
    fn what_a_terminal_obeys_is_not_shown() {
        assert_eq!(shown("a\u{1b}[2Jb\n\u{202e}c"), "a·[2Jb··c");
        assert_eq!(shown("Zoë 😀 עברית"), "Zoë 😀 עברית");
        assert_eq!(shown(&"x".repeat(500)).chars().count(), LONGEST + 1);
    }
}
