//! Confusion matrices that numpy saved.
//!
//! The header is checked before it is parsed: the parser reserves as many bytes as the file says, calls
//! itself for each bracket and multiplies the shape, so a hostile header would exhaust memory, the stack or
//! the integers.

use std::io::{Cursor, ErrorKind, Read};
use std::path::Path;

use npyz::{DType, Endianness, NpyHeader, Order, TypeChar};

use super::TableError;
use super::confusion::{Grid, MOST_CELLS, flaw};

/// Longest header; that of a plain array has 128 bytes.
const LONGEST_HEADER: usize = 1024;

/// Most digits in a header: as many cannot overflow when they are multiplied.
const MOST_DIGITS: usize = 18;

/// Most opening brackets in a header: the dictionary and the shape need two.
const MOST_BRACKETS: usize = 8;

pub(super) fn read_npy(path: &Path, mut input: impl Read) -> Result<Grid, TableError> {
    let header = read_header(path, &mut input)?;
    let wrong = |problem: String| TableError::whole(path, problem);
    let [rows, columns] = *header.shape() else {
        return Err(wrong(format!("an array of shape {:?}, expected K x K", header.shape())));
    };
    if rows != columns || rows == 0 || rows > u64::from(u32::MAX) {
        return Err(wrong(format!("an array of {rows} x {columns}, expected a square matrix")));
    }
    let decode = Decoder::new(&header.dtype()).ok_or_else(|| {
        wrong(format!("an array of type {}, expected integers or floats", header.dtype().descr()))
    })?;
    let mut cells = Vec::new();
    let mut bytes = vec![0; decode.size];
    for outer in 0..rows as u32 {
        for inner in 0..rows as u32 {
            input.read_exact(&mut bytes).map_err(|cause| match cause.kind() {
                ErrorKind::UnexpectedEof => wrong(format!(
                    "the data end after {} of {} numbers: the file was cut off; write it again",
                    u64::from(outer) * rows + u64::from(inner),
                    rows * rows
                )),
                _ => TableError::read(path, cause),
            })?;
            let (row, column) = if header.order() == Order::C { (outer, inner) } else { (inner, outer) };
            let value = decode.value(&bytes);
            if let Some(problem) = flaw(value) {
                return Err(TableError::cell(path, u64::from(row) + 1, column + 1, problem));
            }
            if value != 0.0 {
                cells.push((row, column, value));
            }
            if cells.len() > MOST_CELLS {
                return Err(wrong(format!(
                    "more than {MOST_CELLS} cells are not zero; give predictions instead"
                )));
            }
        }
    }
    if input.read(&mut [0]).map_err(|cause| TableError::read(path, cause))? > 0 {
        return Err(wrong(format!("more bytes than {rows} x {columns} numbers need; write it again")));
    }
    Ok(Grid { classes: rows as usize, names: None, cells, first_line: 1 })
}

/// The header, once nothing in it can harm the parser.
pub(super) fn read_header(path: &Path, input: &mut impl Read) -> Result<NpyHeader, TableError> {
    let wrong = |problem: &str| TableError::whole(path, format!("{problem}; save the array with numpy.save"));
    let short = |cause| match std::io::Error::kind(&cause) {
        ErrorKind::UnexpectedEof => wrong("the header of the array ends too early"),
        _ => TableError::read(path, cause),
    };
    let mut start = vec![0; 10];
    input.read_exact(&mut start).map_err(short)?;
    let mut length = usize::from(u16::from_le_bytes([start[8], start[9]]));
    if start[6] > 1 {
        let mut more = [0; 2];
        input.read_exact(&mut more).map_err(short)?;
        length += usize::from(u16::from_le_bytes(more)) << 16;
        start.extend(more);
    }
    if length > LONGEST_HEADER {
        return Err(wrong("the header is longer than that of a plain array"));
    }
    let text = start.len();
    start.resize(text + length, 0);
    input.read_exact(&mut start[text..]).map_err(short)?;
    let count = |which: fn(&u8) -> bool| start[text..].iter().filter(|byte| which(byte)).count();
    if count(|byte| b"([{".contains(byte)) > MOST_BRACKETS {
        return Err(wrong("the array has fields, expected plain numbers"));
    }
    if count(u8::is_ascii_digit) > MOST_DIGITS {
        return Err(wrong("the array has more dimensions or numbers than it can have here"));
    }
    NpyHeader::from_reader(Cursor::new(start))
        .map_err(|cause| wrong(&format!("the header is damaged: {cause}")))
}

/// Bytes to a number.
pub(super) struct Decoder {
    kind: Number,
    pub size: usize,
    big: bool,
}

enum Number {
    Whole { signed: bool },
    Float,
}

impl Decoder {
    pub fn new(dtype: &DType) -> Option<Self> {
        let DType::Plain(plain) = dtype else { return None };
        let size = plain.num_bytes()?;
        let kind = match (plain.type_char(), size) {
            (TypeChar::Bool, 1) | (TypeChar::Uint, 1 | 2 | 4 | 8) => Number::Whole { signed: false },
            (TypeChar::Int, 1 | 2 | 4 | 8) => Number::Whole { signed: true },
            (TypeChar::Float, 2 | 4 | 8) => Number::Float,
            _ => return None,
        };
        Some(Self { kind, size, big: plain.endianness() == Endianness::Big })
    }

    pub fn value(&self, bytes: &[u8]) -> f64 {
        let mut whole = [0; 8];
        whole[..self.size].copy_from_slice(bytes);
        if self.big {
            whole[..self.size].reverse();
        }
        let bits = u64::from_le_bytes(whole);
        match (&self.kind, self.size) {
            (Number::Whole { signed: false }, _) => bits as f64,
            (Number::Whole { signed: true }, size) => {
                let unused = 64 - 8 * size as u32;
                ((bits << unused) as i64 >> unused) as f64
            }
            (Number::Float, 2) => half(bits as u16),
            (Number::Float, 4) => f64::from(f32::from_bits(bits as u32)),
            (Number::Float, _) => f64::from_bits(bits),
        }
    }
}

/// IEEE 754 binary16.
fn half(bits: u16) -> f64 {
    let (exponent, fraction) = (i32::from(bits >> 10 & 31), f64::from(bits & 1023));
    let size = match exponent {
        0 => fraction * 2_f64.powi(-24),
        31 if fraction == 0.0 => f64::INFINITY,
        31 => f64::NAN,
        _ => (1024.0 + fraction) * 2_f64.powi(exponent - 25),
    };
    if bits >> 15 == 1 { -size } else { size }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tables::damage::{damaged, one_of};
    use proptest::prelude::*;

    fn file(header: &str, data: &[u8]) -> Vec<u8> {
        let mut bytes = b"\x93NUMPY\x01\x00".to_vec();
        bytes.extend((header.len() as u16).to_le_bytes());
        bytes.extend(header.bytes().chain(data.iter().copied()));
        bytes
    }

    fn array(dtype: &str, fortran: &str, shape: &str, data: &[u8]) -> Vec<u8> {
        file(&format!("{{'descr': '{dtype}', 'fortran_order': {fortran}, 'shape': {shape}, }}\n"), data)
    }

    fn read(bytes: &[u8]) -> Result<Vec<(u32, u32, f64)>, String> {
        read_npy(Path::new("cm.npy"), bytes)
            .map(|mut grid| {
                grid.cells.sort_by_key(|cell| (cell.0, cell.1));
                grid.cells
            })
            .map_err(|error| error.to_string())
    }

    // import numpy as np; m = np.array([[5, 1], [0, 3]])
    // for t in ("<i8", ">i2", "|u1", "<f2", ">f4", "<f8"): print(t, m.astype(t).tobytes().hex())
    #[test]
    fn every_type_and_both_orders() {
        let expected = vec![(0, 0, 5.0), (0, 1, 1.0), (1, 1, 3.0)];
        for (dtype, hex) in [
            ("<i8", "0500000000000000010000000000000000000000000000000300000000000000"),
            (">i2", "0005000100000003"),
            ("|u1", "05010003"),
            ("<f2", "0045003c00000042"),
            (">f4", "40a000003f8000000000000040400000"),
            ("<f8", "0000000000001440000000000000f03f00000000000000000000000000000840"),
        ] {
            let data: Vec<u8> = (0..hex.len())
                .step_by(2)
                .map(|at| u8::from_str_radix(&hex[at..at + 2], 16).expect("hex"))
                .collect();
            assert_eq!(read(&array(dtype, "False", "(2, 2)", &data)), Ok(expected.clone()), "{dtype}");
            let transposed = vec![(0, 0, 5.0), (1, 0, 1.0), (1, 1, 3.0)];
            assert_eq!(read(&array(dtype, "True", "(2, 2)", &data)), Ok(transposed), "{dtype}");
        }
        assert_eq!(read(&array("|b1", "False", "(1, 1)", &[1])), Ok(vec![(0, 0, 1.0)]));
    }

    // np.array([6e-8, 0.333, 65504, -2, np.inf], "<f2").view("<u2")
    #[test]
    fn half_floats() {
        let close = |bits, value: f64| assert!((half(bits) / value - 1.0).abs() < 1e-3, "{bits}");
        close(1, 5.96e-8);
        close(13_652, 0.333);
        close(31_743, 65_504.0);
        close(49_152, -2.0);
        assert!(half(31_744).is_infinite() && half(31_745).is_nan());
    }

    #[test]
    fn each_mistake_is_named() {
        let negative = array("<i2", "False", "(2, 2)", &[1, 0, 2, 0, 0xff, 0xff, 1, 0]);
        for (bytes, part) in [
            (array("|u1", "False", "(2, 3)", &[0; 6]), "square"),
            (array("|u1", "False", "(4,)", &[0; 4]), "expected K x K"),
            (array("|u1", "False", "(0, 0)", &[]), "square"),
            (array("|u1", "False", "(2, 2)", &[0; 3]), "after 3 of 4"),
            (array("|u1", "False", "(2, 2)", &[0; 5]), "more bytes"),
            (array("<c16", "False", "(1, 1)", &[0; 16]), "integers or floats"),
            (array("|O", "False", "(1, 1)", &[0; 16]), "integers or floats"),
            (array("<U3", "False", "(1, 1)", &[0; 12]), "integers or floats"),
            (array("|u1", "False", "(1000000, 1000000)", &[0; 9]), "after 9 of 1000000000000"),
            (array("|u1", "False", "(9999999999, 9999999999)", &[0; 9]), "more dimensions"),
            (array("|u1", "Maybe", "(1, 1)", &[0]), "damaged"),
            (file(&"(".repeat(1000), &[]), "fields"),
            (file(&"(".repeat(9000), &[]), "longer"),
            (negative, "line 2, column 1: -1 is negative"),
            (b"\x93NUMPY\x02\x00\xff\xff\xff\xff".to_vec(), "longer"),
            (b"\x93NUMPY\x01".to_vec(), "too early"),
        ] {
            let error = read(&bytes).expect_err(part);
            assert!(error.contains(part) && error.contains("cm.npy"), "{part}: {error}");
        }
    }

    fn good() -> Vec<Vec<u8>> {
        let floats: Vec<u8> = [0.75_f64, 0.25, 0.5, 0.5].iter().flat_map(|rate| rate.to_le_bytes()).collect();
        vec![
            array("|u1", "False", "(3, 3)", &[5, 0, 1, 0, 7, 0, 2, 0, 9]),
            array(">i2", "True", "(2, 2)", &[0, 5, 0, 1, 0, 0, 0, 3]),
            array("<f8", "False", "(2, 2)", &floats),
        ]
    }

    proptest! {
        #[test]
        fn damaged_files_are_an_answer_or_an_error(bytes in damaged(one_of(good()))) {
            match read_npy(Path::new("cm.npy"), &bytes[..]) {
                Ok(grid) => {
                    let inside = |class: u32| (class as usize) < grid.classes;
                    let good = grid.cells.iter().all(|cell| inside(cell.0) && inside(cell.1) && flaw(cell.2).is_none());
                    prop_assert!(good);
                    prop_assert!(grid.classes * grid.classes <= bytes.len());
                }
                Err(error) => prop_assert!(error.to_string().contains("cm.npy"), "{}", error),
            }
        }

        #[test]
        fn any_bytes_are_an_answer_or_an_error(header in prop::collection::vec(any::<u8>(), 0..200), version in 0_u8..5) {
            let mut bytes = b"\x93NUMPY".to_vec();
            bytes.extend([version, 0, header.len() as u8, 0]);
            bytes.extend(header);
            let _ = read(&bytes);
        }

        #[test]
        fn any_header_of_an_array_is_an_answer_or_an_error(
            dtype in "[<>|=]?[a-zA-Z?][0-9]{0,3}", order in "(True|False|None|1)", shape in "[\\[(][0-9, -]{0,24}[\\])]",
            data in prop::collection::vec(any::<u8>(), 0..64)
        ) {
            let _ = read(&array(&dtype, &order, &shape, &data));
        }
    }
}
