//! The letters of pixels: outlines of `DejaVu Sans`, the font that the SVG files name first, so that text is as wide in both.
//!
//! No font of the machine is used: files are the same everywhere. Letters of Latin, Greek and Cyrillic are there, and common
//! signs; `scripts/letters.py` made the file, `assets/letters/LICENSE` is its licence. Letters stand side by side in the order in
//! which they are written, without kerning.

use std::collections::HashMap;
use std::sync::OnceLock;

const OUTLINES: &str = include_str!("../../../../assets/letters/dejavu-sans.txt");

/// A letter in units of an em.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Letter {
    /// How far the next letter is.
    pub advance: f64,
    /// Its contours, upwards.
    pub outline: Vec<Part>,
}

/// A part of a contour.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Part {
    /// From a point to a point.
    Line([[f64; 2]; 2]),
    /// From a point by a control point to a point.
    Curve([[f64; 2]; 3]),
}

impl Part {
    /// The same part with its points somewhere else.
    pub fn map(self, place: impl Fn([f64; 2]) -> [f64; 2]) -> Self {
        match self {
            Self::Line(points) => Self::Line(points.map(place)),
            Self::Curve(points) => Self::Curve(points.map(place)),
        }
    }

    pub fn points(&self) -> &[[f64; 2]] {
        match self {
            Self::Line(points) => points,
            Self::Curve(points) => points,
        }
    }
}

/// A letter; a box where the font has none, and nothing for what is not seen.
pub(super) fn letter(c: char) -> Letter {
    static PLACES: OnceLock<HashMap<char, &str>> = OnceLock::new();
    let places = PLACES.get_or_init(|| OUTLINES.lines().skip(1).filter_map(named).collect());
    let unseen = matches!(c, '\u{ad}' | '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2060}'..='\u{206f}'
        | '\u{fe00}'..='\u{fe0f}');
    if unseen {
        return Letter { advance: 0.0, outline: Vec::new() };
    }
    let c = if c.is_whitespace() || c.is_control() { ' ' } else { c };
    places.get(&c).and_then(|line| parse(line)).unwrap_or_else(missing)
}

/// A line's letter and the rest.
fn named(line: &'static str) -> Option<(char, &'static str)> {
    let (number, rest) = line.split_once(' ')?;
    Some((char::from_u32(u32::from_str_radix(number, 16).ok()?)?, rest))
}

fn parse(line: &str) -> Option<Letter> {
    let em: f64 = OUTLINES.lines().next()?.parse().ok()?;
    let mut words = line.split(' ');
    let advance = words.next()?.parse::<f64>().ok()? / em;
    let mut outline = Vec::new();
    let (mut first, mut at) = ([0.0; 2], [0.0; 2]);
    let close = |outline: &mut Vec<Part>, first: [f64; 2], at: [f64; 2]| {
        if first.map(f64::to_bits) != at.map(f64::to_bits) {
            outline.push(Part::Line([at, first]));
        }
    };
    while let Some(word) = words.next() {
        let mut point = || {
            let mut number = || Some(words.next()?.parse::<f64>().ok()? / em);
            Some([number()?, number()?])
        };
        match word {
            "M" => {
                close(&mut outline, first, at);
                first = point()?;
                at = first;
            }
            "L" => {
                let to = point()?;
                outline.push(Part::Line([at, to]));
                at = to;
            }
            "Q" => {
                let (by, to) = (point()?, point()?);
                outline.push(Part::Curve([at, by, to]));
                at = to;
            }
            _ => return None,
        }
    }
    close(&mut outline, first, at);
    Some(Letter { advance, outline })
}

/// A box with a hole.
fn missing() -> Letter {
    let side = |[left, low, right, high]: [f64; 4]| {
        let corners = [[left, low], [right, low], [right, high], [left, high]];
        (0..4).map(move |at| Part::Line([corners[at], corners[(at + 1) % 4]]))
    };
    // The hole goes round the other way.
    let outline = side([0.05, 0.0, 0.55, 0.73]).chain(side([0.5, 0.05, 0.1, 0.68])).collect();
    Letter { advance: 0.6, outline }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_line_of_the_file_is_a_letter_of_closed_contours() {
        let mut count = 0;
        for line in OUTLINES.lines().skip(1) {
            let (c, rest) = named(line).unwrap_or_else(|| panic!("{line}"));
            let Letter { advance, outline } = parse(rest).unwrap_or_else(|| panic!("{line}"));
            assert!((0.0..2.0).contains(&advance), "{c}: {advance}");
            // What begins somewhere ends there: the ends and beginnings of all parts are the same points.
            let ends = |last: bool| {
                let mut ends: Vec<[u64; 2]> = outline
                    .iter()
                    .map(|part| {
                        part.points()[if last { part.points().len() - 1 } else { 0 }].map(f64::to_bits)
                    })
                    .collect();
                ends.sort_unstable();
                ends
            };
            assert_eq!(ends(false), ends(true), "{c}");
            count += 1;
        }
        assert!(count > 1000, "{count} letters");
    }

    // The advance widths and the outline of the exclamation mark as fontTools reads them, 2048 units an em.
    #[test]
    fn letters_are_those_of_the_font() {
        let em = |units: f64| units / 2048.0;
        assert_eq!(
            ['!', 'm', 'W'].map(|c| letter(c).advance.to_bits()),
            [821.0, 1995.0, 2025.0].map(|units| em(units).to_bits())
        );
        let dot = letter('!').outline;
        assert_eq!(dot[0], Part::Line([[em(309.0), em(254.0)], [em(512.0), em(254.0)]]));
        assert_eq!(dot[3], Part::Line([[em(309.0), 0.0], [em(309.0), em(254.0)]]), "a contour is closed");
        for c in "Łąßñ Ωλ ЖЩ Ệ … → −×–—’„“ ₪€".chars() {
            assert_ne!(letter(c), missing(), "{c}");
        }
        assert_eq!((letter('漢'), letter('👩').advance), (missing(), 0.6));
        assert_eq!((letter('\u{202e}').advance, letter('\n')), (0.0, letter(' ')));
    }
}
