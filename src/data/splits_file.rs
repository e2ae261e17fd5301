//! `splits.csv`: which picture of which class is in which split, as a file beside the pictures.
//!
//! ```csv
//! picture,class,split
//! anna/1.png,anna,train
//! anna/2.png,anna,test
//! ```
//!
//! A picture is named by its path from the folder of the file. A root with such a file needs no `train/`, `val/` and
//! `test/`, and pictures that it does not name are no part of the data set.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Component, Path};

use super::DataError;
use super::folder::{SPLITS, check_classes};
use super::picture::has_picture_ending;
use super::split::Listing;

/// Name of the file.
pub(super) const SPLITS_FILE: &str = "splits.csv";
const HEADER: [&str; 3] = ["picture", "class", "split"];

/// The classes and, for each split, its pictures in the order of class and path.
///
/// # Errors
/// [`DataError::Splits`] with the line: another header, a path that leads elsewhere or is no picture, a split of
/// another name, a picture twice; and what is wrong with the classes as a whole.
pub(super) fn parse(root: &Path, text: &[u8]) -> Result<(Vec<String>, [Listing; 3]), DataError> {
    let wrong = |line: u64, reason: String| DataError::Splits { path: root.join(SPLITS_FILE), line, reason };
    let mut reader = csv::ReaderBuilder::new().flexible(true).from_reader(text);
    let header = reader.headers().map_err(|error| wrong(1, error.to_string()))?;
    if header.iter().ne(HEADER) {
        let found = header.iter().collect::<Vec<_>>().join(",");
        return Err(wrong(1, format!("found the header `{found}`, expected `{}`", HEADER.join(","))));
    }
    let mut folders = [const { BTreeSet::new() }; 3];
    let mut rows: [BTreeSet<(String, String)>; 3] = [const { BTreeSet::new() }; 3];
    let mut seen = BTreeMap::new();
    for record in reader.records() {
        let record = record
            .map_err(|error| wrong(error.position().map_or(1, csv::Position::line), error.to_string()))?;
        let line = record.position().map_or(1, csv::Position::line);
        let (picture, class, split) = row(&record).map_err(|reason| wrong(line, reason))?;
        if let Some(first) = seen.insert(picture.to_owned(), line) {
            return Err(wrong(line, format!("`{picture}` is in line {first} already; keep one of them")));
        }
        folders[split].insert(class.to_owned());
        rows[split].insert((class.to_owned(), picture.to_owned()));
    }
    let classes = check_classes(root, &folders)?;
    let mut listings = [const { Listing::new() }; 3];
    for (listing, rows) in listings.iter_mut().zip(rows) {
        for (class, picture) in rows {
            // All classes are known: they come from these rows.
            let label = classes.binary_search(&class).unwrap_or_default();
            listing.push(picture, label);
        }
    }
    Ok((classes, listings))
}

/// Picture, class and number of the split of a row.
fn row(record: &csv::StringRecord) -> Result<(&str, &str, usize), String> {
    if record.len() != HEADER.len() {
        return Err(format!("found {} cells, expected {}: {}", record.len(), HEADER.len(), HEADER.join(",")));
    }
    let (picture, class, split) = (&record[0], &record[1], &record[2]);
    // One picture has one name: `components` passes over what is empty and over single dots.
    let plain = picture.split('/').all(|part| !matches!(part, "" | "." | ".."));
    let inside = Path::new(picture).components().all(|part| matches!(part, Component::Normal(_)));
    if !plain || !inside || picture.contains('\\') {
        return Err(format!("`{picture}` is not a path below the folder of this file, such as anna/1.png"));
    }
    if !has_picture_ending(picture) {
        return Err(format!("`{picture}` is a file of another kind, expected PNG, JPEG, PGM, PPM or BMP"));
    }
    if class.trim().is_empty() {
        return Err("the class is empty".to_owned());
    }
    let known = SPLITS.iter().position(|known| *known == split);
    let known = known.ok_or_else(|| format!("the split is `{split}`, expected train, val or test"))?;
    Ok((picture, class, known))
}

/// The file for these pictures.
pub(super) fn write(classes: &[String], listings: &[Listing; 3]) -> String {
    let mut to = csv::Writer::from_writer(Vec::new());
    // Writing to memory does not fail, and what is written is UTF-8.
    let _ = to.write_record(HEADER);
    for (listing, split) in listings.iter().zip(SPLITS) {
        for (picture, label) in listing.paths().iter().zip(listing.labels()) {
            let _ = to.write_record([picture.as_str(), classes[*label].as_str(), split]);
        }
    }
    String::from_utf8(to.into_inner().unwrap_or_default()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const GOOD: &str = "picture,class,split\nx/2.png,ben,train\nx/1.png,anna,train\ny.jpg,anna,val\nz.jpg,ben,val\n\
                        t.bmp,anna,test\n\"u,v.bmp\",ben,test\n";

    fn message(text: &str) -> String {
        parse(Path::new("faces"), text.as_bytes()).expect_err("broken").to_string()
    }

    #[test]
    fn what_is_written_is_what_is_read() {
        let (classes, listings) = parse(Path::new("faces"), GOOD.as_bytes()).expect("good");
        assert_eq!(classes, ["anna", "ben"]);
        assert_eq!(listings[0].paths(), ["x/1.png", "x/2.png"]);
        assert_eq!(listings[2].labels(), [0, 1]);
        let text = write(&classes, &listings);
        let (again, same) = parse(Path::new("faces"), text.as_bytes()).expect("good");
        assert_eq!((again, write(&classes, &same)), (classes, text));
    }

    #[test]
    fn each_mistake_is_found_with_its_line() {
        let cases = [
            ("", 1, "found the header ``"),
            ("path,class,split\n", 1, "found the header `path,class,split`"),
            ("picture,class,split\n../a.png,anna,train\n", 2, "not a path below"),
            ("picture,class,split\n/etc/a.png,anna,train\n", 2, "not a path below"),
            ("picture,class,split\n,anna,train\n", 2, "not a path below"),
            ("picture,class,split\na/1.png,anna,train\na//1.png,anna,test\n", 3, "not a path below"),
            ("picture,class,split\na/./1.png,anna,train\n", 2, "not a path below"),
            ("picture,class,split\n./1.png,anna,train\n", 2, "not a path below"),
            ("picture,class,split\na/1.png/,anna,train\n", 2, "not a path below"),
            ("picture,class,split\na.txt,anna,train\n", 2, "a file of another kind"),
            ("picture,class,split\na.png, ,train\n", 2, "class is empty"),
            ("picture,class,split\na.png,anna,dev\n", 2, "`dev`, expected train, val or test"),
            ("picture,class,split\na.png,anna\n", 2, "found 2 cells"),
            ("picture,class,split\na.png,anna,val\na.png,ben,val\n", 3, "in line 2 already"),
        ];
        for (text, line, expected) in cases {
            let found = message(text);
            assert!(found.contains(&format!("splits.csv, line {line}: ")), "{found}");
            assert!(found.contains(expected), "{found}");
        }
        let missing = message(&GOOD.replace("z.jpg,ben,val", "z.jpg,anna,val"));
        assert!(missing.contains("class `ben`") && missing.contains("val"), "{missing}");
    }

    proptest! {
        #[test]
        fn no_bytes_make_the_reader_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            let _ = parse(Path::new("faces"), &bytes);
            let _ = parse(Path::new("faces"), &[b"picture,class,split\n", &bytes[..]].concat());
        }
    }
}
