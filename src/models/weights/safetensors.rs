//! The safetensors format: eight bytes with the length of a header, the header in JSON, the numbers.
//!
//! Tensors are read one by one when they are asked for, and written one by one, so neither needs the memory of
//! the whole file.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufReader, Read, Seek, SeekFrom, Write};

use serde::de::IgnoredAny;

/// Longest header that is read, in bytes. A thousand tensors need 100 kB.
const LONGEST_HEADER: u64 = 16 << 20;

/// A tensor in a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Place {
    pub dtype: String,
    pub shape: Vec<usize>,
    /// First byte in the file.
    start: u64,
}

#[derive(serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    dtype: String,
    shape: Vec<usize>,
    data_offsets: [u64; 2],
}

#[derive(serde::Deserialize)]
#[serde(untagged)]
enum Item {
    Entry(Entry),
    Other(IgnoredAny),
}

/// Whether a file begins like this format.
pub(super) fn is_safetensors(head: &[u8]) -> bool {
    let length = head.first_chunk::<8>().map(|bytes| u64::from_le_bytes(*bytes));
    length.is_some_and(|length| length < 1 << 32) && head.get(8) == Some(&b'{')
}

/// Bytes of a number, if its kind can be read.
fn width(dtype: &str) -> Option<u64> {
    match dtype {
        "F64" | "I64" | "U64" => Some(8),
        "F32" | "I32" | "U32" => Some(4),
        "F16" | "BF16" | "I16" | "U16" => Some(2),
        "I8" | "U8" | "BOOL" => Some(1),
        _ => None,
    }
}

/// The tensors of a file.
///
/// # Errors
/// A sentence: what was found, what was expected.
pub(super) fn places(file: &mut File) -> Result<BTreeMap<String, Place>, String> {
    let end = file.metadata().map_err(|error| error.to_string())?.len();
    let mut length = [0; 8];
    file.rewind().and_then(|()| file.read_exact(&mut length)).map_err(|error| error.to_string())?;
    let length = u64::from_le_bytes(length);
    if length > LONGEST_HEADER || 8 + length > end {
        return Err(format!(
            "the header claims {length} bytes; the file has {end} and a header at most {LONGEST_HEADER}: is the file \
             complete?"
        ));
    }
    let header = BufReader::new(file.take(length));
    let items: BTreeMap<String, Item> =
        serde_json::from_reader(header).map_err(|error| format!("the header cannot be read: {error}"))?;
    let (mut places, start) = (BTreeMap::new(), 8 + length);
    for (name, item) in items {
        let Item::Entry(entry) = item else {
            if name == "__metadata__" {
                continue;
            }
            return Err(format!("{}: no dtype, shape and data_offsets", name.escape_debug()));
        };
        let place = entry.place(start, end).map_err(|reason| format!("{}: {reason}", name.escape_debug()))?;
        places.insert(name, place);
    }
    Ok(places)
}

impl Entry {
    fn place(self, start: u64, end: u64) -> Result<Place, String> {
        let Self { dtype, shape, data_offsets: [from, to] } = self;
        let width = width(&dtype)
            .ok_or_else(|| format!("numbers of kind {} cannot be read", dtype.escape_debug()))?;
        let count = shape.iter().try_fold(width, |count, side| count.checked_mul(*side as u64));
        if count.is_none() || to.checked_sub(from) != count {
            return Err(format!("shape {shape:?} does not fill the bytes from {from} to {to}"));
        }
        if start.checked_add(to).is_none_or(|last| last > end) {
            return Err(format!("it ends at byte {to} of the numbers, and the file before: is it complete?"));
        }
        Ok(Place { dtype, shape, start: start + from })
    }
}

impl Place {
    /// Goes to the tensor's first byte. Its numbers are little-endian.
    ///
    /// # Errors
    /// What the system said.
    pub(super) fn go_to(&self, file: &mut File) -> std::io::Result<()> {
        file.seek(SeekFrom::Start(self.start)).map(drop)
    }
}

/// Writes tensors of `f32`, in the order of their names.
pub struct Writer<W> {
    output: W,
    /// Names and sizes that are still to come.
    names: std::iter::Peekable<std::vec::IntoIter<(String, usize)>>,
}

impl<W: Write> Writer<W> {
    /// Writes the header for tensors of these shapes.
    ///
    /// # Errors
    /// What the system said.
    pub fn new(mut output: W, shapes: &BTreeMap<String, Vec<usize>>) -> std::io::Result<Self> {
        let mut header = serde_json::Map::new();
        header.insert("__metadata__".to_owned(), serde_json::json!({"format": "pt", "producer": "syfar"}));
        let (mut names, mut from) = (Vec::with_capacity(shapes.len()), 0);
        for (name, shape) in shapes {
            let count = shape.iter().product::<usize>();
            let to = from + 4 * count;
            let entry = serde_json::json!({"dtype": "F32", "shape": shape, "data_offsets": [from, to]});
            header.insert(name.clone(), entry);
            names.push((name.clone(), count));
            from = to;
        }
        let mut header = serde_json::to_vec(&header)?;
        // The numbers begin at a multiple of eight.
        header.resize(header.len().next_multiple_of(8), b' ');
        output.write_all(&(header.len() as u64).to_le_bytes())?;
        output.write_all(&header)?;
        Ok(Self { output, names: names.into_iter().peekable() })
    }

    /// The name of the tensor that is written next.
    pub fn next_name(&mut self) -> Option<String> {
        self.names.peek().map(|(name, _)| name.clone())
    }

    /// Writes it.
    ///
    /// # Errors
    /// Another number of values than its shape has; or what the system said.
    pub fn write(&mut self, values: &[f32]) -> std::io::Result<()> {
        let wrong = |reason: String| Err(std::io::Error::new(std::io::ErrorKind::InvalidInput, reason));
        let Some((name, count)) = self.names.next() else {
            return wrong(format!("{} numbers after the last tensor", values.len()));
        };
        if values.len() != count {
            return wrong(format!("{} numbers for {name}, expected {count}", values.len()));
        }
        values.iter().try_for_each(|value| self.output.write_all(&value.to_le_bytes()))
    }

    /// The output, when all are written.
    ///
    /// # Errors
    /// There are tensors without numbers.
    pub fn finish(mut self) -> std::io::Result<W> {
        match self.next_name() {
            None => Ok(self.output),
            Some(name) => Err(std::io::Error::other(format!("no numbers were written for {name}"))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(header: &str, numbers: usize) -> Result<BTreeMap<String, Place>, String> {
        let mut file = tempfile::tempfile().expect("temporary file");
        file.write_all(&(header.len() as u64).to_le_bytes()).expect("written");
        file.write_all(header.as_bytes()).expect("written");
        file.write_all(&vec![0; numbers]).expect("written");
        places(&mut file)
    }

    #[test]
    fn what_is_written_is_read() {
        let shapes = BTreeMap::from([("b.weight".to_owned(), vec![2, 2]), ("a".to_owned(), vec![1])]);
        let mut file = tempfile::tempfile().expect("temporary file");
        let mut writer = Writer::new(&mut file, &shapes).expect("written");
        assert_eq!(writer.next_name().as_deref(), Some("a"));
        writer.write(&[7.5]).expect("written");
        assert_eq!(writer.next_name().as_deref(), Some("b.weight"));
        writer.write(&[1.0, -2.0, 3.0, 4.0]).expect("written");
        assert_eq!(writer.next_name(), None);
        assert!(writer.write(&[]).is_err(), "there is no third");
        writer.finish().expect("all are written");
        let places = places(&mut file).expect("read");
        assert_eq!(places.keys().collect::<Vec<_>>(), ["a", "b.weight"]);
        assert_eq!(places["b.weight"].shape, [2, 2]);
        places["b.weight"].go_to(&mut file).expect("there");
        let mut bytes = [0; 8];
        file.read_exact(&mut bytes).expect("read");
        assert_eq!(bytes[4..], (-2.0_f32).to_le_bytes());
    }

    #[test]
    fn a_tensor_of_another_length_would_shift_those_behind_it_and_is_refused() {
        let shapes = BTreeMap::from([("a".to_owned(), vec![2]), ("b".to_owned(), vec![2])]);
        let begun = || Writer::new(Vec::new(), &shapes).expect("written");
        for values in [&[][..], &[1.0], &[1.0; 3]] {
            let message = begun().write(values).expect_err("another length").to_string();
            assert!(message.contains("for a, expected 2"), "{message}");
        }
        let mut writer = begun();
        writer.write(&[1.0, 2.0]).expect("written");
        assert!(writer.finish().expect_err("one is missing").to_string().contains("for b"));
    }

    #[test]
    fn headers_that_lie_are_refused() {
        let entry = |shape: &str, from: u64, to: u64| {
            format!(r#"{{"x": {{"dtype": "F32", "shape": {shape}, "data_offsets": [{from}, {to}]}}}}"#)
        };
        assert!(read(&entry("[2]", 0, 8), 8).is_ok());
        for (header, numbers, expected) in [
            (entry("[2]", 0, 8), 7, "complete"),
            (entry("[3]", 0, 8), 8, "does not fill"),
            (entry("[2]", 8, 0), 8, "does not fill"),
            (entry("[9223372036854775807, 9223372036854775807]", 0, 8), 8, "does not fill"),
            (entry("[0]", u64::MAX, u64::MAX), 8, "complete"),
            (entry("[2]", 0, 8).replace("F32", "F8_E4M3"), 8, "F8_E4M3"),
            (r#"{"x": 3}"#.to_owned(), 0, "no dtype"),
            ("{".to_owned(), 0, "header"),
        ] {
            let message = read(&header, numbers).expect_err(&header);
            assert!(message.contains(expected), "{header}: {message}");
        }
        let mut file = tempfile::tempfile().expect("temporary file");
        file.write_all(&u64::MAX.to_le_bytes()).expect("written");
        assert!(places(&mut file).expect_err("too long").contains("header claims"));
    }
}
