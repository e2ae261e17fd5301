use super::*;
use burn::tensor::Device;
use image::{GrayImage, Luma};

/// A data set with two classes and two pictures of 6x4 pixels per class and split.
fn small_set() -> tempfile::TempDir {
    let root = tempfile::tempdir().expect("a temporary folder");
    for (s, split) in SPLITS.into_iter().enumerate() {
        for (c, class) in ["ben", "anna"].into_iter().enumerate() {
            for file in 0..2 {
                let shade = (100 * s + 40 * c + 20 * file) as u32;
                let picture = GrayImage::from_fn(6, 4, |x, y| Luma([(shade + x + y) as u8]));
                let folder = root.path().join(split).join(class);
                fs::create_dir_all(&folder).expect("a folder");
                let ending = ["png", "pgm"][file];
                picture.save(folder.join(format!("{file}.{ending}"))).expect("a picture");
            }
        }
    }
    root
}

fn pixels(split: &Split, rows: &[usize]) -> Vec<f32> {
    let batch = split.batch(rows, &Device::default()).expect("good pictures");
    batch.images.try_to_vec_as::<f32>().expect("f32")
}

fn message(root: &Path) -> String {
    Dataset::open(root, 4).expect_err("should be refused").to_string()
}

#[test]
fn a_folder_becomes_three_splits() {
    let root = small_set();
    let data = Dataset::open(root.path(), 4).expect("a good data set");
    assert_eq!(data.classes, ["anna", "ben"]);
    assert_eq!(data.groups, None);
    assert_eq!(data.test.labels(), [0, 0, 1, 1]);
    assert_eq!(data.test.paths()[1], "test/anna/1.pgm");
    assert_eq!(data.test.ids()[1], super::super::ImageId(crate::stable_hash(b"test/anna/1.pgm")));
    assert_eq!((data.train.len(), data.val.len()), (4, 4));

    let batch = data.test.batch(&[3, 0], &Device::default()).expect("good pictures");
    assert_eq!(batch.shape(), [2, 3, 4, 4]);
    assert_eq!(batch.labels, [1, 0]);
    assert_eq!(batch.ids, [data.test.ids()[3], data.test.ids()[0]]);
    // Row 3 is test/ben/1.pgm: shade 220, cropped from column 1 on; three equal channels.
    let pixels = pixels(&data.test, &[3, 0]);
    assert!((pixels[0] - 221.0 / 255.0).abs() < 1e-7);
    assert_eq!(pixels[..16], pixels[32..48]);
}

#[test]
fn pixels_are_the_same_with_and_without_the_cache() {
    let root = small_set();
    for side in [3, 4, 9] {
        let kept = Dataset::open(root.path(), side).expect("a good data set");
        let on_demand = Dataset::open_within(root.path(), side.into(), 10).expect("a good data set");
        assert_eq!(kept.hash, on_demand.hash);
        assert_eq!(pixels(&kept.train, &[2, 1, 1]), pixels(&on_demand.train, &[2, 1, 1]));
    }
}

#[test]
fn the_hash_sees_every_byte_and_every_name_and_nothing_else() {
    let root = small_set();
    let hash = || Dataset::open(root.path(), 4).expect("a good data set").hash;
    let before = hash();
    assert_eq!(before.len(), 64);
    fs::write(root.path().join("notes.txt"), "not a picture").expect("a file");
    fs::write(root.path().join("val/.hidden"), "not a picture").expect("a file");
    assert_eq!(hash(), before);

    let (old, new) = (root.path().join("val/ben/0.png"), root.path().join("val/ben/00.png"));
    fs::rename(&old, &new).expect("renaming");
    let renamed = hash();
    assert_ne!(renamed, before);
    GrayImage::from_pixel(6, 4, Luma([9])).save(&new).expect("a picture");
    assert_ne!(hash(), renamed);
}

#[test]
fn a_corrupt_picture_is_named_on_opening_or_in_its_batch() {
    let root = small_set();
    let path = root.path().join("test/ben/1.pgm");
    let bytes = fs::read(&path).expect("the picture");
    fs::write(&path, &bytes[..bytes.len() - 5]).expect("a file");
    assert!(message(root.path()).contains("test/ben/1.pgm"));

    let on_demand = Dataset::open_within(root.path(), 4.into(), 10).expect("only headers are checked");
    let error = on_demand.test.batch(&[3], &Device::default()).expect_err("corrupt").to_string();
    assert!(error.contains("test/ben/1.pgm"), "{error}");

    fs::write(&path, "no picture").expect("a file");
    assert!(Dataset::open_within(root.path(), 4.into(), 10).is_err(), "the header is wrong");
}

#[test]
fn a_split_that_does_not_fit_leaves_its_room_to_the_others() {
    let root = small_set();
    for file in 2..10 {
        let picture = GrayImage::from_pixel(6, 4, Luma([file]));
        picture.save(root.path().join(format!("train/ben/{file}.png"))).expect("a picture");
    }
    // 12, 4 and 4 pictures of 4x4x3 bytes; a corrupt one is found on opening where its split is kept.
    let kept = |budget| {
        SPLITS.map(|split| {
            let path = root.path().join(split).join("ben/1.pgm");
            let whole = fs::read(&path).expect("the picture");
            fs::write(&path, &whole[..whole.len() - 5]).expect("a file");
            let opened = Dataset::open_within(root.path(), 4.into(), budget);
            fs::write(&path, whole).expect("a file");
            opened.is_err()
        })
    };
    for (budget, expected) in [
        (191, [false, false, false]),
        (192, [false, true, false]),
        (384, [false, true, true]),
        (575, [false, true, true]),
        (576, [true, false, false]),
        (768, [true, true, false]),
        (960, [true, true, true]),
    ] {
        assert_eq!(kept(budget), expected, "{budget} bytes");
    }
}

#[test]
fn each_fault_of_the_layout_is_named() {
    type Break = fn(&Path);
    let faults: [(Break, &str); 8] = [
        (|root| fs::remove_dir_all(root).expect("removing"), "no data set at"),
        (|root| fs::remove_dir_all(root.join("val")).expect("removing"), "has no folder val/"),
        (
            |root| fs::remove_dir_all(root.join("test/ben")).expect("removing"),
            "class `ben` has no folder in test/",
        ),
        (
            |root| {
                fs::remove_dir_all(root.join("val/ben")).expect("removing");
                fs::create_dir(root.join("val/ben")).expect("a folder");
            },
            "val/ben holds no picture",
        ),
        (
            |root| {
                for split in SPLITS {
                    fs::remove_dir_all(root.join(split).join("ben")).expect("removing");
                }
            },
            "has 1 class folders",
        ),
        (|root| fs::write(root.join("val/readme.md"), "").expect("a file"), "val/readme.md is a file"),
        (|root| fs::write(root.join("val/ben/a.txt"), "").expect("a file"), "val/ben/a.txt is a file of"),
        (|root| fs::create_dir(root.join("val/ben/x.png")).expect("a folder"), "x.png is a folder"),
    ];
    for (break_it, part) in faults {
        let root = small_set();
        break_it(root.path());
        let message = message(root.path());
        assert!(message.contains(part), "{message}");
    }
}

#[test]
fn class_names_that_differ_only_in_case_are_refused() {
    // Not through the file system: some cannot hold both.
    let folders = ["ben", "Ben", "anna"].map(|class| BTreeSet::from([class.to_owned()]));
    let error = check_classes(Path::new("faces"), &folders).expect_err("a clash").to_string();
    assert!(error.contains("`Ben` and `ben` of faces differ only in case"), "{error}");
}

#[test]
fn groups_are_read_and_their_mistakes_are_named() {
    let root = small_set();
    fs::write(root.path().join("groups.csv"), "person,glasses\nben,no\nanna,yes\n").expect("a file");
    let groups = Dataset::open(root.path(), 4).expect("a good data set").groups.expect("groups");
    assert_eq!(groups.columns[0].of_class, ["yes", "no"]);
    fs::write(root.path().join("groups.csv"), "person,glasses\nben,no\ncarl,yes\n").expect("a file");
    assert!(message(root.path()).contains("groups.csv, line 3: `carl`"));
}

#[test]
fn impossible_sides_are_refused() {
    let root = small_set();
    assert!(Dataset::open(root.path(), 0).is_err());
    assert!(Dataset::open(root.path(), 1 << 20).is_err());
}

#[cfg(unix)]
#[test]
fn names_in_other_encodings_and_dangling_links_are_errors() {
    use std::os::unix::ffi::OsStrExt;
    let root = small_set();
    let link = root.path().join("val/ben/gone.png");
    std::os::unix::fs::symlink("/nonexistent/picture.png", &link).expect("a link");
    assert!(message(root.path()).contains("gone.png"));
    fs::remove_file(link).expect("removing");
    fs::write(root.path().join("val/ben").join(std::ffi::OsStr::from_bytes(b"\xff.png")), "")
        .expect("a file");
    assert!(message(root.path()).contains("not valid UTF-8"));
}
