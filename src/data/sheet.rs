//! A contact sheet: many pictures of a split on one, to look at before trusting them.

use image::{RgbImage, imageops};

use super::{DataError, Split};

/// Width of the white lines between pictures, in pixels.
const GAP: u32 = 2;

/// The first pictures of a split, `columns` a row (0 counts as 1), at most `rows_limit` rows, in the order
/// of [`Split::paths`]: by class, then by file name. Each is shown as the classifier sees it.
///
/// # Errors
/// When a picture that was not decoded on opening cannot be read or decoded.
pub fn contact_sheet(split: &Split, columns: usize, rows_limit: usize) -> Result<RgbImage, DataError> {
    let columns = columns.clamp(1, split.len().max(1));
    let rows = split.len().div_ceil(columns).min(rows_limit);
    let pitch = split.side() as u32 + GAP;
    let size = |count: usize| count as u32 * pitch + GAP;
    let mut sheet = RgbImage::from_pixel(size(columns), size(rows), image::Rgb([255; 3]));
    for position in 0..split.len().min(columns * rows) {
        let left = i64::from(GAP + (position % columns) as u32 * pitch);
        let top = i64::from(GAP + (position / columns) as u32 * pitch);
        split.with_picture(position, |picture| imageops::replace(&mut sheet, picture, left, top))?;
    }
    Ok(sheet)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::Dataset;
    use image::GrayImage;

    #[test]
    fn pictures_stand_in_a_grid_and_the_rest_is_white() {
        let root = tempfile::tempdir().expect("a temporary folder");
        for split in ["train", "val", "test"] {
            for (c, class) in ["a", "b"].into_iter().enumerate() {
                let folder = root.path().join(split).join(class);
                std::fs::create_dir_all(&folder).expect("a folder");
                for file in 0..3 - c {
                    let shade = (100 * c + 10 * file) as u8;
                    let picture = GrayImage::from_pixel(5, 5, image::Luma([shade]));
                    picture.save(folder.join(format!("{file}.png"))).expect("a picture");
                }
            }
        }
        let data = Dataset::open(root.path(), 5).expect("a good data set");
        let sheet = contact_sheet(&data.test, 2, 9).expect("good pictures");
        assert_eq!(sheet.dimensions(), (2 * 7 + 2, 3 * 7 + 2));
        assert_eq!(sheet.get_pixel(9, 2).0, [10; 3], "second picture of a");
        assert_eq!(sheet.get_pixel(2, 16).0, [110; 3], "second picture of b");
        assert_eq!(sheet.get_pixel(9, 16).0, [255; 3], "there are five pictures only");
        assert_eq!(contact_sheet(&data.test, 2, 1).expect("good pictures").height(), 9);
        assert_eq!(contact_sheet(&data.test, usize::MAX, 1).expect("good pictures").width(), 5 * 7 + 2);
    }
}
