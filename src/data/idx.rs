//! IDX files, the format of MNIST and its relatives, plain or compressed with gzip.
//!
//! ```text
//! 0 0 8 D         magic: two zero bytes, 8 for unsigned bytes, D dimensions
//! D x u32         their sizes, big endian
//! u8 ...          the values, the last dimension fastest
//! ```

use std::fs::File;
use std::io::{BufReader, ErrorKind, Read};
use std::path::Path;

use flate2::read::MultiGzDecoder;

use super::DataError;

/// Most values of a file: ten times Fashion-MNIST. A crafted header cannot ask for more.
const MOST_VALUES: usize = 1 << 29;

/// Unsigned bytes with `D` dimensions.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Idx<const D: usize> {
    /// Sizes of the dimensions.
    pub sizes: [usize; D],
    /// The values, the last dimension fastest.
    pub values: Vec<u8>,
}

/// Reads a file; one that ends in `.gz` is decompressed.
///
/// # Errors
/// [`DataError::Idx`] for a wrong magic number, a file that ends too early or goes on after its values, and one
/// that claims more than 2^29 values.
pub(super) fn read<const D: usize>(path: &Path) -> Result<Idx<D>, DataError> {
    let file = BufReader::new(File::open(path).map_err(DataError::read(path))?);
    if path.extension().is_some_and(|ending| ending == "gz") {
        parse(path, MultiGzDecoder::new(file))
    } else {
        parse(path, file)
    }
}

fn parse<const D: usize>(path: &Path, mut from: impl Read) -> Result<Idx<D>, DataError> {
    let wrong = |reason: String| DataError::Idx { path: path.to_path_buf(), reason };
    let unreadable = |error: std::io::Error, what: &str| {
        wrong(match error.kind() {
            ErrorKind::UnexpectedEof => format!("it ends inside {what}"),
            _ => format!("{what} cannot be read: {error}"),
        })
    };
    let mut magic = [0; 4];
    from.read_exact(&mut magic).map_err(|error| unreadable(error, "its magic number"))?;
    let expected = [0, 0, 8, D as u8];
    if magic != expected {
        return Err(wrong(format!(
            "its magic number is {magic:02x?}, expected {expected:02x?}, unsigned bytes with {D} dimensions"
        )));
    }
    let mut sizes = [0; D];
    for size in &mut sizes {
        let mut bytes = [0; 4];
        from.read_exact(&mut bytes).map_err(|error| unreadable(error, "its sizes"))?;
        *size = u32::from_be_bytes(bytes) as usize;
    }
    let count = sizes.iter().try_fold(1_usize, |product, size| product.checked_mul(*size));
    let count = count.filter(|count| *count <= MOST_VALUES).ok_or_else(|| {
        wrong(format!("its sizes are {sizes:?}, expected at most {MOST_VALUES} values in all"))
    })?;
    let mut values = Vec::new();
    from.by_ref()
        .take(count as u64)
        .read_to_end(&mut values)
        .map_err(|error| unreadable(error, "its values"))?;
    if values.len() < count {
        return Err(wrong(format!(
            "it ends after {} of the {count} values that its sizes {sizes:?} promise",
            values.len()
        )));
    }
    let mut more = [0];
    match from.read(&mut more) {
        Ok(0) => Ok(Idx { sizes, values }),
        Ok(_) => Err(wrong(format!("it goes on after the {count} values that its sizes {sizes:?} promise"))),
        Err(error) => Err(unreadable(error, "its end")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write as _;

    const WHOLE: [u8; 18] = [0, 0, 8, 2, 0, 0, 0, 2, 0, 0, 0, 3, 1, 2, 3, 4, 5, 6];

    fn message(bytes: &[u8]) -> String {
        parse::<2>(Path::new("a-idx2-ubyte"), bytes).expect_err("broken").to_string()
    }

    #[test]
    fn values_come_with_their_sizes() {
        let found = parse::<2>(Path::new("a"), &WHOLE[..]).expect("whole");
        assert_eq!(found, Idx { sizes: [2, 3], values: vec![1, 2, 3, 4, 5, 6] });
    }

    #[test]
    fn a_compressed_file_is_read_as_the_plain_one() {
        let place = tempfile::tempdir().expect("temporary directory");
        let path = place.path().join("a.gz");
        let mut to =
            flate2::write::GzEncoder::new(File::create(&path).expect("file"), flate2::Compression::fast());
        to.write_all(&WHOLE).expect("written");
        to.finish().expect("written");
        assert_eq!(read::<2>(&path).expect("whole").values, [1, 2, 3, 4, 5, 6]);
        let bytes = std::fs::read(&path).expect("readable");
        std::fs::write(&path, &bytes[..bytes.len() - 12]).expect("written");
        let cut = read::<2>(&path).expect_err("cut").to_string();
        assert!(cut.contains("a.gz") && cut.contains("it ends inside"), "{cut}");
    }

    #[test]
    fn what_is_broken_is_named() {
        for length in 0..WHOLE.len() {
            assert!(message(&WHOLE[..length]).contains("it ends"), "cut at {length}");
        }
        assert!(message(&WHOLE[..14]).contains("it ends after 2 of the 6 values"));
        let mut other = WHOLE;
        other[3] = 3;
        assert!(
            message(&other).contains("[00, 00, 08, 03], expected [00, 00, 08, 02]"),
            "{}",
            message(&other)
        );
        assert!(message(&[&WHOLE[..], &[7]].concat()).contains("goes on after the 6 values"));
        let huge = [0, 0, 8, 2, 255, 255, 255, 255, 255, 255, 255, 255];
        assert!(message(&huge).contains("expected at most"), "{}", message(&huge));
    }
}
