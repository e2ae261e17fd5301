use super::*;
use crate::data::Dataset;
use image::{GrayImage, Luma};

/// One folder per class with so many pictures, as LFW and `VGGFace2` are laid out.
fn flat(classes: &[(&str, usize)]) -> tempfile::TempDir {
    let root = tempfile::tempdir().expect("a temporary folder");
    for (class, count) in classes {
        let folder = root.path().join(class);
        fs::create_dir(&folder).expect("a folder");
        for number in 0..*count {
            let picture = GrayImage::from_pixel(4, 4, Luma([number as u8]));
            picture.save(folder.join(format!("{class}_{number:04}.png"))).expect("a picture");
        }
    }
    root
}

fn sizes(data: &Dataset) -> [usize; 3] {
    [data.train.len(), data.val.len(), data.test.len()]
}

#[test]
fn every_class_is_in_every_split_by_its_share_and_no_picture_twice() {
    let root = flat(&[("anna", 3), ("ben", 10), ("carl", 25)]);
    let (classes, listings, left_out) = divide(root.path(), "", &PartitionConfig::default()).expect("good");
    assert_eq!((classes.len(), left_out), (3, 0));
    let of = |split: usize, label| listings[split].labels().iter().filter(|one| **one == label).count();
    let counts = [0, 1, 2].map(|label| [0, 1, 2].map(|split| of(split, label)));
    assert_eq!(counts, [[1, 1, 1], [6, 2, 2], [15, 5, 5]]);
    let mut all: Vec<&String> = listings.iter().flat_map(Listing::paths).collect();
    all.sort();
    all.dedup();
    assert_eq!(all.len(), 38);
}

#[test]
fn the_seed_decides_and_other_classes_do_not() {
    let root = flat(&[("anna", 12), ("ben", 12), ("carl", 4)]);
    let test = |config: &PartitionConfig| {
        let (_, listings, _) = divide(root.path(), "", config).expect("good");
        let of_anna = |path: &&String| path.starts_with("anna/");
        listings[2].paths().iter().filter(of_anna).cloned().collect::<Vec<_>>()
    };
    let base = PartitionConfig::default();
    assert_eq!(test(&base), test(&PartitionConfig { min_images: 10, ..base.clone() }));
    assert_ne!(test(&base), test(&PartitionConfig { seed: 1, ..base }));
}

#[test]
fn small_classes_are_left_out_and_the_largest_kept() {
    let root = flat(&[("anna", 5), ("ben", 9), ("carl", 7), ("dora", 7), ("emil", 2)]);
    let kept = |config: &PartitionConfig| {
        let (classes, _, left_out) = divide(root.path(), "", config).expect("good");
        (classes, left_out)
    };
    let base = PartitionConfig::default();
    let names = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
    assert_eq!(kept(&base), (names(&["anna", "ben", "carl", "dora"]), 1));
    assert_eq!(
        kept(&PartitionConfig { min_images: 6, ..base.clone() }),
        (names(&["ben", "carl", "dora"]), 2)
    );
    assert_eq!(kept(&PartitionConfig { max_classes: Some(2), ..base }), (names(&["ben", "carl"]), 3));
}

#[test]
fn the_written_set_is_the_one_that_is_opened() {
    let root = flat(&[("anna", 6), ("ben", 6)]);
    let place = tempfile::tempdir().expect("a temporary folder");
    let out = place.path().join("set");
    let config = PartitionConfig { seed: 3, ..PartitionConfig::default() };
    let summary = write_partition(root.path(), &out, &config).expect("written");
    assert_eq!(summary, PartitionSummary { classes: 2, left_out: 0, pictures: [8, 2, 2] });
    let data = Dataset::open(&out, 4).expect("a data set");
    assert_eq!(sizes(&data), [8, 2, 2]);
    assert!(data.test.paths()[0].starts_with("pictures/anna/anna_000"), "{}", data.test.paths()[0]);
    assert_eq!(data.splits, Some(fs::read_to_string(out.join("splits.csv")).expect("the file")));
    let again = write_partition(root.path(), &out, &config);
    assert!(matches!(again, Err(DataError::Occupied { .. })));
}

#[test]
fn a_folder_without_splits_is_divided_by_itself_and_says_how() {
    let root = flat(&[("anna", 5), ("ben", 10)]);
    let data = Dataset::open(root.path(), 4).expect("a data set");
    assert_eq!(sizes(&data), [9, 3, 3]);
    let splits = data.splits.expect("it was divided");
    assert_eq!(splits.lines().count(), 16);
    assert!(splits.starts_with("picture,class,split\nanna/anna_"), "{splits}");
    // The same pictures in other splits are another data set.
    let moved = splits.replacen(",train", ",val", 1);
    fs::write(root.path().join("splits.csv"), &moved).expect("written");
    let other = Dataset::open(root.path(), 4).expect("a data set");
    assert_eq!(sizes(&other), [8, 4, 3]);
    assert_ne!(other.hash, data.hash);
}

#[test]
fn what_cannot_be_divided_is_named() {
    let root = flat(&[("anna", 5), ("ben", 2)]);
    let message = |config: &PartitionConfig| divide(root.path(), "", config).expect_err("broken").to_string();
    let base = PartitionConfig::default();
    assert!(
        message(&base).contains("2 folders of pictures and 1 of them with at least 3"),
        "{}",
        message(&base)
    );
    assert!(message(&PartitionConfig { min_images: 2, ..base.clone() }).contains("min-images is 2"));
    assert!(message(&PartitionConfig { max_classes: Some(1), ..base.clone() }).contains("max-classes"));
    assert!(message(&PartitionConfig { val: 0.6, test: 0.4, ..base.clone() }).contains("val is 0.6"));
    assert!(message(&PartitionConfig { val: f64::NAN, ..base.clone() }).contains("val is NaN"));
    fs::write(root.path().join("anna/notes.txt"), "dear").expect("written");
    assert!(message(&base).contains("notes.txt is a file of another kind"));
}
