use super::*;
use crate::data::Dataset;

/// Names and contents.
type Files = Vec<(String, Vec<u8>)>;
/// What is done to them before they are packed.
type Change<'a> = &'a dyn Fn(&mut Files);

/// Two pictures a class and file; the pixels of record `n` of file `f` are `10 f + n`, plus 1 in green and 2 in blue.
fn files(which: Cifar) -> Files {
    let names = which.training_files().iter().chain(which.test_files());
    let mut files: Files = names
        .enumerate()
        .map(|(file, name)| {
            let mut bytes = Vec::new();
            for record in 0..2 * which.classes() {
                bytes.extend(vec![7; which.label_bytes() - 1]);
                bytes.push((record % which.classes()) as u8);
                for plane in 0..3 {
                    bytes.extend([(10 * file + record + plane) as u8; SIDE * SIDE]);
                }
            }
            (format!("cifar/{name}"), bytes)
        })
        .collect();
    let letter = |label: usize| (b'a' + (label % 26) as u8) as char;
    let names: Vec<String> =
        (0..which.classes()).map(|label| format!("kind_{}{}", letter(label / 26), letter(label))).collect();
    files.push((format!("cifar/{}", which.names_file()), (names.join("\n") + "\n\n").into_bytes()));
    files
}

fn write_archive(path: &Path, files: &[(String, Vec<u8>)]) {
    let files: Vec<(&str, &[u8])> = files.iter().map(|(name, bytes)| (name.as_str(), &bytes[..])).collect();
    fs::write(path, tar::archive(&files)).expect("written");
}

fn config(which: Cifar, from: &Path) -> CifarConfig {
    CifarConfig { which, from: from.to_path_buf(), train: 1, val: 1, test: 2, seed: 0 }
}

#[test]
fn archive_and_folder_become_the_same_data_set() {
    let place = tempfile::tempdir().expect("temporary directory");
    for which in [Cifar::Ten, Cifar::Hundred] {
        let name = |what: &str| place.path().join(format!("{which:?}-{what}"));
        write_archive(&name("archive"), &files(which));
        fs::create_dir(name("folder")).expect("a folder");
        for (file, bytes) in files(which) {
            fs::write(name("folder").join(file.trim_start_matches("cifar/")), bytes).expect("written");
        }
        let classes = which.classes();
        for what in ["archive", "folder"] {
            let out = name(&format!("{what}-set"));
            let found = write_cifar(&out, &config(which, &name(what))).expect("written");
            assert_eq!(found, [classes, classes, 2 * classes]);
        }
        let open = |what: &str| Dataset::open(&name(what), 32).expect("a data set");
        let data = open("archive-set");
        assert_eq!(data.hash, open("folder-set").hash);
        assert_eq!(data.classes.len(), classes);
        let (first, last) = match which {
            Cifar::Ten => ("0-kind-aa", "9-kind-aj"),
            Cifar::Hundred => ("00-kind-aa", "99-kind-dv"),
        };
        assert_eq!((data.classes[0].as_str(), data.classes[classes - 1].as_str()), (first, last));
    }
}

#[test]
fn picture_label_and_colours_belong_together() {
    let place = tempfile::tempdir().expect("temporary directory");
    let (from, out) = (place.path().join("a.tar"), place.path().join("set"));
    write_archive(&from, &files(Cifar::Ten));
    write_cifar(&out, &config(Cifar::Ten, &from)).expect("written");
    let data = Dataset::open(&out, 32).expect("a data set");
    for split in [&data.train, &data.val, &data.test] {
        for (path, label) in split.paths().iter().zip(split.labels()) {
            let row: usize = path[path.len() - 9..path.len() - 4].parse().expect("the row in the name");
            assert_eq!(row % 10, *label, "{path}");
            // Twenty records a file; the test file is the sixth.
            let file = if path.starts_with("test") { 5 } else { row / 20 };
            let value = (10 * file + row % 20) as u8;
            let picture = image::open(out.join(path)).expect("a picture").into_rgb8();
            assert!(picture.pixels().all(|pixel| pixel.0 == [value, value + 1, value + 2]), "{path}");
        }
    }
}

#[test]
fn what_is_missing_broken_or_a_pickle_is_named() {
    let place = tempfile::tempdir().expect("temporary directory");
    let (from, out) = (place.path().join("a.tar"), place.path().join("set"));
    let message = |change: Change| {
        let mut files = files(Cifar::Ten);
        change(&mut files);
        write_archive(&from, &files);
        write_cifar(&out, &config(Cifar::Ten, &from)).expect_err("broken").to_string()
    };
    let cases: [(Change, &str); 6] = [
        (&|files| drop(files.remove(2)), "data_batch_3.bin is missing"),
        (&|files| drop(files.pop()), "batches.meta.txt is missing"),
        (&|files| files[0].1.truncate(5000), "data_batch_1.bin ends inside picture 1"),
        (&|files| files[0].1[0] = 10, "the label 10, expected 0 to 9"),
        (&|files| files[6].1.extend(b"more\n"), "has 11 names, expected 10"),
        (&|files| files[1].0 = "cifar-10-batches-py/data_batch_1".to_owned(), "cifar-10-binary.tar.gz"),
    ];
    for (change, expected) in cases {
        let found = message(change);
        assert!(found.contains(expected), "{found}");
    }
    write_archive(&from, &files(Cifar::Ten));
    let many = CifarConfig { val: 10, ..config(Cifar::Ten, &from) };
    let found = write_cifar(&out, &many).expect_err("too many").to_string();
    assert!(found.contains("class 0-kind-aa has 10 pictures, and 1 for train, 10 for val"), "{found}");
    assert!(!out.exists(), "something was left behind");
}
