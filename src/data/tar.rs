//! Files of a tar archive, one after the other, plain or compressed with gzip.
//!
//! Only what packages and data sets need: the headers of POSIX (ustar) with their checksum, regular files, names
//! that fit into a header. Nothing is ever written to a path that an archive names; everything else in it is
//! passed over. Extended headers, which could rename what follows, are refused.

use std::fs::File;
use std::io::{BufReader, Read};
use std::path::Path;

use flate2::read::MultiGzDecoder;

use super::DataError;

/// Bytes of a header, and what contents are padded to.
const BLOCK: usize = 512;

/// Hands each regular file, its name and its content, to `each`, which reads as much of it as it likes.
///
/// # Errors
/// [`DataError::Archive`] for a file that is no archive, ends too early or has a header that is not understood, and
/// what `each` says.
pub(super) fn for_each_file(
    path: &Path,
    mut each: impl FnMut(&str, &mut dyn Read) -> Result<(), DataError>,
) -> Result<(), DataError> {
    let file = File::open(path).map_err(DataError::read(path))?;
    let mut start = [0; 2];
    let count = BufReader::new(&file).read(&mut start).map_err(DataError::read(path))?;
    let file = BufReader::new(File::open(path).map_err(DataError::read(path))?);
    if count == 2 && start == [0x1f, 0x8b] {
        walk(path, MultiGzDecoder::new(file), &mut each)
    } else {
        walk(path, file, &mut each)
    }
}

fn walk(
    path: &Path,
    mut from: impl Read,
    each: &mut impl FnMut(&str, &mut dyn Read) -> Result<(), DataError>,
) -> Result<(), DataError> {
    let wrong = |reason: String| DataError::Archive { path: path.to_path_buf(), reason };
    loop {
        let mut header = [0; BLOCK];
        from.read_exact(&mut header)
            .map_err(|error| wrong(format!("a header cannot be read ({error}); fetch it again")))?;
        if header == [0; BLOCK] {
            return Ok(());
        }
        let Header { name, size, is_file } = parse(&header).map_err(wrong)?;
        let mut content = from.by_ref().take(size);
        if is_file {
            each(&name, &mut content)?;
        }
        let left = content.limit();
        let padded = left + (size.next_multiple_of(BLOCK as u64) - size);
        let skipped = std::io::copy(&mut from.by_ref().take(padded), &mut std::io::sink())
            .map_err(|error| wrong(format!("{name} cannot be read: {error}")))?;
        if skipped < padded {
            return Err(wrong(format!("it ends inside {name}; fetch it again")));
        }
    }
}

struct Header {
    name: String,
    size: u64,
    is_file: bool,
}

fn parse(header: &[u8; BLOCK]) -> Result<Header, String> {
    let number = |bytes: &[u8]| {
        let text = std::str::from_utf8(bytes).ok()?;
        u64::from_str_radix(text.trim_matches(['\0', ' ']), 8).ok()
    };
    // The checksum is that of the header with spaces in its place.
    let sum: u64 = header
        .iter()
        .enumerate()
        .map(|(at, byte)| if (148..156).contains(&at) { 32 } else { u64::from(*byte) })
        .sum();
    if number(&header[148..156]) != Some(sum) {
        return Err("a header has a wrong checksum: this is no tar archive, or it is damaged".to_owned());
    }
    let text = |bytes: &[u8]| {
        let end = bytes.iter().position(|byte| *byte == 0).unwrap_or(bytes.len());
        String::from_utf8_lossy(&bytes[..end]).into_owned()
    };
    let mut name = text(&header[..100]);
    let prefix = text(&header[345..500]);
    // GNU keeps other things in the place of the prefix.
    if &header[257..263] == b"ustar\0" && !prefix.is_empty() {
        name = format!("{prefix}/{name}");
    }
    // Sizes of 8 GiB and more are written in another way and not understood here.
    let size = number(&header[124..136])
        .filter(|size| *size < 1 << 33)
        .ok_or_else(|| format!("the size of {name} is not a number below 2^33 in octal digits"))?;
    match header[156] {
        0 | b'0' => Ok(Header { name, size, is_file: true }),
        b'x' | b'L' | b'K' => {
            Err(format!("{name} has an extended header; pack it again with `tar --format=ustar`"))
        }
        _ => Ok(Header { name, size, is_file: false }),
    }
}

/// The bytes of an archive with these files, for tests.
#[cfg(test)]
pub(super) fn archive(files: &[(&str, &[u8])]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for (name, content) in files {
        let mut header = [0; BLOCK];
        header[..name.len()].copy_from_slice(name.as_bytes());
        header[124..136].copy_from_slice(format!("{:011o}\0", content.len()).as_bytes());
        header[156] = b'0';
        header[257..263].copy_from_slice(b"ustar\0");
        header[148..156].fill(b' ');
        let sum: u32 = header.iter().map(|byte| u32::from(*byte)).sum();
        header[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
        bytes.extend(header);
        bytes.extend(*content);
        bytes.resize(bytes.len().next_multiple_of(BLOCK), 0);
    }
    bytes.resize(bytes.len() + 2 * BLOCK, 0);
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::io::Write as _;

    fn files(bytes: &[u8]) -> Result<Vec<(String, Vec<u8>)>, String> {
        let mut found = Vec::new();
        walk(Path::new("a.tar"), bytes, &mut |name, content: &mut dyn Read| {
            let mut bytes = Vec::new();
            content.read_to_end(&mut bytes).map_err(DataError::read(Path::new("a.tar")))?;
            found.push((name.to_owned(), bytes));
            Ok(())
        })
        .map_err(|error| error.to_string())?;
        Ok(found)
    }

    #[test]
    fn files_come_one_after_the_other_whether_they_are_read_or_not() {
        let bytes = archive(&[("a/b.txt", b"hello"), ("empty", b""), ("c", &[7; 512])]);
        let names = ["a/b.txt", "empty", "c"].map(str::to_owned);
        let found = files(&bytes).expect("whole");
        assert_eq!(found.iter().map(|(name, _)| name.clone()).collect::<Vec<_>>(), names);
        assert_eq!((found[0].1.as_slice(), found[2].1.len()), (&b"hello"[..], 512));
        let mut unread = Vec::new();
        let note = &mut |name: &str, _: &mut dyn Read| {
            unread.push(name.to_owned());
            Ok(())
        };
        walk(Path::new("a.tar"), &bytes[..], note).expect("whole");
        assert_eq!(unread, names);
    }

    #[test]
    fn a_compressed_archive_is_read_as_the_plain_one() {
        let place = tempfile::tempdir().expect("temporary directory");
        let plain = archive(&[("a", b"hello")]);
        let mut to = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        to.write_all(&plain).expect("written");
        for (name, bytes) in [("a.tar", plain), ("b", to.finish().expect("written"))] {
            let path = place.path().join(name);
            std::fs::write(&path, bytes).expect("written");
            let mut count = 0;
            for_each_file(&path, |_, _| {
                count += 1;
                Ok(())
            })
            .expect("whole");
            assert_eq!(count, 1);
        }
    }

    #[test]
    fn what_is_broken_is_named() {
        let whole = archive(&[("a", b"hello")]);
        for length in [0, 100, 512, 515, 1023, 1024] {
            let message = files(&whole[..length]).expect_err("cut");
            assert!(
                message.contains("ends inside a") || message.contains("header cannot be read"),
                "{message}"
            );
        }
        let mut other = whole.clone();
        other[3] = b'x';
        assert!(files(&other).expect_err("changed").contains("wrong checksum"));
        let mut extended = archive(&[("a", b"hello")]);
        extended[156] = b'x';
        extended[148..156].copy_from_slice(b"        ");
        let sum: u32 = extended[..512].iter().map(|byte| u32::from(*byte)).sum();
        extended[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
        assert!(files(&extended).expect_err("refused").contains("extended header"));
    }

    proptest! {
        #[test]
        fn no_bytes_make_the_reader_panic(bytes in proptest::collection::vec(any::<u8>(), 0..2000)) {
            let _ = files(&bytes);
        }

        #[test]
        fn no_change_makes_the_reader_panic(at in 0_usize..512, to in any::<u8>()) {
            let mut bytes = archive(&[("a", b"hello"), ("b", b"")]);
            bytes[at] = to;
            let sum: u32 =
                bytes[..512].iter().enumerate().map(|(i, b)| if (148..156).contains(&i) { 32 } else { u32::from(*b) }).sum();
            bytes[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
            let _ = files(&bytes);
        }
    }
}
