//! The defect of the packaged ORL pictures, and its repair.
//!
//! In 152 of the 400 files each byte 0A was written as 0D 0A, as if the picture were text. Their header
//! gives them away: it starts with `P5` and a carriage return. The repair turns each 0D 0A back into 0A.
//! In two pictures one 0D 0A is real, two neighbouring pixels of 13 and 10: the plain repair leaves them
//! one byte short. Which pair is the real one is inferred, not known: the one whose picture has the
//! smallest sum of absolute differences between pixels one above the other.

/// Width of each picture, in pixels.
pub(super) const WIDTH: usize = 92;
/// Height of each picture, in pixels.
pub(super) const HEIGHT: usize = 112;

/// Person, number and position among the 0D 0A pairs of the pixels (from 0) of the pairs that are real.
const REAL_PAIRS: [(usize, usize, usize); 2] = [(8, 10, 3), (9, 8, 9)];

/// The `92 * 112` grey pixels of a PGM file as packaged, given whose picture it is (person and number from
/// 1). `None` when the file is not what is expected even after the repair.
pub(super) fn pixels(file: &[u8], person: usize, number: usize) -> Option<Vec<u8>> {
    let mangled = file.starts_with(b"P5\r\n");
    let (header_end, _) = file.iter().enumerate().filter(|(_, byte)| **byte == b'\n').nth(2)?;
    let (header, pixels) = file.split_at(header_end + 1);
    let header: Vec<&[u8]> = header.split(u8::is_ascii_whitespace).filter(|word| !word.is_empty()).collect();
    if header != [b"P5", &b"92"[..], b"112", b"255"] {
        return None;
    }
    let pixels = if mangled { without_carriage_returns(pixels, person, number) } else { pixels.to_vec() };
    (pixels.len() == WIDTH * HEIGHT).then_some(pixels)
}

fn without_carriage_returns(mangled: &[u8], person: usize, number: usize) -> Vec<u8> {
    let mut pairs = 0..;
    let mut repaired = Vec::with_capacity(mangled.len());
    for (at, &byte) in mangled.iter().enumerate() {
        let in_pair = byte == b'\r' && mangled.get(at + 1) == Some(&b'\n');
        let added = in_pair && pairs.next().is_some_and(|pair| !REAL_PAIRS.contains(&(person, number, pair)));
        if !added {
            repaired.push(byte);
        }
    }
    repaired
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEADER: &[u8] = b"P5\n92 112\n255\n";

    /// Grey values that go through all of 0 to 255, with lone 0A and 0D bytes but no 0D 0A pair.
    fn picture() -> Vec<u8> {
        let pixels: Vec<u8> = (0..WIDTH * HEIGHT).map(|at| (at * 7 % 256) as u8).collect();
        assert!(pixels.contains(&b'\n') && !pixels.windows(2).any(|pair| pair == b"\r\n"));
        pixels
    }

    fn mangle(file: &[u8]) -> Vec<u8> {
        file.iter().flat_map(|&byte| if byte == b'\n' { vec![b'\r', b'\n'] } else { vec![byte] }).collect()
    }

    #[test]
    fn a_clean_file_is_taken_as_it_is_even_with_a_real_pair() {
        let mut expected = picture();
        expected[100..102].copy_from_slice(b"\r\n");
        assert_eq!(pixels(&[HEADER, &expected].concat(), 8, 10), Some(expected));
    }

    #[test]
    fn a_mangled_file_gets_its_pixels_back() {
        let file = mangle(&[HEADER, &picture()].concat());
        assert_eq!(pixels(&file, 1, 1), Some(picture()));
    }

    #[test]
    fn the_real_pair_is_kept() {
        // 13 newlines among the pixels; the one with index 3 has a real carriage return before it.
        let mut expected = vec![50; WIDTH * HEIGHT];
        for index in 0..13 {
            expected[100 + 50 * index] = b'\n';
        }
        expected[100 + 50 * 3 - 1] = b'\r';
        // The conversion that mangled the files left real pairs alone.
        let file = mangle(&[HEADER, &expected].concat());
        let file = String::from_utf8(file).expect("ASCII").replace("\r\r\n", "\r\n").into_bytes();
        assert_eq!(pixels(&file, 8, 10), Some(expected));
        assert_eq!(pixels(&file, 8, 9), None, "one byte short for any other picture");
    }

    #[test]
    fn other_content_is_refused() {
        assert_eq!(pixels(b"", 1, 1), None);
        assert_eq!(pixels(b"P5\n92 112\n255\nshort", 1, 1), None);
        let other_size = [b"P5\n112 92\n255\n", &picture()[..]].concat();
        assert_eq!(pixels(&other_size, 1, 1), None);
    }
}
