//! How long the pickles at the start of a file are, without reading what they say.
//!
//! PyTorch before 1.6 writes five pickles and then the numbers. The parser keeps some hundred bytes for an opcode
//! of one, so a file of pickles alone could ask for a hundred times its size; they are measured first. Opcodes
//! and their arguments: `pickletools` of Python.

use std::io::{self, BufRead, Read};

/// Bytes that the pickles of a state dict may take. A thousand tensors need 150 kB.
pub(super) const LARGEST_PICKLE: u64 = 4 << 20;

/// What a pickle costs that is passed over.
///
/// # Errors
/// A sentence, where the bytes are no pickle or it is longer than `left`.
pub(super) fn skip_pickle<R: BufRead>(reader: &mut R, left: &mut u64) -> Result<(), String> {
    loop {
        let opcode = take::<1, _>(reader, left)?[0];
        match opcode {
            b'.' => return Ok(()),
            // No argument.
            b'('
            | b'0'
            | b'1'
            | b'2'
            | b'N'
            | b'R'
            | b'b'
            | b'd'
            | b'l'
            | b't'
            | b's'
            | b'a'
            | b')'
            | b']'
            | b'}'
            | b'e'
            | b'u'
            | b'Q'
            | b'o'
            | 0x81
            | 0x85..=0x89
            | 0x8f..=0x94
            | 0x97
            | 0x98 => {}
            // A number of bytes.
            b'K' | b'h' | b'q' | 0x80 | 0x82 => skip(reader, 1, left)?,
            b'M' | 0x83 => skip(reader, 2, left)?,
            b'J' | b'j' | b'r' | 0x84 => skip(reader, 4, left)?,
            b'G' | 0x95 => skip(reader, 8, left)?,
            // Lines.
            b'I' | b'L' | b'F' | b'V' | b'S' | b'g' | b'p' | b'P' => skip_line(reader, left)?,
            b'c' | b'i' => {
                skip_line(reader, left)?;
                skip_line(reader, left)?;
            }
            // A length and so many bytes.
            b'U' | b'C' | 0x8a | 0x8c => {
                let length = take::<1, _>(reader, left)?[0];
                skip(reader, u64::from(length), left)?;
            }
            b'T' | b'X' | b'B' | 0x8b => {
                let length = u32::from_le_bytes(take(reader, left)?);
                skip(reader, u64::from(length), left)?;
            }
            0x8d | 0x8e | 0x96 => {
                let length = u64::from_le_bytes(take(reader, left)?);
                skip(reader, length, left)?;
            }
            other => return Err(format!("no pickle: byte {other:#04x} is no opcode")),
        }
    }
}

fn take<const N: usize, R: BufRead>(reader: &mut R, left: &mut u64) -> Result<[u8; N], String> {
    spend(N as u64, left)?;
    let mut bytes = [0; N];
    reader.read_exact(&mut bytes).map_err(|_| "the file ends inside a pickle".to_owned())?;
    Ok(bytes)
}

fn skip<R: BufRead>(reader: &mut R, count: u64, left: &mut u64) -> Result<(), String> {
    spend(count, left)?;
    let passed = io::copy(&mut reader.take(count), &mut io::sink()).map_err(|error| error.to_string())?;
    if passed == count { Ok(()) } else { Err("the file ends inside a pickle".to_owned()) }
}

fn skip_line<R: BufRead>(reader: &mut R, left: &mut u64) -> Result<(), String> {
    while take::<1, _>(reader, left)? != [b'\n'] {}
    Ok(())
}

fn spend(count: u64, left: &mut u64) -> Result<(), String> {
    let rest = left.checked_sub(count);
    *left = rest.ok_or_else(|| {
        format!(
            "the description of the tensors is longer than {} MiB: this is no state dict",
            LARGEST_PICKLE >> 20
        )
    })?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pickle_is_measured() {
        // pickle.dumps({"a": 1, "b": [1.5, True, None], "c": b"xy"}, protocol=2), then something else.
        let pickle = b"\x80\x02}q\x00(X\x01\x00\x00\x00aq\x01K\x01X\x01\x00\x00\x00bq\x02]q\x03(G?\xf8\x00\x00\x00\x00\x00\x00\x88NeX\x01\x00\x00\x00cq\x04c_codecs\nencode\nq\x05X\x02\x00\x00\x00xyq\x06X\x06\x00\x00\x00latin1q\x07\x86q\x08Rq\tu.";
        let mut bytes = pickle.to_vec();
        bytes.extend_from_slice(b"rest");
        let (mut reader, mut left) = (bytes.as_slice(), 1000);
        skip_pickle(&mut reader, &mut left).expect("a pickle");
        assert_eq!((reader, left), (b"rest".as_slice(), 1000 - pickle.len() as u64));
        for (bytes, left, expected) in [
            (pickle.as_slice(), 50, "longer than"),
            (&pickle[..30], 1000, "ends inside"),
            (b"\xff.".as_slice(), 1000, "0xff"),
            (b"\x8e\xff\xff\xff\xff\xff\xff\xff\xff", 1000, "longer than"),
        ] {
            let (mut reader, mut left) = (bytes, left);
            let message = skip_pickle(&mut reader, &mut left).expect_err("refused");
            assert!(message.contains(expected), "{message}");
        }
    }
}
