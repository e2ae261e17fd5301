//! A contact sheet: many pictures of a split on one, to look at before trusting them.

use image::{RgbImage, imageops};

use super::{Batch, DataError, Split};

/// The colour of what is covered: one that no face has.
const FLAT: [u8; 3] = [255, 0, 200];

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

/// Pictures above each other: unchanged, and with the pixels of their masks (row by row) in one flat colour,
/// so that everybody can see where something is written. Channels other than three are shown as grey.
pub fn placement_sheet(batch: &Batch, masks: &[Vec<bool>]) -> RgbImage {
    let [count, channels, height, width] = batch.shape();
    let pixels: Vec<f32> = batch.images.to_data().iter::<f32>().collect();
    let pitch = |length: usize| length as u32 + GAP;
    let size = (count as u32 * pitch(width) + GAP, 2 * pitch(height) + GAP);
    let mut sheet = RgbImage::from_pixel(size.0, size.1, image::Rgb([255; 3]));
    for (index, mask) in masks.iter().enumerate().take(count) {
        for (pixel, covered) in mask.iter().enumerate().take(height * width) {
            let level = |channel: usize| {
                let plane = index * channels + if channels == 3 { channel } else { 0 };
                (pixels[plane * height * width + pixel].clamp(0.0, 1.0) * 255.0).round() as u8
            };
            let shown = image::Rgb([level(0), level(1), level(2)]);
            let (x, y) = ((pixel % width) as u32, (pixel / width) as u32);
            let left = GAP + index as u32 * pitch(width) + x;
            sheet.put_pixel(left, GAP + y, shown);
            let flat = if *covered { image::Rgb(FLAT) } else { shown };
            sheet.put_pixel(left, GAP + pitch(height) + y, flat);
        }
    }
    sheet
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::Dataset;
    use image::GrayImage;

    #[test]
    fn covered_pixels_are_shown_in_one_colour_below_the_picture() {
        let images = burn::tensor::Tensor::from_data(
            burn::tensor::TensorData::new(vec![0.0_f32, 0.2, 0.4, 0.6, 0.8, 1.0, 0.2, 0.4], [2, 1, 2, 2]),
            &burn::tensor::Device::default(),
        );
        let batch =
            Batch { images, labels: vec![0, 1], ids: vec![crate::data::ImageId(0); 2], radius_scale: None };
        let masks = [vec![false, true, false, false], vec![false; 4]];
        let sheet = placement_sheet(&batch, &masks);
        assert_eq!(sheet.dimensions(), (2 * 4 + 2, 2 * 4 + 2));
        assert_eq!(sheet.get_pixel(3, 2).0, [51; 3], "unchanged");
        assert_eq!(sheet.get_pixel(3, 6).0, FLAT);
        assert_eq!(sheet.get_pixel(2, 7).0, [102; 3]);
        assert_eq!(sheet.get_pixel(7, 2).0, [255; 3], "the second picture");
        assert_eq!(sheet.get_pixel(6, 6).0, [204; 3]);
    }

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
