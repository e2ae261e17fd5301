//! Names of classes: given in advance, or found in the data.

use std::collections::HashMap;
use std::path::Path;

use csv::ByteRecord;

use super::TableError;
use super::records::{Records, cell};

/// Most classes that are told apart.
pub(super) const MOST_CLASSES: usize = 1 << 22;

/// Most bytes of all names of classes together.
const MOST_BYTES: usize = 1 << 28;

/// What is known of the classes before the data are read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum KnownClasses {
    /// Nothing. Numbers are indices from 0, and there are as many classes as the largest says; names are
    /// sorted.
    #[default]
    Unknown,
    /// So many, given as indices from 0.
    Number(usize),
    /// These, given by name, or by index where no class is called by a number.
    Named(Vec<String>),
}

/// Reads a list of names, one a line in the order of the classes.
///
/// # Errors
/// When the file cannot be read, or a name is empty or there twice.
pub fn read_class_names(path: &Path) -> Result<Vec<String>, TableError> {
    let mut records = Records::open(path, 1 << 16)?;
    let (mut record, mut names) = (ByteRecord::new(), Vec::new());
    while let Some(line) = records.next(&mut record)? {
        let wrong = |problem: &str| TableError::line(path, line, problem);
        if record.len() != 1 {
            return Err(wrong("expected one name of a class and nothing else"));
        }
        let name = cell(&record[0]).map_err(wrong)?;
        if name.is_empty() {
            return Err(wrong("an empty name"));
        }
        if names.len() == MOST_CLASSES {
            return Err(wrong("too many classes"));
        }
        names.push(name.to_owned());
    }
    if names.is_empty() {
        return Err(TableError::whole(path, "no names of classes, expected one a line"));
    }
    all_different(&names).map_err(|problem| TableError::whole(path, problem))?;
    Ok(names)
}

/// Refuses a name that is there twice.
pub(super) fn all_different(names: &[String]) -> Result<(), String> {
    let mut seen = std::collections::HashSet::new();
    match names.iter().find(|name| !seen.insert(name.as_str())) {
        Some(name) => Err(format!("two classes are called `{name}`; give each its own name")),
        None => Ok(()),
    }
}

/// Numbers the classes while they are read.
pub(super) struct Numbering {
    numbers: HashMap<Box<[u8]>, u32>,
    known: KnownClasses,
    /// Whether a class can be given by its index although the classes have names.
    by_index: bool,
    bytes: usize,
}

impl Numbering {
    pub fn new(known: &KnownClasses) -> Self {
        let mut numbers = HashMap::new();
        let mut by_index = false;
        if let KnownClasses::Named(names) = known {
            by_index = names.iter().all(|name| index(name.as_bytes()).is_none());
            numbers.extend((0..).zip(names).map(|(class, name)| (name.as_bytes().into(), class)));
        }
        Self { numbers, known: known.clone(), by_index, bytes: 0 }
    }

    /// The number of a class as the data give it. Numbers are preliminary until [`Self::finish`].
    pub fn number(&mut self, bytes: &[u8]) -> Result<u32, String> {
        if let Some(&class) = self.numbers.get(bytes) {
            return Ok(class);
        }
        let text = cell(bytes)?;
        if let Some(&class) = self.numbers.get(text.as_bytes()) {
            return Ok(class);
        }
        if text.is_empty() {
            return Err("empty, expected a class".into());
        }
        let (classes, allowed) = match &self.known {
            KnownClasses::Unknown => return self.add(text),
            KnownClasses::Number(classes) => (*classes, true),
            KnownClasses::Named(names) => (names.len(), self.by_index),
        };
        match index(text.as_bytes()).filter(|_| allowed) {
            Some(class) if (class as usize) < classes => Ok(class),
            Some(class) => Err(format!(
                "class {class} is out of range, expected 0 to {} for {classes} classes",
                classes.saturating_sub(1)
            )),
            None if matches!(self.known, KnownClasses::Number(_)) => {
                Err(format!("`{}` is not the index of a class", short(text)))
            }
            None => Err(format!("`{}` is not a class{}", short(text), self.near(text))),
        }
    }

    fn near(&self, text: &str) -> String {
        let KnownClasses::Named(names) = &self.known else { return String::new() };
        let close =
            names.iter().take(10_000).map(|name| (strsim::damerau_levenshtein(name, text), name)).min();
        close
            .filter(|(distance, _)| *distance <= 2)
            .map_or_else(String::new, |(_, name)| format!(". Did you mean `{name}`?"))
    }

    fn add(&mut self, text: &str) -> Result<u32, String> {
        let number = self.numbers.len();
        self.bytes += text.len();
        if number >= MOST_CLASSES || self.bytes > MOST_BYTES {
            return Err(format!(
                "`{}` would be one class too many, at most {MOST_CLASSES} are told apart; is this the right column?",
                short(text)
            ));
        }
        self.numbers.insert(text.as_bytes().into(), number as u32);
        Ok(number as u32)
    }

    /// The names of the classes, and for each preliminary number the final one; `None` where they are the
    /// same.
    pub fn finish(self) -> Result<(Vec<String>, Option<Vec<u32>>), String> {
        match self.known {
            KnownClasses::Named(names) => return Ok((names, None)),
            KnownClasses::Number(classes) => {
                return Ok(((0..classes).map(|class| class.to_string()).collect(), None));
            }
            KnownClasses::Unknown => {}
        }
        let mut found: Vec<(Box<[u8]>, u32)> = self.numbers.into_iter().collect();
        let (numbers, names): (Vec<_>, Vec<_>) = found.iter().partition(|(name, _)| index(name).is_some());
        if let (Some((number, _)), Some((name, _))) = (numbers.first(), names.first()) {
            return Err(format!(
                "classes are given by number (`{}`) and by name (`{}`); give their names in order with --classes FILE",
                String::from_utf8_lossy(number),
                short(&String::from_utf8_lossy(name))
            ));
        }
        let mut of_number = vec![0; found.len()];
        if names.is_empty() {
            let classes =
                found.iter().filter_map(|(name, _)| index(name)).max().map_or(0, |last| last as usize + 1);
            if classes > MOST_CLASSES {
                return Err(format!(
                    "the largest class is {}, at most {MOST_CLASSES} classes are told apart; is this the right column?",
                    classes - 1
                ));
            }
            for (name, number) in &found {
                of_number[*number as usize] = index(name).unwrap_or_default();
            }
            return Ok(((0..classes).map(|class| class.to_string()).collect(), Some(of_number)));
        }
        found.sort_unstable();
        for (class, (_, number)) in (0..).zip(&found) {
            of_number[*number as usize] = class;
        }
        let names = found.iter().map(|(name, _)| String::from_utf8_lossy(name).into_owned()).collect();
        Ok((names, Some(of_number)))
    }
}

/// The number that this text is, written without a sign or leading zeros.
fn index(text: &[u8]) -> Option<u32> {
    let plain = text.len() <= 9
        && text.iter().all(u8::is_ascii_digit)
        && (text[..] == *b"0" || !text.starts_with(b"0"));
    plain
        .then(|| text.iter().fold(0, |number, digit| number * 10 + u32::from(digit - b'0')))
        .filter(|_| !text.is_empty())
}

/// The start of a text, for messages.
pub(super) fn short(text: &str) -> String {
    let start: String = text.chars().take(40).collect();
    if start.len() < text.len() { format!("{start}..") } else { start }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn finished(numbering: Numbering, read: &[u32]) -> (Vec<String>, Vec<u32>) {
        let (names, of_number) = numbering.finish().expect("good");
        let class = |number: &u32| of_number.as_ref().map_or(*number, |of| of[*number as usize]);
        (names, read.iter().map(class).collect())
    }

    #[test]
    fn numbers_are_indices_and_names_are_sorted() {
        let mut numbers = Numbering::new(&KnownClasses::Unknown);
        let read = [b"2" as &[u8], b" 0", b"2"].map(|text| numbers.number(text).expect("good"));
        assert_eq!(finished(numbers, &read), (["0", "1", "2"].map(String::from).to_vec(), vec![2, 0, 2]));
        let mut names = Numbering::new(&KnownClasses::Unknown);
        let read = ["carl", "anna"].map(|text| names.number(text.as_bytes()).expect("good"));
        assert_eq!(finished(names, &read), (["anna", "carl"].map(String::from).to_vec(), vec![1, 0]));
    }

    #[test]
    fn known_classes_are_checked_at_once() {
        let mut two = Numbering::new(&KnownClasses::Number(2));
        assert_eq!(two.number(b"1"), Ok(1));
        assert!(two.number(b"2").expect_err("range").contains("expected 0 to 1"));
        assert!(two.number(b"x").expect_err("name").contains("not the index"));
        let mut named = Numbering::new(&KnownClasses::Named(["anna", "ben"].map(String::from).to_vec()));
        assert_eq!((named.number(b"ben"), named.number(b"0")), (Ok(1), Ok(0)));
        assert!(named.number(b"anma").expect_err("unknown").contains("Did you mean `anna`"));
        assert!(named.number(b"7").expect_err("range").contains("out of range"));
        // Where a class is called by a number, numbers are names.
        let mut called = Numbering::new(&KnownClasses::Named(["7", "0"].map(String::from).to_vec()));
        assert_eq!((called.number(b"7"), called.number(b"0")), (Ok(0), Ok(1)));
        assert!(called.number(b"1").is_err());
    }

    #[test]
    fn numbers_next_to_names_and_gigantic_numbers_are_refused() {
        let mut mixed = Numbering::new(&KnownClasses::Unknown);
        mixed.number(b"3").and_then(|_| mixed.number(b"cat")).expect("each by itself");
        assert!(mixed.finish().expect_err("mixed").contains("--classes"));
        let mut large = Numbering::new(&KnownClasses::Unknown);
        large.number(b"999999999").expect("by itself");
        assert!(large.finish().expect_err("large").contains("999999999"));
        assert!(Numbering::new(&KnownClasses::Unknown).number(b"  ").is_err());
    }
}
