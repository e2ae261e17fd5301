//! One picture file to pixels.
//!
//! The conversion, in this order: a JPEG is turned the way its EXIF orientation says, as a viewer shows
//! it; 16-bit samples are rounded to 8 bits; a transparent picture is laid on white; grey is copied into
//! three channels (and CMYK is turned into RGB by the decoder, without a colour profile); what the
//! [`Framing`] keeps is cut out, and resized to its square by its filter, smaller pictures too. What already
//! has the side keeps its exact pixels.

use std::io::Cursor;
use std::path::Path;

use image::imageops::{self, FilterType};
use image::metadata::Orientation;
use image::{DynamicImage, ImageDecoder, ImageFormat, ImageReader, Limits, Rgb, RgbImage};

use super::DataError;
use crate::preprocessing::{Crop, Framing, Interpolation};

/// Endings of the files that are taken for pictures, in lower case.
const ENDINGS: [&str; 6] = ["png", "jpg", "jpeg", "pgm", "ppm", "bmp"];

/// Largest width or height of a picture file in pixels. With [`LARGEST_DECODED`] this keeps a crafted
/// file of a few bytes from asking for gigabytes.
const LARGEST_SIDE: u32 = 16_384;

/// Most memory that one decoded picture may take, in bytes: a 16-bit colour picture of 44 megapixels.
const LARGEST_DECODED: u64 = 256 << 20;

/// Whether a file name ends like a picture.
pub(super) fn has_picture_ending(name: &str) -> bool {
    name.rsplit_once('.')
        .is_some_and(|(_, ending)| ENDINGS.iter().any(|known| ending.eq_ignore_ascii_case(known)))
}

/// Checks what a file says about itself, its format and size, without decoding it.
///
/// # Errors
/// [`DataError::Picture`] when it is no picture, or too large.
pub(super) fn check_header(path: &Path, bytes: &[u8]) -> Result<(), DataError> {
    decoder(path, bytes).map(drop)
}

/// Width and height of a picture as a viewer shows it, without decoding it.
///
/// # Errors
/// As for [`check_header`].
pub(super) fn shown_size(path: &Path, bytes: &[u8]) -> Result<(u32, u32), DataError> {
    let mut decoder = decoder(path, bytes)?;
    let (width, height) = decoder.dimensions();
    let turned = matches!(
        decoder.orientation(),
        Ok(Orientation::Rotate90
            | Orientation::Rotate270
            | Orientation::Rotate90FlipH
            | Orientation::Rotate270FlipH)
    );
    Ok(if turned { (height, width) } else { (width, height) })
}

/// Decodes a file to square RGB pixels as the head of this file describes.
///
/// # Errors
/// [`DataError::Picture`] when it is corrupt, no picture, too large, or does not contain what is to be kept.
pub(super) fn decode(path: &Path, bytes: &[u8], framing: &Framing) -> Result<RgbImage, DataError> {
    let mut decoder = decoder(path, bytes)?;
    let orientation = decoder.orientation().unwrap_or(Orientation::NoTransforms);
    let mut picture = DynamicImage::from_decoder(decoder).map_err(|error| broken(path, &error))?;
    picture.apply_orientation(orientation);
    let kept = crop(opaque(picture), framing.crop).map_err(|reason| broken(path, &reason))?;
    let side = framing.side as u32;
    let (width, height) = kept.dimensions();
    if (width, height) == (side, side) {
        return Ok(kept);
    }
    let shrinks = width >= side && height >= side;
    Ok(match framing.interpolation {
        Interpolation::Area if shrinks => imageops::thumbnail(&kept, side, side),
        Interpolation::Area | Interpolation::Bilinear => {
            imageops::resize(&kept, side, side, FilterType::Triangle)
        }
        Interpolation::Bicubic => imageops::resize(&kept, side, side, FilterType::CatmullRom),
    })
}

fn decoder<'a>(path: &Path, bytes: &'a [u8]) -> Result<impl ImageDecoder + 'a, DataError> {
    let mut reader =
        ImageReader::new(Cursor::new(bytes)).with_guessed_format().map_err(|error| broken(path, &error))?;
    let supported = [ImageFormat::Png, ImageFormat::Jpeg, ImageFormat::Pnm, ImageFormat::Bmp];
    if !reader.format().is_some_and(|format| supported.contains(&format)) {
        return Err(broken(path, &"its content is not PNG, JPEG, PGM, PPM or BMP"));
    }
    let mut limits = Limits::default();
    limits.max_image_width = Some(LARGEST_SIDE);
    limits.max_image_height = Some(LARGEST_SIDE);
    limits.max_alloc = Some(LARGEST_DECODED);
    reader.limits(limits);
    let decoder = reader.into_decoder().map_err(|error| broken(path, &error))?;
    let (width, height) = decoder.dimensions();
    if width == 0 || height == 0 {
        return Err(broken(path, &format!("{width}x{height} pixels")));
    }
    // Not every decoder counts its own output against the limit.
    if decoder.total_bytes() > LARGEST_DECODED {
        return Err(broken(path, &format!("{width}x{height} pixels are too many")));
    }
    Ok(decoder)
}

fn broken(path: &Path, reason: &dyn std::fmt::Display) -> DataError {
    DataError::Picture { path: path.to_path_buf(), reason: reason.to_string() }
}

/// RGB with 8 bits, transparency laid on white.
fn opaque(picture: DynamicImage) -> RgbImage {
    if !picture.color().has_alpha() {
        return picture.into_rgb8();
    }
    let rgba = picture.into_rgba8();
    RgbImage::from_fn(rgba.width(), rgba.height(), |x, y| {
        let [r, g, b, alpha] = rgba.get_pixel(x, y).0.map(u32::from);
        let over_white = |value: u32| ((value * alpha + 255 * (255 - alpha) + 127) / 255) as u8;
        Rgb([over_white(r), over_white(g), over_white(b)])
    })
}

fn crop(picture: RgbImage, crop: Crop) -> Result<RgbImage, String> {
    let (width, height) = picture.dimensions();
    let middle = |side: u32| [(width - side) / 2, (height - side) / 2, side, side];
    let shorter = width.min(height);
    let [left, top, columns, rows] = match crop {
        Crop::Whole => return Ok(picture),
        Crop::Square => middle(shorter),
        Crop::Centre { share } => middle(((shorter as f32 * share).round() as u32).clamp(1, shorter)),
        Crop::Box { left, top, width: columns, height: rows } => {
            let inside =
                |start: u32, length: u32, all: u32| start.checked_add(length).is_some_and(|end| end <= all);
            if !inside(left, columns, width) || !inside(top, rows, height) {
                return Err(format!(
                    "it has {width}x{height} pixels, and preprocessing.crop asks for {columns}x{rows} from column \
                     {left} and row {top} on"
                ));
            }
            [left, top, columns, rows]
        }
    };
    Ok(imageops::crop_imm(&picture, left, top, columns, rows).to_image())
}

#[cfg(test)]
mod tests {
    use super::*;
    use image::{ImageBuffer, Luma, LumaA, Rgba};

    fn encoded(picture: &DynamicImage, format: ImageFormat) -> Vec<u8> {
        let mut bytes = Cursor::new(Vec::new());
        picture.write_to(&mut bytes, format).expect("writing to memory");
        bytes.into_inner()
    }

    fn decoded(picture: &DynamicImage, format: ImageFormat, side: usize) -> RgbImage {
        decode(Path::new("p"), &encoded(picture, format), &side.into()).expect("a good picture")
    }

    #[test]
    fn a_tall_picture_is_cropped_in_the_middle_and_keeps_its_pixels() {
        // 92x112 to 92: rows 10 to 101 stay.
        let grey = DynamicImage::from(ImageBuffer::from_fn(92, 112, |x, y| Luma([(x + y) as u8])));
        for format in [ImageFormat::Png, ImageFormat::Pnm, ImageFormat::Bmp] {
            let pixels = decoded(&grey, format, 92);
            assert_eq!(pixels.get_pixel(0, 0).0, [10; 3]);
            assert_eq!(pixels.get_pixel(91, 91).0, [192; 3]);
        }
    }

    fn framed(picture: &DynamicImage, framing: &Framing) -> Result<RgbImage, DataError> {
        decode(Path::new("p"), &encoded(picture, ImageFormat::Png), framing)
    }

    #[test]
    fn what_the_crop_keeps_is_what_is_left() {
        let place = DynamicImage::from(ImageBuffer::from_fn(20, 12, |x, y| Rgb([x as u8, y as u8, 0])));
        let corners = |side: usize, crop| {
            let pixels = framed(&place, &Framing { crop, ..side.into() }).expect("a good picture");
            let last = side as u32 - 1;
            [pixels.get_pixel(0, 0).0, pixels.get_pixel(last, last).0]
        };
        assert_eq!(corners(12, Crop::Square), [[4, 0, 0], [15, 11, 0]]);
        // Half of 12 from the middle: columns 7 to 12, rows 3 to 8.
        assert_eq!(corners(6, Crop::Centre { share: 0.5 }), [[7, 3, 0], [12, 8, 0]]);
        assert_eq!(corners(4, Crop::Box { left: 3, top: 8, width: 4, height: 4 }), [[3, 8, 0], [6, 11, 0]]);
        let [first, last] = corners(5, Crop::Whole);
        assert!(first[0] > 0 && last[0] < 19, "{first:?} {last:?} are means of the corners");
        let too_large = Framing { crop: Crop::Box { left: 3, top: 9, width: 4, height: 4 }, ..4.into() };
        let message = framed(&place, &too_large).expect_err("it sticks out").to_string();
        assert!(message.contains("20x12") && message.contains("4x4 from column 3 and row 9"), "{message}");
        let overflow =
            Framing { crop: Crop::Box { left: u32::MAX, top: 0, width: 4, height: 4 }, ..4.into() };
        assert!(framed(&place, &overflow).is_err());
    }

    #[test]
    fn each_filter_gives_its_own_pixels() {
        let columns = [0_u8, 0, 0, 240, 0, 0, 60, 60];
        let lines = DynamicImage::from(ImageBuffer::from_fn(8, 8, |x, _| Luma([columns[x as usize]])));
        let row = |side: usize, interpolation| -> Vec<u8> {
            let pixels = framed(&lines, &Framing { interpolation, ..side.into() }).expect("a good picture");
            (0..side as u32).map(|x| pixels.get_pixel(x, 0).0[0]).collect()
        };
        assert_eq!(row(4, Interpolation::Area), [0, 120, 0, 60]);
        assert_eq!(row(3, Interpolation::Area), [0, 80, 60], "columns 0 to 2, 3 to 5, 6 and 7");
        // Pillow 13.0: Image.fromarray(lines).resize((4, 4), BILINEAR) and BICUBIC, the first row.
        let close = |found: Vec<u8>, expected: [u8; 4]| {
            assert!(found.iter().zip(expected).all(|(a, b)| a.abs_diff(b) <= 1), "{found:?} {expected:?}");
        };
        close(row(4, Interpolation::Bilinear), [0, 90, 38, 51]);
        close(row(4, Interpolation::Bicubic), [0, 102, 32, 53]);
        assert_eq!(row(16, Interpolation::Area), row(16, Interpolation::Bilinear), "where it grows");
    }

    #[test]
    fn shrinking_averages() {
        let checks = ImageBuffer::from_fn(64, 64, |x, y| Rgb([if (x + y) % 2 == 0 { 0_u8 } else { 200 }; 3]));
        let small = decoded(&checks.into(), ImageFormat::Png, 16);
        assert!(small.pixels().all(|pixel| pixel.0.iter().all(|value| value.abs_diff(100) < 12)));
    }

    #[test]
    fn sixteen_bits_are_rounded_to_eight() {
        let deep = DynamicImage::from(ImageBuffer::from_pixel(4, 4, Luma([257_u16 * 77])));
        assert!(decoded(&deep, ImageFormat::Png, 4).pixels().all(|pixel| pixel.0 == [77; 3]));
    }

    #[test]
    fn inks_become_colours() {
        // Pillow 13.0: Image.new("CMYK", (8, 8), (0, 255, 255, 0)).save("cmyk.jpg", quality=95), which is red.
        let red = decode(Path::new("p"), include_bytes!("../../tests/data/cmyk.jpg"), &4.into());
        assert!(
            red.expect("known").pixels().all(|pixel| pixel.0[0] > 250 && pixel.0[1] < 5 && pixel.0[2] < 5)
        );
    }

    #[test]
    fn transparency_is_laid_on_white() {
        let glass = DynamicImage::from(ImageBuffer::from_pixel(4, 4, Rgba([100_u8, 0, 255, 128])));
        assert_eq!(decoded(&glass, ImageFormat::Png, 4).get_pixel(1, 1).0, [177, 127, 255]);
        let clear = DynamicImage::from(ImageBuffer::from_pixel(4, 4, LumaA([9_u8, 0])));
        assert_eq!(decoded(&clear, ImageFormat::Png, 4).get_pixel(1, 1).0, [255; 3]);
    }

    #[test]
    fn a_bomb_is_refused_before_it_is_decoded() {
        let bomb = b"P5\n4000000 4000000\n255\n";
        let error =
            decode(Path::new("train/a/bomb.pgm"), bomb, &8.into()).expect_err("too large").to_string();
        assert!(error.contains("train/a/bomb.pgm"), "{error}");
        let within_sides = b"P6\n16000 16000\n255\n";
        assert!(check_header(Path::new("p"), within_sides).is_err(), "768 MB decoded");
    }

    #[test]
    fn garbage_and_truncation_are_errors() {
        assert!(decode(Path::new("p"), b"", &8.into()).is_err());
        assert!(decode(Path::new("p"), b"GIF89a not ours", &8.into()).is_err());
        let grey = DynamicImage::from(ImageBuffer::from_pixel(16, 16, Luma([7_u8])));
        let whole = encoded(&grey, ImageFormat::Pnm);
        let cut = &whole[..whole.len() - 3];
        assert!(check_header(Path::new("p"), cut).is_ok());
        assert!(decode(Path::new("p"), cut, &8.into()).is_err());
    }

    #[test]
    fn endings_are_read_in_any_case() {
        assert!(has_picture_ending("a.b.PNG") && has_picture_ending("x.jpeg"));
        assert!(!has_picture_ending("png") && !has_picture_ending("notes.txt"));
    }
}
