//! Framing of `TFRecord` files.
//!
//! A record is its length (`u64`), a checksum of the length, the bytes, and a checksum of them, all little-endian
//! (TensorFlow, `tensorflow/core/lib/io/record_writer.h`). The checksum is CRC-32C, masked by a rotation and an
//! addition, so that the checksum of data that hold checksums is not degenerate.

/// The polynomial of CRC-32C (Castagnoli; RFC 3720, 12.1), bits reversed.
const POLYNOMIAL: u32 = 0x82F6_3B78;

/// Added by the mask.
const MASK: u32 = 0xA282_EAD8;

const TABLE: [u32; 256] = table();

const fn table() -> [u32; 256] {
    let mut table = [0; 256];
    let mut byte = 0;
    while byte < 256 {
        let mut crc = byte as u32;
        let mut bit = 0;
        while bit < 8 {
            crc = if crc & 1 == 1 { (crc >> 1) ^ POLYNOMIAL } else { crc >> 1 };
            bit += 1;
        }
        table[byte] = crc;
        byte += 1;
    }
    table
}

/// CRC-32C of some bytes.
fn crc32c(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(!0, |crc: u32, byte| (crc >> 8) ^ TABLE[((crc ^ u32::from(*byte)) & 0xFF) as usize])
}

fn masked(bytes: &[u8]) -> [u8; 4] {
    crc32c(bytes).rotate_right(15).wrapping_add(MASK).to_le_bytes()
}

/// Appends a record.
pub(super) fn append(file: &mut Vec<u8>, record: &[u8]) {
    let length = (record.len() as u64).to_le_bytes();
    file.extend(length);
    file.extend(masked(&length));
    file.extend(record);
    file.extend(masked(record));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn checksums_are_those_of_the_rfc() {
        // RFC 3720, appendix B.4, and the usual check value.
        assert_eq!(crc32c(b"123456789"), 0xE306_9283);
        assert_eq!(crc32c(&[0; 32]), 0x8A91_36AA);
        assert_eq!(crc32c(&[0xFF; 32]), 0x62A8_AB43);
        let ascending: Vec<u8> = (0..32).collect();
        assert_eq!(crc32c(&ascending), 0x46DD_794E);
    }

    #[test]
    fn a_record_is_framed() {
        let mut file = Vec::new();
        append(&mut file, b"ab");
        assert_eq!(file.len(), 8 + 4 + 2 + 4);
        assert_eq!((&file[..8], &file[12..14]), (&[2, 0, 0, 0, 0, 0, 0, 0][..], &b"ab"[..]));
        let unmasked =
            u32::from_le_bytes(file[14..].try_into().expect("four bytes")).wrapping_sub(MASK).rotate_left(15);
        assert_eq!(unmasked, crc32c(b"ab"));
    }
}
