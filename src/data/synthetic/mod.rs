//! Faces drawn by code: a data set for trying things out where no real faces can be had.
//!
//! Each person has traits of their own (`person`), each picture a pose, an expression and a light of its
//! own (`shot`). Half of the people have a beard, which is the group. Some people come in pairs of
//! siblings who look much alike, so there are pairs of classes that are easy to confuse, and it is known
//! which. Everything follows from the seed by arithmetic that rounds the same on every machine: the same
//! configuration gives the same bytes.

mod person;
mod portrait;
mod shape;
mod shot;

use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use rayon::prelude::*;

use self::person::Person;
use self::portrait::portrait;
use self::shot::Shot;
use super::{DataError, whole};
use crate::Seed;

/// What to draw.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct SyntheticConfig {
    /// Number of people, the classes: 2 to 1000. Default 12.
    pub people: usize,
    /// Pictures per person: 5 to 10000. 60 % go to `train`, 20 % to `val` and 20 % to `test`. Default 20.
    pub images: usize,
    /// Decides everything that is drawn. Default 0.
    pub seed: u64,
    /// Width and height of each picture in pixels: 16 to 1024. Default 64.
    pub side: usize,
}

impl Default for SyntheticConfig {
    fn default() -> Self {
        Self { people: 12, images: 20, seed: 0, side: 64 }
    }
}

/// What was drawn.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SyntheticSummary {
    /// Number of people.
    pub people: usize,
    /// Number of pictures in `train`, `val` and `test`.
    pub pictures: [usize; 3],
    /// Number of pairs of siblings.
    pub siblings: usize,
}

impl SyntheticConfig {
    fn check(&self) -> Result<(), DataError> {
        let ranges = [
            ("people", self.people, 2..=1000),
            ("images", self.images, 5..=10_000),
            ("side", self.side, 16..=1024),
        ];
        for (key, found, range) in ranges {
            if !range.contains(&found) {
                let (least, most) = range.into_inner();
                return Err(DataError::Synthetic { key, found, least, most });
            }
        }
        Ok(())
    }

    /// Pictures of one person in `train`, `val` and `test`.
    fn split(&self) -> [usize; 3] {
        let fifth = self.images / 5;
        [self.images - 2 * fifth, fifth, fifth]
    }

    /// Pairs of siblings: people 0 and 1, 2 and 3, and so on, for the first third of the people.
    fn siblings(&self) -> usize {
        self.people / 6
    }

    fn people(&self) -> Vec<Person> {
        let key = |index: usize| Seed::new(self.seed).purpose("synthetic-person").at(index as u64);
        (0..self.people)
            .map(|index| {
                let elder = (index % 2 == 1 && index / 2 < self.siblings()).then(|| key(index - 1));
                // Siblings are of one group.
                Person::new(key(index), elder, index / 2 % 2 == 1)
            })
            .collect()
    }
}

/// Draws a data set into `out`: `train/`, `val/` and `test/` with folders `p000`, `p001` and so on,
/// `groups.csv` (column `group`: `beard` or `no-beard`) and `siblings.csv` (columns `person`, `sibling`).
///
/// `out` appears complete or not at all.
///
/// # Errors
/// When a number is out of its range, when `out` exists and is not empty, or when a file cannot be
/// written.
pub fn write_synthetic_faces(out: &Path, config: &SyntheticConfig) -> Result<SyntheticSummary, DataError> {
    config.check()?;
    if whole::is_occupied(out)? {
        return Err(DataError::Occupied { path: out.to_path_buf() });
    }
    let people = config.people();
    whole::write_whole(out, |work| {
        let set = work.join("set");
        people
            .par_iter()
            .enumerate()
            .try_for_each(|(index, person)| write_person(&set, config, index, person))?;
        write_tables(&set, config, &people)?;
        Ok(set)
    })?;
    Ok(SyntheticSummary {
        people: config.people,
        pictures: config.split().map(|count| count * config.people),
        siblings: config.siblings(),
    })
}

fn name(index: usize) -> String {
    format!("p{index:03}")
}

fn write_person(
    set: &Path,
    config: &SyntheticConfig,
    index: usize,
    person: &Person,
) -> Result<(), DataError> {
    let seed = Seed::new(config.seed).purpose("synthetic-picture").at(index as u64);
    let splits = ["train", "val", "test"].into_iter().zip(config.split());
    let mut splits = splits.flat_map(|(split, count)| std::iter::repeat_n(split, count));
    for number in 0..config.images {
        let folder = set.join(splits.next().unwrap_or("test")).join(name(index));
        fs::create_dir_all(&folder).map_err(DataError::write(&folder))?;
        let seed = seed.at(number as u64);
        let shot = Shot::new(seed.purpose("shot"));
        let picture = portrait(person, &shot, config.side, seed.purpose("noise"));
        whole::write_png(&folder.join(format!("{number:04}.png")), &picture.into())?;
    }
    Ok(())
}

fn write_tables(set: &Path, config: &SyntheticConfig, people: &[Person]) -> Result<(), DataError> {
    let mut groups = String::from("person,group\n");
    for (index, person) in people.iter().enumerate() {
        let group = if person.beard { "beard" } else { "no-beard" };
        // Writing to a string cannot fail.
        let _ = writeln!(groups, "{},{group}", name(index));
    }
    let mut siblings = String::from("person,sibling\n");
    for pair in 0..config.siblings() {
        let _ = writeln!(siblings, "{},{}", name(2 * pair), name(2 * pair + 1));
    }
    for (file, text) in [("groups.csv", groups), ("siblings.csv", siblings)] {
        let path = set.join(file);
        fs::write(&path, text).map_err(DataError::write(&path))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::Dataset;

    fn small() -> SyntheticConfig {
        SyntheticConfig { people: 7, images: 6, seed: 3, side: 24 }
    }

    fn drawn(config: &SyntheticConfig) -> (tempfile::TempDir, Dataset) {
        let parent = tempfile::tempdir().expect("a temporary folder");
        let out = parent.path().join("faces");
        write_synthetic_faces(&out, config).expect("a writable folder");
        let data = Dataset::open(&out, config.side).expect("a good data set");
        (parent, data)
    }

    #[test]
    fn the_seed_decides_every_byte() {
        let (_one, first) = drawn(&small());
        let (_two, second) = drawn(&small());
        assert_eq!(first.hash, second.hash);
        let (_three, other) = drawn(&SyntheticConfig { seed: 4, ..small() });
        assert_ne!(first.hash, other.hash);
    }

    #[test]
    fn the_set_has_the_layout_that_it_promises() {
        let (parent, data) = drawn(&small());
        assert_eq!(data.classes[6], "p006");
        assert_eq!([data.train.len(), data.val.len(), data.test.len()], [28, 7, 7]);
        let groups = data.groups.expect("groups.csv is there");
        assert_eq!(groups.columns[0].name, "group");
        let expected = ["no-beard", "no-beard", "beard", "beard", "no-beard", "no-beard", "beard"];
        assert_eq!(groups.columns[0].of_class, expected);
        let siblings = fs::read_to_string(parent.path().join("faces/siblings.csv")).expect("the file");
        assert_eq!(siblings, "person,sibling\np000,p001\n");
    }

    #[test]
    fn no_folder_with_content_is_written_to() {
        let (parent, _) = drawn(&small());
        let error = write_synthetic_faces(&parent.path().join("faces"), &small());
        assert!(matches!(error, Err(DataError::Occupied { .. })));
    }

    #[test]
    fn numbers_out_of_range_are_named() {
        let out = Path::new("never-written");
        for (config, key) in [
            (SyntheticConfig { people: 1, ..small() }, "people"),
            (SyntheticConfig { images: 4, ..small() }, "images"),
            (SyntheticConfig { side: 5000, ..small() }, "side"),
        ] {
            let message = write_synthetic_faces(out, &config).expect_err("out of range").to_string();
            assert!(message.contains(key), "{message}");
        }
    }
}
