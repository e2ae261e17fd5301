//! The pairs of classes that a reader should look at.

use serde::Serialize;

use super::matrix::Pairs;
use super::source::{Counts, Example};
use crate::metrics::Rate;

/// Pairs in a list.
const LISTED: usize = 20;

/// Two classes, in the direction in which more succeeds.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(super) struct Pair {
    /// Name of the class that more is taken from.
    pub from: String,
    /// Name of the other one.
    pub to: String,
    /// Rate from the first to the second.
    pub forward: Option<Rate>,
    /// Rate back.
    pub backward: Option<Rate>,
    /// Forward minus backward; `None` where one direction was not tried.
    pub gap: Option<f64>,
    /// A picture that was turned, if one was kept.
    pub example: Option<Pictures>,
}

/// A picture of a pair as data URLs.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(super) struct Pictures {
    /// What the picture is called.
    pub image: String,
    /// Unchanged.
    pub clean: String,
    /// Under the attack.
    pub attacked: String,
    /// The change, ten times as large.
    pub change: String,
    /// The three as files.
    #[serde(skip)]
    pub files: [Vec<u8>; 3],
}

impl Pictures {
    fn of(example: &Example) -> Self {
        let [clean, attacked, change] =
            example.pictures.each_ref().map(|png| format!("data:image/png;base64,{}", base64(png)));
        Self { image: example.image.clone(), clean, attacked, change, files: example.pictures.clone() }
    }
}

/// The pairs that a page lists, see [`ranked`].
pub(super) fn worst(classes: &[String], counts: &Pairs, examples: &[Example]) -> Vec<Pair> {
    ranked(counts, LISTED).into_iter().map(|ends| pair(classes, counts, examples, ends)).collect()
}

/// The worst pairs of a run, at most so many, as indices of classes: those of its targeted attacks, or of its errors
/// where there are none; and whether they are of targeted attacks. In each the first class is more often taken for the second
/// than the other way round.
pub fn worst_pairs(counts: &Counts, most: usize) -> (bool, Vec<(usize, usize)>) {
    telling(counts).map(|(targeted, pairs)| (targeted, ranked(&pairs, most))).unwrap_or_default()
}

/// The most telling matrix, and whether it is of targeted attacks.
pub(super) fn telling(counts: &Counts) -> Option<(bool, Pairs)> {
    if let Some(targeted) = counts.targeted.as_ref().filter(|counts| counts.total_attempts() > 0) {
        return Some((true, Pairs::of_success(targeted)));
    }
    let errors = counts.untargeted.as_ref().or(counts.clean.as_ref())?;
    Some((false, Pairs::of_errors(errors)))
}

/// The pairs with the largest gap, then those with more tries. Pairs that were tried in one direction come after all
/// others, those with more success first. A pair without any success is not listed.
fn ranked(counts: &Pairs, most: usize) -> Vec<(usize, usize)> {
    let mut found = Vec::new();
    for i in 0..counts.classes() {
        for j in i + 1..counts.classes() {
            let (there, back) = (counts.pair(i, j), counts.pair(j, i));
            if there.0 + back.0 == 0 {
                continue;
            }
            let rate = |(hits, tries): (u64, u64)| (tries > 0).then(|| hits as f64 / tries as f64);
            let gap = rate(there).zip(rate(back)).map(|(there, back)| there - back);
            let up = gap.map_or(back.1 == 0, |gap| gap >= 0.0);
            let (from, to) = if up { (i, j) } else { (j, i) };
            let size = gap.map_or_else(|| rate(there).or(rate(back)).unwrap_or(0.0), f64::abs);
            found.push((gap.is_none(), size, there.1 + back.1, from, to));
        }
    }
    let before = |a: &Candidate, b: &Candidate| {
        a.0.cmp(&b.0).then(b.1.total_cmp(&a.1)).then(b.2.cmp(&a.2)).then((a.3, a.4).cmp(&(b.3, b.4)))
    };
    if found.len() > most && most > 0 {
        found.select_nth_unstable_by(most - 1, before);
    }
    found.truncate(most);
    found.sort_by(before);
    found.into_iter().map(|(_, _, _, from, to)| (from, to)).collect()
}

/// Whether only one direction was tried, size of the gap, tries, and the two classes.
type Candidate = (bool, f64, u64, usize, usize);

fn pair(classes: &[String], counts: &Pairs, examples: &[Example], (from, to): (usize, usize)) -> Pair {
    let rate = |(hits, tries): (u64, u64)| Rate::of(hits, tries);
    let (forward, backward) = (rate(counts.pair(from, to)), rate(counts.pair(to, from)));
    let shows = |example: &&Example| (example.from, example.to) == (from, to);
    Pair {
        from: classes[from].clone(),
        to: classes[to].clone(),
        gap: forward.zip(backward).map(|(forward, backward)| forward.value - backward.value),
        example: examples.iter().find(shows).map(Pictures::of),
        forward,
        backward,
    }
}

/// Base64 (RFC 4648) with padding.
pub(super) fn base64(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for three in bytes.chunks(3) {
        let at = |index: usize| u32::from(three.get(index).copied().unwrap_or(0));
        let bits = at(0) << 16 | at(1) << 8 | at(2);
        for digit in 0..4 {
            let six = (bits >> (18 - 6 * digit)) & 63;
            text.push(if digit <= three.len() { char::from(DIGITS[six as usize]) } else { '=' });
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::SuccessMatrix;
    use crate::report::example::success;

    fn names() -> Vec<String> {
        ["anna", "ben", "carl"].map(String::from).to_vec()
    }

    // The vectors of RFC 4648, section 10.
    #[test]
    fn base64_of_the_standard() {
        for (text, expected) in [
            ("", ""),
            ("f", "Zg=="),
            ("fo", "Zm8="),
            ("foo", "Zm9v"),
            ("foob", "Zm9vYg=="),
            ("foobar", "Zm9vYmFy"),
        ] {
            assert_eq!(base64(text.as_bytes()), expected);
        }
    }

    #[test]
    fn the_largest_gap_comes_first_in_the_direction_of_more() {
        let counts = success([[0, 9, 2], [1, 0, 1], [0, 8, 0]]);
        let example =
            Example { from: 2, to: 1, image: "a.png".into(), pictures: [vec![1], vec![2], vec![3]] };
        let found = worst(&names(), &Pairs::of_success(&counts), &[example]);
        let seen: Vec<(&str, &str, Option<f64>)> = found
            .iter()
            .map(|pair| (pair.from.as_str(), pair.to.as_str(), pair.gap.map(|gap| (gap * 10.0).round())))
            .collect();
        assert_eq!(seen, [("anna", "ben", Some(8.0)), ("carl", "ben", Some(7.0)), ("anna", "carl", None)]);
        assert_eq!(found[0].forward, Rate::of(9, 10));
        assert_eq!(found[2].backward, None, "nobody tried carl > anna");
        let shown = found[1].example.as_ref().expect("kept");
        assert_eq!((shown.image.as_str(), shown.clean.as_str()), ("a.png", "data:image/png;base64,AQ=="));
        assert!(found[0].example.is_none());
        let counts = Counts { targeted: Some(counts), ..Counts::default() };
        assert_eq!(worst_pairs(&counts, 2), (true, vec![(0, 1), (2, 1)]));
        assert_eq!(worst_pairs(&counts, 0), (true, Vec::new()));
        assert_eq!(worst_pairs(&Counts::default(), 9), (false, Vec::new()));
        let errors = crate::report::example::confusion([[8, 2, 0], [0, 10, 0], [0, 0, 10]]);
        let counts =
            Counts { clean: Some(errors), targeted: Some(SuccessMatrix::new(3)), ..Counts::default() };
        assert_eq!(worst_pairs(&counts, 9), (false, vec![(0, 1)]), "nothing was attacked with a target");
    }

    #[test]
    fn a_list_is_bounded_and_keeps_the_largest() {
        let number = 12;
        let mut counts = SuccessMatrix::new(number);
        for from in 0..number {
            for to in 0..number {
                (0..40).for_each(|attack| counts.add(from, to, from < to && attack < from + 2 * to));
            }
        }
        let names: Vec<String> = (0..number).map(|class| class.to_string()).collect();
        let found = worst(&names, &Pairs::of_success(&counts), &[]);
        assert_eq!(found.len(), LISTED);
        assert_eq!((found[0].from.as_str(), found[0].to.as_str()), ("10", "11"));
        assert!(found.windows(2).all(|two| two[0].gap >= two[1].gap));
    }
}
