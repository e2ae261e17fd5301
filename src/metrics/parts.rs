//! What each part of a composed attack contributed.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::Rate;

/// Which part turned how many images: each success is counted for the first part that had it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PartCounts {
    /// Images that the attack was made on (each target of an image counts).
    pub total: u64,
    /// Successes that no part is named for: the image was there without any change.
    pub unaided: u64,
    /// Successes by the name of the part.
    pub turned: BTreeMap<String, u64>,
}

/// One part in the order of the attack.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PartFigures {
    /// Name of the part; `none` for the line of images that fell without any change.
    pub part: String,
    /// Images that still stood when the part began.
    pub standing: u64,
    /// Images that it turned.
    pub turned: u64,
    /// Share of all images that still stand after it: robust accuracy for an untargeted attack, the share
    /// that does not reach its target for a targeted one. `None` without images.
    pub left: Option<Rate>,
}

impl PartCounts {
    /// Counts one image.
    pub fn add(&mut self, success: bool, part: Option<&str>) {
        self.total += 1;
        match part {
            Some(part) if success => *self.turned.entry(part.to_owned()).or_default() += 1,
            None if success => self.unaided += 1,
            _ => (),
        }
    }

    /// A line for the unchanged images, and then one for each part in the given order.
    pub fn figures(&self, parts: &[&str]) -> Vec<PartFigures> {
        let turned = parts.iter().map(|part| (*part, self.turned.get(*part).copied().unwrap_or(0)));
        let mut standing = self.total;
        std::iter::once(("none", self.unaided))
            .chain(turned)
            .map(|(part, turned)| {
                let before = standing;
                standing = standing.saturating_sub(turned);
                PartFigures {
                    part: part.to_owned(),
                    standing: before,
                    turned,
                    left: Rate::of(standing, self.total),
                }
            })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_image_falls_once_and_the_rest_stands() {
        let mut counts = PartCounts::default();
        for (success, part) in [
            (true, None),
            (true, Some("apgd-ce")),
            (true, Some("apgd-ce")),
            (true, Some("square")),
            (false, None),
            (false, None),
            (false, None),
            (false, None),
        ] {
            counts.add(success, part);
        }
        let found: Vec<(String, u64, u64, f64)> = counts
            .figures(&["apgd-ce", "fab-t", "square"])
            .into_iter()
            .map(|line| (line.part, line.standing, line.turned, line.left.expect("images").value))
            .collect();
        let expected =
            [("none", 8, 1, 0.875), ("apgd-ce", 7, 2, 0.625), ("fab-t", 5, 0, 0.625), ("square", 5, 1, 0.5)];
        assert_eq!(
            found,
            expected.map(|(part, standing, turned, left)| (part.to_owned(), standing, turned, left))
        );
    }

    #[test]
    fn without_images_there_is_no_share() {
        let lines = PartCounts::default().figures(&["apgd-ce"]);
        assert!(lines.iter().all(|line| line.left.is_none() && line.turned == 0));
    }
}
