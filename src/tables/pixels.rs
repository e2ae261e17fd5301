//! Arrays of pixels and of logits, as numpy saves them.

use std::fs::File;
use std::io::{BufReader, ErrorKind, Read};
use std::path::Path;

use npyz::Order;

use super::TableError;
use super::npy::{Decoder, read_header};

/// Most values of an array of pixels: 4 GiB of them.
const MOST_VALUES: u64 = 1 << 30;

/// Pixels in `[0, 1]`, `[N, 3, side, side]`.
#[derive(Clone, Debug, PartialEq)]
pub struct Pixels {
    /// Number of pictures.
    pub count: usize,
    /// Values, picture by picture, channel by channel, row by row.
    pub values: Vec<f32>,
}

/// Reads an array `[N, 3, side, side]` of floats in `[0, 1]`, or of bytes, which are divided by 255.
///
/// # Errors
/// [`TableError`] where the file is no such array, was cut off, or holds other values.
pub fn read_pixels(path: &Path, side: usize) -> Result<Pixels, TableError> {
    let file = File::open(path).map_err(|cause| TableError::read(path, cause))?;
    let mut input = BufReader::new(file);
    let header = read_header(path, &mut input)?;
    let wrong = |problem: String| TableError::whole(path, problem);
    let shape = header.shape();
    let [count, 3, height, width] = *shape else {
        return Err(wrong(format!("an array of shape {shape:?}, expected [N, 3, {side}, {side}]")));
    };
    let each = 3 * height.saturating_mul(width);
    if height != side as u64 || width != side as u64 || count == 0 || count.saturating_mul(each) > MOST_VALUES
    {
        return Err(wrong(format!("an array of shape {shape:?}, expected [N, 3, {side}, {side}]")));
    }
    if header.order() != Order::C {
        return Err(wrong("an array in Fortran order; save numpy.ascontiguousarray of it".to_owned()));
    }
    let dtype = header.dtype();
    let described = dtype.descr();
    let decode = Decoder::new(&dtype).filter(|_| described.contains('f') || described.contains("u1"));
    let Some(decode) = decode else {
        return Err(wrong(format!("an array of type {described}, expected floats in [0, 1] or bytes")));
    };
    let scale = if described.contains('f') { 1.0 } else { 1.0 / 255.0 };
    let mut values = Vec::new();
    let mut bytes = vec![0; decode.size];
    for index in 0..count * each {
        input.read_exact(&mut bytes).map_err(|cause| match cause.kind() {
            ErrorKind::UnexpectedEof => {
                wrong(format!("the data end after {index} of {} numbers: write it again", count * each))
            }
            _ => TableError::read(path, cause),
        })?;
        let value = decode.value(&bytes) * scale;
        if !(0.0..=1.0).contains(&value) {
            return Err(wrong(format!(
                "number {index} is {value}, expected pixels in [0, 1], not normalised"
            )));
        }
        values.push(value as f32);
    }
    if input.read(&mut [0]).map_err(|cause| TableError::read(path, cause))? > 0 {
        return Err(wrong(format!("more bytes than {} numbers need: write it again", count * each)));
    }
    Ok(Pixels { count: count as usize, values })
}

/// The bytes of a `.npy` file with an array of `f32`.
pub fn npy_bytes(shape: &[usize], values: impl IntoIterator<Item = f32>) -> Vec<u8> {
    let sides: Vec<String> = shape.iter().map(ToString::to_string).collect();
    let mut header =
        format!("{{'descr': '<f4', 'fortran_order': False, 'shape': ({},), }}", sides.join(", "));
    // Magic, version and length take ten bytes, a line feed one; the data begin at a multiple of 64.
    let padded = (header.len() + 11).next_multiple_of(64) - 10;
    header.extend(std::iter::repeat_n(' ', padded - 1 - header.len()));
    header.push('\n');
    let mut bytes = b"\x93NUMPY\x01\x00".to_vec();
    bytes.extend((header.len() as u16).to_le_bytes());
    bytes.extend(header.bytes());
    bytes.extend(values.into_iter().flat_map(f32::to_le_bytes));
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(bytes: &[u8], side: usize) -> Result<Pixels, String> {
        let place = tempfile::tempdir().expect("temporary directory");
        let path = place.path().join("pixels.npy");
        std::fs::write(&path, bytes).expect("written");
        read_pixels(&path, side).map_err(|error| error.to_string())
    }

    #[test]
    fn what_is_written_is_read() {
        let values: Vec<f32> = (0..24).map(|i| i as f32 / 23.0).collect();
        let bytes = npy_bytes(&[2, 3, 2, 2], values.iter().copied());
        // numpy.save("a.npy", numpy.zeros((2, 3, 2, 2), "f4")): 128 bytes before the data.
        assert_eq!((bytes.len(), &bytes[..10]), (128 + 96, b"\x93NUMPY\x01\x00\x76\x00".as_slice()));
        assert_eq!(read(&bytes, 2), Ok(Pixels { count: 2, values }));
    }

    #[test]
    fn bytes_are_divided_by_255() {
        let mut bytes = npy_bytes(&[1, 3, 1, 1], []);
        let at = bytes.windows(3).position(|some| some == b"<f4").expect("the type");
        bytes[at..at + 3].copy_from_slice(b"|u1");
        bytes.extend([0, 51, 255]);
        assert_eq!(read(&bytes, 1).expect("read").values, [0.0, 0.2, 1.0]);
    }

    #[test]
    fn other_arrays_are_refused() {
        let whole = npy_bytes(&[1, 3, 1, 1], [0.5, 0.5, 0.5]);
        let mut long = whole.clone();
        long.push(0);
        for (bytes, side, expected) in [
            (whole.clone(), 2, "expected [N, 3, 2, 2]"),
            (whole[..whole.len() - 1].to_vec(), 1, "end after 2 of 3"),
            (long, 1, "more bytes"),
            (npy_bytes(&[1, 1, 1], [0.5]), 1, "[1, 1, 1]"),
            (npy_bytes(&[0, 3, 1, 1], []), 1, "[0, 3, 1, 1]"),
            (npy_bytes(&[1, 3, 1, 1], [0.5, 1.5, 0.5]), 1, "number 1 is 1.5"),
            (npy_bytes(&[1, 3, 1, 1], [0.5, 0.5, f32::NAN]), 1, "NaN"),
            (npy_bytes(&[99_999_999, 3, 1, 1], []), 1, "end after 0"),
            (b"PK".to_vec(), 1, "header"),
        ] {
            let message = read(&bytes, side).expect_err(expected);
            assert!(message.contains(expected), "{message}");
        }
    }
}
