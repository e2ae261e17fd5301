//! Files that were good before something happened to them on a disk, in a network or in an editor: what
//! the tests of readers are given beside bytes that never were a file.

use proptest::prelude::*;
use proptest::sample::Index;

#[derive(Clone, Debug)]
enum Damage {
    /// One bit is another.
    Bit(Index, u32),
    /// One byte is another.
    Byte(Index, u8),
    /// Some bytes are missing.
    Hole(Index, usize),
    /// The end is missing.
    Cut(Index),
    /// A line is there twice.
    Twice(Index),
    /// A line is missing.
    Lost(Index),
    /// A number is larger than anything can be.
    Absurd(Index, usize),
}

impl Damage {
    fn happen(self, bytes: &mut Vec<u8>) {
        if bytes.is_empty() {
            return;
        }
        let size = bytes.len();
        match self {
            Self::Bit(at, bit) => bytes[at.index(size)] ^= 1 << bit,
            Self::Byte(at, byte) => bytes[at.index(size)] = byte,
            Self::Hole(at, length) => {
                let start = at.index(size);
                bytes.drain(start..(start + length).min(size));
            }
            Self::Cut(at) => bytes.truncate(at.index(size)),
            Self::Twice(at) => lines(bytes, at, |lines, at| lines.insert(at, lines[at].clone())),
            Self::Lost(at) => lines(bytes, at, |lines, at| drop(lines.remove(at))),
            Self::Absurd(at, more) => {
                let digits: Vec<usize> = (0..size).filter(|&at| bytes[at].is_ascii_digit()).collect();
                if !digits.is_empty() {
                    let after = digits[at.index(digits.len())] + 1;
                    bytes.splice(after..after, std::iter::repeat_n(b'9', more));
                }
            }
        }
    }
}

fn lines(bytes: &mut Vec<u8>, at: Index, change: impl FnOnce(&mut Vec<Vec<u8>>, usize)) {
    let mut lines: Vec<Vec<u8>> = bytes.split_inclusive(|byte| *byte == b'\n').map(<[u8]>::to_vec).collect();
    let at = at.index(lines.len());
    change(&mut lines, at);
    *bytes = lines.concat();
}

/// A good file after up to three accidents.
pub(crate) fn damaged(good: impl Strategy<Value = Vec<u8>>) -> impl Strategy<Value = Vec<u8>> {
    let damage = prop_oneof![
        (any::<Index>(), 0_u32..8).prop_map(|(at, bit)| Damage::Bit(at, bit)),
        (any::<Index>(), any::<u8>()).prop_map(|(at, byte)| Damage::Byte(at, byte)),
        (any::<Index>(), 1_usize..20).prop_map(|(at, length)| Damage::Hole(at, length)),
        any::<Index>().prop_map(Damage::Cut),
        any::<Index>().prop_map(Damage::Twice),
        any::<Index>().prop_map(Damage::Lost),
        (any::<Index>(), 1_usize..30).prop_map(|(at, more)| Damage::Absurd(at, more)),
    ];
    (good, prop::collection::vec(damage, 1..4)).prop_map(|(mut bytes, damages)| {
        for damage in damages {
            damage.happen(&mut bytes);
        }
        bytes
    })
}

/// One of these files.
pub(crate) fn one_of(files: Vec<Vec<u8>>) -> impl Strategy<Value = Vec<u8>> {
    any::<Index>().prop_map(move |which| files[which.index(files.len())].clone())
}

/// The bytes as gzip.
pub(crate) fn gzipped(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    std::io::Write::write_all(&mut encoder, bytes).expect("memory");
    encoder.finish().expect("memory")
}
