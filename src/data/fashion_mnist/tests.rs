use super::*;
use crate::data::Dataset;

fn idx(sizes: &[u32], values: &[u8]) -> Vec<u8> {
    let mut bytes = vec![0, 0, 8, sizes.len() as u8];
    bytes.extend(sizes.iter().flat_map(|size| size.to_be_bytes()));
    bytes.extend(values);
    bytes
}

/// Four files with `each` pictures of every class; all pixels of picture `n` are `n`.
fn write_files(folder: &Path, each: usize) {
    for which in ["train", "t10k"] {
        let count = each * 10;
        let pixels: Vec<u8> = (0..count).flat_map(|row| [row as u8; 784]).collect();
        let labels: Vec<u8> = (0..count).map(|row| (row % 10) as u8).collect();
        let write = |name: &str, bytes: Vec<u8>| fs::write(folder.join(name), bytes).expect("written");
        write(&format!("{which}-images-idx3-ubyte"), idx(&[count as u32, 28, 28], &pixels));
        write(&format!("{which}-labels-idx1-ubyte"), idx(&[count as u32], &labels));
    }
}

fn config(from: &Path) -> FashionMnistConfig {
    FashionMnistConfig { from: from.to_path_buf(), train: 3, val: 1, test: 2, seed: 0 }
}

#[test]
fn a_subset_is_laid_out_as_a_data_set() {
    let place = tempfile::tempdir().expect("temporary directory");
    write_files(place.path(), 5);
    let out = place.path().join("set");
    assert_eq!(write_fashion_mnist(&out, &config(place.path())).expect("written"), [30, 10, 20]);
    let data = Dataset::open(&out, 28).expect("a data set");
    assert_eq!(data.classes, CLASSES);
    assert_eq!([data.train.len(), data.val.len(), data.test.len()], [30, 10, 20]);
    // Picture and label belong together, and no picture is in both of `train` and `val`.
    let mut rows = Vec::new();
    for (path, label) in data
        .train
        .paths()
        .iter()
        .zip(data.train.labels())
        .chain(data.val.paths().iter().zip(data.val.labels()))
    {
        let row: usize = path[path.len() - 9..path.len() - 4].parse().expect("the row in the name");
        assert_eq!(row % 10, *label, "{path}");
        let picture = image::open(out.join(path)).expect("a picture").into_luma8();
        assert!(picture.pixels().all(|pixel| usize::from(pixel.0[0]) == row), "{path}");
        rows.push(row);
    }
    rows.sort_unstable();
    rows.dedup();
    assert_eq!(rows.len(), 40);
}

#[test]
fn the_seed_decides_which_pictures() {
    let place = tempfile::tempdir().expect("temporary directory");
    write_files(place.path(), 8);
    let hash = |name: &str, seed| {
        let out = place.path().join(name);
        write_fashion_mnist(&out, &FashionMnistConfig { seed, ..config(place.path()) }).expect("written");
        Dataset::open(&out, 28).expect("a data set").hash
    };
    assert_eq!(hash("a", 1), hash("b", 1));
    assert_ne!(hash("a2", 1), hash("c", 2));
}

#[test]
fn relatives_are_named_by_their_labels_and_have_any_size() {
    let place = tempfile::tempdir().expect("temporary directory");
    for which in ["train", "t10k"] {
        let labels: Vec<u8> = (0..44).map(|row| row % 11).collect();
        let write = |name: &str, bytes: Vec<u8>| fs::write(place.path().join(name), bytes).expect("written");
        write(&format!("{which}-images-idx3-ubyte"), idx(&[44, 5, 7], &[9; 44 * 35]));
        write(&format!("{which}-labels-idx1-ubyte"), idx(&[44], &labels));
    }
    let out = place.path().join("set");
    assert_eq!(write_idx(&out, &config(place.path())).expect("written"), [33, 11, 22]);
    let data = Dataset::open(&out, 5).expect("a data set");
    assert_eq!((data.classes.len(), data.classes[0].as_str(), data.classes[10].as_str()), (11, "00", "10"));
    let refused = write_fashion_mnist(&place.path().join("other"), &config(place.path()));
    assert!(refused.expect_err("not clothes").to_string().contains("5x7 pixels, expected 28x28"));
}

#[test]
fn what_is_missing_or_does_not_fit_is_named() {
    let place = tempfile::tempdir().expect("temporary directory");
    let out = place.path().join("set");
    let message =
        |config: &FashionMnistConfig| write_fashion_mnist(&out, config).expect_err("broken").to_string();
    let missing = message(&config(place.path()));
    assert!(
        missing.contains("train-images-idx3-ubyte.gz") && missing.contains("dataset-fashion-mnist"),
        "{missing}"
    );
    write_files(place.path(), 5);
    let many = message(&FashionMnistConfig { val: 3, ..config(place.path()) });
    assert!(many.contains("class 0-t-shirt has 5 pictures, and 3 for train, 3 for val"), "{many}");
    let none = message(&FashionMnistConfig { test: 0, ..config(place.path()) });
    assert!(none.contains("0 for test"), "{none}");
    let labels = place.path().join("t10k-labels-idx1-ubyte");
    fs::write(&labels, idx(&[49], &[0; 49])).expect("written");
    assert!(message(&config(place.path())).contains("it has 49 labels, expected 50"));
    fs::write(&labels, idx(&[50], &[10; 50])).expect("written");
    assert!(message(&config(place.path())).contains("it has the label 10, expected 0 to 9"));
    fs::write(place.path().join("train-images-idx3-ubyte"), idx(&[50, 4, 4], &[0; 800])).expect("written");
    assert!(message(&config(place.path())).contains("have 4x4 pixels, expected 28x28"));
    assert!(!out.exists(), "something was left behind");
}
