//! Which classes an image is to be turned into.

use std::collections::BTreeSet;
use std::fmt;
use std::str::FromStr;

use rand::RngExt;

use super::AuditError;
use crate::Seed;
use crate::data::ImageId;

/// The choice of targets, written `none`, `all`, `random:3` or as classes, `0,4,7`.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum TargetChoice {
    /// No targeted attack.
    #[default]
    None,
    /// Every class but the label: `K - 1` attacks on each image.
    All,
    /// That many classes for each image, drawn from its id: at least 1; all when there are no more.
    Random(usize),
    /// These classes, but for the label.
    List(Vec<usize>),
}

impl TargetChoice {
    /// The targets of one image of `classes` classes, ascending, never its label.
    pub fn of(&self, label: usize, id: ImageId, classes: usize, seed: Seed) -> Vec<usize> {
        match self {
            Self::None => Vec::new(),
            Self::All => (0..classes).filter(|&class| class != label).collect(),
            Self::Random(count) => {
                let others = classes - 1;
                let chosen = distinct(*count, others, seed.purpose("targets").at(id.0));
                // The others, counted without the label.
                chosen.into_iter().map(|class| class + usize::from(class >= label)).collect()
            }
            Self::List(list) => {
                let set: BTreeSet<usize> = list.iter().copied().filter(|&class| class != label).collect();
                set.into_iter().collect()
            }
        }
    }

    /// Whether all listed classes are below `classes`.
    ///
    /// # Errors
    /// [`AuditError::Class`] with the first that is not.
    pub fn check(&self, classes: usize) -> Result<(), AuditError> {
        let Self::List(list) = self else { return Ok(()) };
        match list.iter().find(|class| **class >= classes) {
            None => Ok(()),
            Some(&class) => Err(AuditError::Class { what: "a target".to_owned(), class, classes }),
        }
    }
}

/// `count` distinct numbers below `below` (all when there are fewer), uniformly: Floyd's algorithm
/// (Bentley and Floyd, Communications of the ACM 30(9), 1987).
fn distinct(count: usize, below: usize, seed: Seed) -> BTreeSet<usize> {
    let mut rng = seed.rng();
    let mut chosen = BTreeSet::new();
    for last in below.saturating_sub(count)..below {
        let drawn = rng.random_range(0..=last as u64) as usize;
        if !chosen.insert(drawn) {
            chosen.insert(last);
        }
    }
    chosen
}

impl FromStr for TargetChoice {
    type Err = AuditError;

    fn from_str(text: &str) -> Result<Self, AuditError> {
        let wrong = |_| AuditError::Targets(text.to_owned());
        match text {
            "none" => Ok(Self::None),
            "all" => Ok(Self::All),
            _ => match text.strip_prefix("random:") {
                Some("0") => Err(AuditError::Targets(text.to_owned())),
                Some(count) => count.parse().map(Self::Random).map_err(wrong),
                None => {
                    let classes: Result<_, _> = text.split(',').map(|class| class.trim().parse()).collect();
                    classes.map(Self::List).map_err(wrong)
                }
            },
        }
    }
}

impl fmt::Display for TargetChoice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::None => f.write_str("none"),
            Self::All => f.write_str("all"),
            Self::Random(count) => write!(f, "random:{count}"),
            Self::List(list) => {
                f.write_str(&list.iter().map(ToString::to_string).collect::<Vec<_>>().join(","))
            }
        }
    }
}

impl TryFrom<String> for TargetChoice {
    type Error = AuditError;

    fn try_from(text: String) -> Result<Self, AuditError> {
        text.parse()
    }
}

impl From<TargetChoice> for String {
    fn from(choice: TargetChoice) -> Self {
        choice.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn every_choice_is_read_back_as_it_is_written() {
        for text in ["none", "all", "random:3", "5", "0,4,7"] {
            let choice: TargetChoice = text.parse().expect("valid");
            assert_eq!(choice.to_string(), text);
        }
        assert_eq!("1, 2".parse::<TargetChoice>().expect("valid"), TargetChoice::List(vec![1, 2]));
    }

    #[test]
    fn anything_else_is_an_error_that_says_what_is_expected() {
        for text in ["", "some", "random", "random:", "random:0", "random:-1", "1,,2", "-1", "1;2"] {
            let error = text.parse::<TargetChoice>().expect_err(text).to_string();
            assert!(error.contains("expected none, all, random:3"), "{error}");
        }
    }

    #[test]
    fn the_label_is_left_out_of_all_and_of_a_list() {
        let targets = |choice: TargetChoice| choice.of(1, ImageId(0), 4, Seed::new(0));
        assert_eq!(targets(TargetChoice::All), [0, 2, 3]);
        assert_eq!(targets(TargetChoice::List(vec![3, 1, 3, 0])), [0, 3]);
        assert!(targets(TargetChoice::None).is_empty());
    }

    #[test]
    fn a_listed_class_that_does_not_exist_is_an_error() {
        let error = TargetChoice::List(vec![0, 9]).check(3).expect_err("9 is no class").to_string();
        assert_eq!(error, "a target is class 9, but there are 3 classes, counted from 0");
    }

    #[test]
    fn random_targets_reach_every_class_about_equally_often() {
        let mut counts = [0; 5];
        for id in 0..4000 {
            for target in TargetChoice::Random(2).of(3, ImageId(id), 5, Seed::new(0)) {
                counts[target] += 1;
            }
        }
        assert_eq!(counts[3], 0);
        // 8000 draws over four classes: 2000 each, with a standard deviation of about 32.
        assert!([0, 1, 2, 4].iter().all(|&class| (1800..2200).contains(&counts[class])), "{counts:?}");
    }

    proptest! {
        #[test]
        fn random_targets_are_distinct_repeatable_and_never_the_label(
            label in 0..7_usize, id: u64, count in 1..10_usize
        ) {
            let draw = || TargetChoice::Random(count).of(label, ImageId(id), 7, Seed::new(3));
            let targets = draw();
            prop_assert_eq!(&targets, &draw());
            prop_assert_eq!(targets.len(), count.min(6));
            prop_assert!(targets.windows(2).all(|pair| pair[0] < pair[1]));
            prop_assert!(targets.iter().all(|&target| target < 7 && target != label));
        }
    }
}
