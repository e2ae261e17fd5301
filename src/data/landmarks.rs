//! Where eyes, nose and mouth are: `landmarks.csv` in the root of a data set.
//!
//! ```csv
//! picture,left_eye_x,left_eye_y,right_eye_x,right_eye_y,nose_x,nose_y,mouth_left_x,mouth_left_y,mouth_right_x,mouth_right_y
//! test/anna/1.png,30,45,62,44,46,65,34,80,58,80
//! ```
//!
//! A picture is named by its path from the folder of the file. Coordinates are pixels of that picture as a
//! viewer shows it, x to the right and y down from the upper left corner; left is left in the picture. They
//! go through the same crop to a square and the same resizing as the picture.

use std::collections::BTreeMap;
use std::fs;
use std::io::ErrorKind;
use std::path::Path;

use super::picture::shown_size;
use super::split::read_file;
use super::{DataError, ImageId};
use crate::stable_hash;

/// The columns after the first, two for each point.
const COLUMNS: [&str; 10] = [
    "left_eye_x",
    "left_eye_y",
    "right_eye_x",
    "right_eye_y",
    "nose_x",
    "nose_y",
    "mouth_left_x",
    "mouth_left_y",
    "mouth_right_x",
    "mouth_right_y",
];

/// Left eye, right eye, tip of the nose, left and right corner of the mouth, as `(x, y)`.
type Face = [(f64, f64); 5];

/// The landmarks of some pictures, in pixels of the pictures that a classifier sees.
#[derive(Clone, Debug, PartialEq)]
pub struct Landmarks {
    faces: BTreeMap<ImageId, Face>,
}

impl Landmarks {
    /// Reads the landmarks of pictures that are cropped and resized to `side x side` pixels.
    ///
    /// # Errors
    /// [`DataError::Landmarks`] with the line: a picture that is not there or is there twice, a number that
    /// is none or is outside of the picture or of its middle square, eyes the wrong way round;
    /// [`DataError::Read`] when the file cannot be read.
    pub fn read(path: &Path, side: usize) -> Result<Self, DataError> {
        let text = fs::read_to_string(path).map_err(DataError::read(path))?;
        let root = path.parent().unwrap_or(Path::new(""));
        let wrong = |(line, reason)| DataError::Landmarks { path: path.to_path_buf(), line, reason };
        parse(&text, |picture| {
            let file = root.join(picture);
            let bytes = read_file(&file).map_err(|error| match error {
                DataError::Read { source, .. } if source.kind() == ErrorKind::NotFound => {
                    format!("there is no picture {}; name it by its path from this file", file.display())
                }
                other => other.to_string(),
            })?;
            let (width, height) = shown_size(&file, &bytes).map_err(|error| error.to_string())?;
            Ok((width, height, side))
        })
        .map_err(wrong)
    }

    /// The landmarks of each picture.
    pub fn faces(&self) -> impl Iterator<Item = (ImageId, [(f64, f64); 5])> {
        self.faces.iter().map(|(id, face)| (*id, *face))
    }

    /// The first of some pictures, by the path in its data set, that has no landmarks.
    pub fn missing<'a>(&self, pictures: &'a [String]) -> Option<&'a str> {
        let absent = |picture: &&String| !self.faces.contains_key(&id(picture));
        pictures.iter().find(absent).map(String::as_str)
    }
}

/// The id of a picture in a data set with this path.
fn id(picture: &str) -> ImageId {
    ImageId(stable_hash(picture.as_bytes()))
}

/// Reads the text. `sizes` gives width and height of a picture, and the side that it is resized to.
fn parse(
    text: &str,
    sizes: impl Fn(&str) -> Result<(u32, u32, usize), String>,
) -> Result<Landmarks, (u64, String)> {
    let mut reader =
        csv::ReaderBuilder::new().flexible(true).trim(csv::Trim::All).from_reader(text.as_bytes());
    let header = reader.headers().map_err(|error| (1, error.to_string()))?;
    if header.get(0) != Some("picture") || !header.iter().skip(1).eq(COLUMNS) {
        let found = header.iter().collect::<Vec<_>>().join(",");
        return Err((1, format!("found the header `{found}`, expected `picture,{}`", COLUMNS.join(","))));
    }
    let mut faces = BTreeMap::new();
    for record in reader.records() {
        let record = record.map_err(|error| (1, error.to_string()))?;
        let line = record.position().map_or(1, csv::Position::line);
        if record.len() != COLUMNS.len() + 1 {
            let reason = format!("found {} cells, expected {}", record.len(), COLUMNS.len() + 1);
            return Err((line, reason));
        }
        let picture = record[0].replace('\\', "/");
        let face = sizes(&picture)
            .and_then(|(width, height, side)| face(&record, width, height, side))
            .map_err(|reason| (line, reason))?;
        if faces.insert(id(&picture), face).is_some() {
            return Err((line, format!("`{picture}` has a row already; keep one of them")));
        }
    }
    if faces.is_empty() {
        return Err((1, "no row; expected one for each picture that is attacked".to_owned()));
    }
    Ok(Landmarks { faces })
}

/// The points of a row after the crop and the resizing of a picture.
fn face(record: &csv::StringRecord, width: u32, height: u32, side: usize) -> Result<Face, String> {
    let square = width.min(height);
    let scale = side as f64 / f64::from(square);
    let mut face = [(0.0, 0.0); 5];
    for (index, column) in COLUMNS.into_iter().enumerate() {
        let cell = &record[index + 1];
        let length = if index % 2 == 0 { width } else { height };
        let value: f64 = cell.parse().map_err(|_| format!("`{column}` is `{cell}`, expected a number"))?;
        let picture = &record[0];
        if !(0.0..=f64::from(length)).contains(&value) {
            return Err(format!(
                "`{column}` is {cell}, outside `{picture}`, which is {width} x {height} pixels (width x height); are these the landmarks of another picture?"
            ));
        }
        let cut = f64::from((length - square) / 2);
        if !(cut..=cut + f64::from(square)).contains(&value) {
            return Err(format!(
                "`{column}` is {cell}, outside the middle square of {square} x {square} pixels that is left of `{picture}`; crop the picture around the face"
            ));
        }
        let point = &mut face[index / 2];
        *(if index % 2 == 0 { &mut point.0 } else { &mut point.1 }) = (value - cut) * scale;
    }
    if face[0].0 >= face[1].0 {
        return Err("the left eye is not left of the right one; left is left in the picture".to_owned());
    }
    Ok(face)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header() -> String {
        format!("picture,{}\n", COLUMNS.join(","))
    }

    fn read(rows: &str) -> Result<Landmarks, (u64, String)> {
        let sizes = |picture: &str| match picture {
            "test/a/1.png" => Ok((92, 112, 46)),
            "test/a/2.png" => Ok((200, 100, 50)),
            other => Err(format!("there is no picture {other}")),
        };
        parse(&(header() + rows), sizes)
    }

    #[test]
    fn points_follow_the_crop_and_the_resizing() {
        let rows =
            "test/a/1.png,30,45,62,44,46,65,34,80,58,80\ntest/a/2.png,60,40,140,40,100,50,70,90,130,90\n";
        let found = read(rows).expect("good rows");
        let faces: BTreeMap<ImageId, Face> = found.faces().collect();
        // 92 x 112: ten rows are cut on top, and the rest is halved.
        let first = faces[&id("test/a/1.png")];
        assert_eq!(first, [(15.0, 17.5), (31.0, 17.0), (23.0, 27.5), (17.0, 35.0), (29.0, 35.0)]);
        assert_eq!(faces[&id("test/a/2.png")][0], (5.0, 20.0), "fifty columns are cut on the left");
        let names = ["test/a/2.png", "test/a/3.png"].map(str::to_owned);
        assert_eq!(found.missing(&names), Some("test/a/3.png"));
        assert_eq!(found.missing(&names[..1]), None);
    }

    #[test]
    fn each_mistake_is_found_with_its_line() {
        let good = "test/a/1.png,30,45,62,44,46,65,34,80,58,80\n";
        for (rows, line, part) in [
            ("test/a/9.png,30,45,62,44,46,65,34,80,58,80\n", 2, "no picture test/a/9.png"),
            ("test/a/1.png,30,45,162,44,46,65,34,80,58,80\n", 2, "`right_eye_x` is 162, outside"),
            ("test/a/1.png,30,5,62,44,46,65,34,80,58,80\n", 2, "middle square of 92 x 92"),
            ("test/a/1.png,30,45,62,44,46,nan,34,80,58,80\n", 2, "`nose_y` is nan"),
            ("test/a/1.png,30,45,62,44,46,x,34,80,58,80\n", 2, "expected a number"),
            ("test/a/1.png,62,45,30,44,46,65,34,80,58,80\n", 2, "left eye is not left"),
            ("test/a/1.png,30,45\n", 2, "found 3 cells, expected 11"),
            ("", 1, "no row"),
        ] {
            let (found, reason) = read(rows).expect_err(rows);
            assert!(found == line && reason.contains(part), "{rows:?}: line {found}: {reason}");
        }
        let (line, reason) = read(&format!("{good}{good}")).expect_err("twice");
        assert!(line == 3 && reason.contains("a row already"), "{reason}");
        let (line, reason) = parse("picture,eye\n", |_| Ok((1, 1, 1))).expect_err("another header");
        assert!(line == 1 && reason.contains("expected `picture,left_eye_x"), "{reason}");
    }

    #[test]
    fn a_picture_is_read_no_further_than_elsewhere() {
        let folder = tempfile::tempdir().expect("temporary directory");
        let path = folder.path().join("landmarks.csv");
        fs::write(&path, header() + "long.png,30,45,62,44,46,65,34,80,58,80\n").expect("written");
        let refused = || Landmarks::read(&path, 64).expect_err("not a picture").to_string();
        assert!(refused().contains("there is no picture"), "{}", refused());
        // Sparse: it takes no room.
        let long = fs::File::create(folder.path().join("long.png")).expect("created");
        long.set_len((256 << 20) + 1).expect("lengthened");
        let error = refused();
        assert!(error.contains("268435457 bytes, expected at most 268435456"), "{error}");
    }
}
