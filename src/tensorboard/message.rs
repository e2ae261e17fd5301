//! The messages of TensorBoard, as protocol buffers.
//!
//! Fields and their numbers are those of `tensorboard/compat/proto/event.proto` and `summary.proto`: an `Event` has
//! `wall_time` = 1 (double), `step` = 2 (int64), `file_version` = 3 (string), `summary` = 5; a `Summary` has values = 1;
//! a value has `tag` = 1, `simple_value` = 2 (float) or `image` = 4; an image has `height` = 1, `width` = 2,
//! `colorspace` = 3 and `encoded_image_string` = 4.

use image::{ImageFormat, RgbImage};

/// Wire types of protocol buffers.
const VARINT: u8 = 0;
const EIGHT_BYTES: u8 = 1;
const LENGTH: u8 = 2;
const FOUR_BYTES: u8 = 5;

/// Red, green and blue.
const RGB: u64 = 3;

/// An encoded picture.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Picture {
    /// Pixels across.
    pub width: u32,
    /// Pixels down.
    pub height: u32,
    /// The file, PNG, in RGB.
    pub png: Vec<u8>,
}

impl Picture {
    /// A picture as PNG; `None` where it has no pixels.
    pub fn of(pixels: &RgbImage) -> Option<Self> {
        let (width, height) = pixels.dimensions();
        let mut png = std::io::Cursor::new(Vec::new());
        pixels.write_to(&mut png, ImageFormat::Png).ok()?;
        Some(Self { width, height, png: png.into_inner() })
    }
}

/// What a tag has at a step.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// A number.
    Scalar(f64),
    /// A picture.
    Picture(Picture),
}

fn varint(bytes: &mut Vec<u8>, mut number: u64) {
    while number >= 0x80 {
        bytes.push(number as u8 | 0x80);
        number >>= 7;
    }
    bytes.push(number as u8);
}

fn key(bytes: &mut Vec<u8>, field: u8, wire: u8) {
    bytes.push(field << 3 | wire);
}

fn integer(bytes: &mut Vec<u8>, field: u8, number: u64) {
    key(bytes, field, VARINT);
    varint(bytes, number);
}

fn block(bytes: &mut Vec<u8>, field: u8, contents: &[u8]) {
    key(bytes, field, LENGTH);
    varint(bytes, contents.len() as u64);
    bytes.extend(contents);
}

fn time(bytes: &mut Vec<u8>, seconds: f64) {
    key(bytes, 1, EIGHT_BYTES);
    bytes.extend(seconds.to_le_bytes());
}

/// The first event of a file.
pub(super) fn version(seconds: f64) -> Vec<u8> {
    let mut event = Vec::new();
    time(&mut event, seconds);
    block(&mut event, 3, b"brain.Event:2");
    event
}

/// An event with one value.
pub(super) fn event(seconds: f64, step: u64, tag: &str, value: &Value) -> Vec<u8> {
    let mut content = Vec::new();
    block(&mut content, 1, tag.as_bytes());
    match value {
        Value::Scalar(number) => {
            key(&mut content, 2, FOUR_BYTES);
            content.extend((*number as f32).to_le_bytes());
        }
        Value::Picture(picture) => {
            let mut image = Vec::new();
            integer(&mut image, 1, u64::from(picture.height));
            integer(&mut image, 2, u64::from(picture.width));
            integer(&mut image, 3, RGB);
            block(&mut image, 4, &picture.png);
            block(&mut content, 4, &image);
        }
    }
    let mut summary = Vec::new();
    block(&mut summary, 1, &content);
    let mut event = Vec::new();
    time(&mut event, seconds);
    integer(&mut event, 2, step);
    block(&mut event, 5, &summary);
    event
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_by_hand() {
        let mut bytes = Vec::new();
        varint(&mut bytes, 300);
        varint(&mut bytes, 1);
        assert_eq!(bytes, [0xAC, 0x02, 0x01]);
        // 0.5 is 3F00_0000 as a float; 1.0 is 3FF0_0000_0000_0000 as a double.
        let found = event(1.0, 150, "a", &Value::Scalar(0.5));
        let expected = [
            &[0x09, 0, 0, 0, 0, 0, 0, 0xF0, 0x3F, 0x10, 0x96, 0x01, 0x2A, 10, 0x0A, 8][..],
            &[0x0A, 1, b'a', 0x15, 0, 0, 0, 0x3F],
        ];
        assert_eq!(found, expected.concat());
        let picture = Picture { width: 2, height: 3, png: vec![7] };
        let found = event(1.0, 0, "a", &Value::Picture(picture));
        assert_eq!(found[14..], [14, 0x0A, 1, b'a', 0x22, 9, 0x08, 3, 0x10, 2, 0x18, 3, 0x22, 1, 7]);
    }
}
