//! Which classes an image is to be turned into.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use rand::RngExt;

use super::AuditError;
use crate::data::ImageId;
use crate::{Seed, stable_hash};

/// The choice of targets, written `none`, `all`, `random:3`, `file:targets.csv` or as classes, `0,4,7`.
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
    /// For each image those that a file names, but for its label.
    File(TargetFile),
}

/// Targets of single images, read from a CSV file with the columns `image` (as in the rows, such as `test/anna/1.png`)
/// and `target` (a class by number); an image may have several rows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TargetFile {
    path: PathBuf,
    /// By the id of the image, with its name.
    targets: BTreeMap<u64, (String, BTreeSet<usize>)>,
}

/// A line of the file.
#[derive(serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct Line {
    image: String,
    target: usize,
}

impl TargetFile {
    fn read(path: PathBuf) -> Result<Self, AuditError> {
        let wrong = |cause: String| AuditError::TargetFile { path: path.clone(), cause };
        let mut targets: BTreeMap<u64, (String, BTreeSet<usize>)> = BTreeMap::new();
        let mut lines = csv::Reader::from_path(&path).map_err(|error| wrong(error.to_string()))?;
        for line in lines.deserialize() {
            let Line { image, target } = line.map_err(|error| wrong(error.to_string()))?;
            let of_image = targets.entry(stable_hash(image.as_bytes()));
            of_image.or_insert_with(|| (image, BTreeSet::new())).1.insert(target);
        }
        if targets.is_empty() {
            return Err(wrong("it has no line with a target".to_owned()));
        }
        Ok(Self { path, targets })
    }

    /// All classes that are the target of an image.
    pub fn classes(&self) -> BTreeSet<usize> {
        self.targets.values().flat_map(|(_, targets)| targets).copied().collect()
    }
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
            Self::File(file) => {
                let targets = file.targets.get(&id.0).into_iter().flat_map(|(_, targets)| targets);
                targets.copied().filter(|&class| class != label && class < classes).collect()
            }
        }
    }

    /// Number of targets of one image, without a list of them where there may be very many.
    pub fn count(&self, label: usize, id: ImageId, classes: usize) -> usize {
        match self {
            Self::None => 0,
            Self::All => classes - 1,
            Self::Random(count) => (*count).min(classes - 1),
            // Neither needs a seed.
            Self::List(_) | Self::File(_) => self.of(label, id, classes, Seed::new(0)).len(),
        }
    }

    /// The file that the targets come from, where they come from one.
    pub fn file(&self) -> Option<&Path> {
        match self {
            Self::File(file) => Some(&file.path),
            Self::None | Self::All | Self::Random(_) | Self::List(_) => None,
        }
    }

    /// Whether a file of targets names only images with these names.
    ///
    /// # Errors
    /// [`AuditError::TargetFile`] with the first other image.
    pub fn check_images(&self, names: &[String]) -> Result<(), AuditError> {
        let Self::File(file) = self else { return Ok(()) };
        let known: BTreeSet<&str> = names.iter().map(String::as_str).collect();
        match file.targets.values().find(|(image, _)| !known.contains(image.as_str())) {
            None => Ok(()),
            Some((image, _)) => Err(AuditError::TargetFile {
                path: file.path.clone(),
                cause: format!("it names the image {image}, which is not in this split"),
            }),
        }
    }

    /// Whether all listed classes are below `classes`.
    ///
    /// # Errors
    /// [`AuditError::Class`] with the first that is not.
    pub fn check(&self, classes: usize) -> Result<(), AuditError> {
        let listed: Vec<usize> = match self {
            Self::List(list) => list.clone(),
            Self::File(file) => file.targets.values().flat_map(|(_, targets)| targets).copied().collect(),
            Self::None | Self::All | Self::Random(_) => return Ok(()),
        };
        match listed.into_iter().find(|class| *class >= classes) {
            None => Ok(()),
            Some(class) => Err(AuditError::Class { what: "a target".to_owned(), class, classes }),
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
            _ if text.starts_with("file:") => {
                TargetFile::read(PathBuf::from(&text["file:".len()..])).map(Self::File)
            }
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
            Self::File(file) => write!(f, "file:{}", file.path.display()),
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
    fn a_file_names_the_targets_of_single_images() {
        let place = tempfile::tempdir().expect("temporary directory");
        let path = place.path().join("targets.csv");
        let read = |text: &str| {
            std::fs::write(&path, text).expect("written");
            format!("file:{}", path.display()).parse::<TargetChoice>()
        };
        let choice = read("image,target\na.png,2\na.png,0\na.png,1\nb.png,3\n").expect("valid");
        let targets = |name: &str| choice.of(1, ImageId(stable_hash(name.as_bytes())), 4, Seed::new(0));
        assert_eq!(targets("a.png"), [0, 2], "ascending, without the label");
        assert_eq!(targets("b.png"), [3]);
        assert!(targets("c.png").is_empty());
        assert_eq!(choice.to_string().parse::<TargetChoice>().expect("valid"), choice);
        let names = ["a.png", "b.png"].map(ToOwned::to_owned);
        choice.check_images(&names).expect("both are there");
        let missing = choice.check_images(&names[..1]).expect_err("b.png").to_string();
        assert!(missing.contains("targets.csv") && missing.contains("b.png"), "{missing}");
        assert!(choice.check(3).expect_err("class 3").to_string().contains("class 3"));
        for text in ["", "image,target\n", "image,goal\na.png,1\n", "image,target\na.png,anna\n"] {
            let error = read(text).expect_err(text).to_string();
            assert!(error.contains("targets.csv") && error.contains("expected"), "{error}");
        }
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
