//! Groups of classes from a table: the first column names the class, each other one divides the classes.
//!
//! ```csv
//! class,gender,hair
//! anna,f,long|dark
//! ben,m,dark
//! carl,m,
//! ```
//!
//! A cell may hold several groups with `|` between them, which then overlap; an empty cell leaves the class
//! out of that column.

use std::collections::BTreeMap;
use std::path::Path;

use csv::ByteRecord;

use super::TableError;
use super::classes::{KnownClasses, Numbering, short};
use super::records::{Records, cell, column};

/// Most group columns, and most groups of one column.
const MOST: usize = 1000;

/// One way to group the classes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClassGroups {
    /// Such as `gender`.
    pub column: String,
    /// Names of the groups in alphabetical order.
    pub groups: Vec<String>,
    /// The classes of each group by rising index. A class may be in several.
    pub members: Vec<Vec<usize>>,
}

impl ClassGroups {
    /// From the groups of each class.
    pub(super) fn new(column: String, of_class: &[Vec<String>]) -> Self {
        let mut found: BTreeMap<&str, Vec<usize>> = BTreeMap::new();
        for (class, groups) in of_class.iter().enumerate() {
            for group in groups {
                found.entry(group).or_default().push(class);
            }
        }
        let (groups, members) = found.into_iter().map(|(group, classes)| (group.to_owned(), classes)).unzip();
        Self { column, groups, members }
    }

    /// Whether some class is in several groups.
    pub fn overlap(&self) -> bool {
        let mut all: Vec<usize> = self.members.concat();
        let classes = all.len();
        all.sort_unstable();
        all.dedup();
        all.len() < classes
    }
}

/// Each pair of columns as a column of its own, whose groups are the intersections that are not empty.
pub fn intersections(columns: &[ClassGroups]) -> Vec<ClassGroups> {
    let pairs =
        (0..columns.len()).flat_map(|i| (i + 1..columns.len()).map(move |j| (&columns[i], &columns[j])));
    pairs
        .map(|(a, b)| {
            let cells = a.groups.iter().zip(&a.members).flat_map(|(name, classes)| {
                b.groups.iter().zip(&b.members).map(move |(other, others)| {
                    let both =
                        classes.iter().filter(|class| others.binary_search(class).is_ok()).copied().collect();
                    (format!("{name} x {other}"), both)
                })
            });
            let (groups, members) = cells.filter(|(_, both): &(_, Vec<usize>)| !both.is_empty()).unzip();
            ClassGroups { column: format!("{} x {}", a.column, b.column), groups, members }
        })
        .collect()
}

/// Reads the groups of these classes.
///
/// # Errors
/// When the file cannot be read, has an unknown class, a class twice or not at all, a line with too many or
/// too few cells, or groups whose names differ only in case.
pub fn read_groups(path: &Path, classes: &[String]) -> Result<Vec<ClassGroups>, TableError> {
    parse(path, Records::open(path, 1 << 16)?, classes)
}

fn parse(path: &Path, mut records: Records, classes: &[String]) -> Result<Vec<ClassGroups>, TableError> {
    let mut record = ByteRecord::new();
    let Some(first) = records.next(&mut record)? else {
        return Err(TableError::whole(path, "empty, expected a header such as `class,gender`"));
    };
    let header = header(path, first, &record)?;
    let mut numbering = Numbering::new(&KnownClasses::Named(classes.to_vec()));
    let mut lines: Vec<Option<u64>> = vec![None; classes.len()];
    let mut of_class = vec![vec![Vec::new(); classes.len()]; header.len() - 1];
    let mut spellings: Vec<BTreeMap<String, String>> = vec![BTreeMap::new(); header.len() - 1];
    while let Some(line) = records.next(&mut record)? {
        if record.len() != header.len() {
            let problem = format!("found {} cells, expected {}", record.len(), header.len());
            return Err(TableError::line(path, line, problem));
        }
        let wrong =
            |at: usize, problem: String| TableError::cell(path, line, column(at, &header[at]), problem);
        let class = numbering.number(&record[0]).map_err(|problem| wrong(0, problem))? as usize;
        if let Some(before) = lines[class].replace(line) {
            return Err(wrong(
                0,
                format!(
                    "`{}` has line {before} already; a class has one line, and several groups of one column \
                     stand in one cell with | between them",
                    short(&classes[class])
                ),
            ));
        }
        for (at, bytes) in record.iter().enumerate().skip(1) {
            let text = cell(bytes).map_err(|why| wrong(at, why.into()))?;
            for group in text.split('|').map(str::trim).filter(|group| !group.is_empty()) {
                let known = &mut spellings[at - 1];
                let spelling = known.entry(group.to_lowercase()).or_insert_with(|| group.to_owned());
                if spelling != group {
                    return Err(wrong(at, format!("groups `{spelling}` and `{group}` differ only in case")));
                }
                if known.len() > MOST {
                    return Err(wrong(at, format!("more than {MOST} groups; is this a column of groups?")));
                }
                let groups: &mut Vec<String> = &mut of_class[at - 1][class];
                if !groups.iter().any(|other| other == group) {
                    groups.push(group.to_owned());
                }
            }
        }
    }
    if let Some(class) = lines.iter().position(Option::is_none) {
        let problem = format!(
            "no line for class `{}`; every class needs one, with empty cells if it is in no group",
            short(&classes[class])
        );
        return Err(TableError::whole(path, problem));
    }
    Ok(header
        .into_iter()
        .skip(1)
        .zip(&of_class)
        .map(|(name, groups)| ClassGroups::new(name, groups))
        .collect())
}

fn header(path: &Path, line: u64, record: &ByteRecord) -> Result<Vec<String>, TableError> {
    let names: Vec<String> = (1..)
        .zip(record.iter())
        .map(|(at, bytes)| Ok(cell(bytes).map_err(|why| TableError::cell(path, line, at, why))?.to_owned()))
        .collect::<Result<_, _>>()?;
    let wrong = |problem: String| Err(TableError::line(path, line, problem));
    if names.len() < 2 || names.len() > MOST || names.iter().any(String::is_empty) {
        let found = short(&names.join(","));
        return wrong(format!(
            "found the header `{found}`, expected the class and the group columns, such as `class,gender`"
        ));
    }
    match (1..names.len())
        .find(|&at| names[..at].iter().any(|other| other.to_lowercase() == names[at].to_lowercase()))
    {
        Some(at) => wrong(format!("column `{}` is there twice; rename one", short(&names[at]))),
        None => Ok(names),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tables::damage::{damaged, gzipped, one_of};
    use proptest::prelude::*;

    fn read(text: &[u8]) -> Result<Vec<ClassGroups>, String> {
        let path = Path::new("groups.csv");
        let input = Box::new(std::io::Cursor::new(text.to_vec()));
        let classes = ["anna", "ben", "carl"].map(String::from);
        Records::new(path, input, 1 << 16)
            .and_then(|records| parse(path, records, &classes))
            .map_err(|error| error.to_string())
    }

    fn members(groups: &ClassGroups) -> Vec<(&str, &[usize])> {
        groups.groups.iter().map(String::as_str).zip(groups.members.iter().map(Vec::as_slice)).collect()
    }

    #[test]
    fn groups_may_overlap_and_leave_classes_out() {
        let found = read(b"class,gender,hair\nben,m,dark\nanna,f,long | dark\n2,m,\n").expect("good");
        assert_eq!(members(&found[0]), [("f", &[0][..]), ("m", &[1, 2])]);
        assert_eq!(members(&found[1]), [("dark", &[0, 1][..]), ("long", &[0])]);
        assert_eq!((found[0].overlap(), found[1].overlap()), (false, true));
        let both = &intersections(&found)[0];
        assert_eq!(both.column, "gender x hair");
        assert_eq!(members(both), [("f x dark", &[0][..]), ("f x long", &[0]), ("m x dark", &[1])]);
    }

    #[test]
    fn each_mistake_is_found_with_its_place() {
        for (text, parts) in [
            ("", &["empty"][..]),
            ("class\nanna\n", &["line 1", "class,gender"]),
            ("class,g,G\n", &["line 1", "twice"]),
            ("class,g\nanna,a\nben,b\ncarla,b\n", &["line 4, column 1 (`class`)", "Did you mean `carl`"]),
            ("class,g\nanna,a\nben,b\n", &["no line for class `carl`"]),
            ("class,g\nanna,a\nben,b\ncarl,b\nanna,b\n", &["line 5", "line 2 already", "|"]),
            ("class,g\nanna,a\nben\n", &["line 3", "found 1 cells, expected 2"]),
            ("class,g\nanna,Yes\nben,yes\n", &["line 3, column 2 (`g`)", "only in case"]),
            ("class,g\n3,x\n", &["line 2", "out of range"]),
        ] {
            let error = read(text.as_bytes()).expect_err(text);
            assert!(parts.iter().all(|part| error.contains(part)), "{text:?}: {error}");
        }
    }

    fn good() -> Vec<Vec<u8>> {
        let text = "class,gender,hair\nben,m,dark\nanna,f,long | dark\n2,m,\n";
        vec![text.into(), gzipped(text.as_bytes()), b"class;g\nanna;a\nben;b\ncarl;a\n".to_vec()]
    }

    proptest! {
        #[test]
        fn damaged_files_are_an_answer_or_an_error(bytes in damaged(one_of(good()))) {
            match read(&bytes) {
                Ok(columns) => for column in columns {
                    prop_assert_eq!(column.groups.len(), column.members.len());
                    prop_assert!(column.members.iter().all(|classes| classes.is_sorted() && !classes.is_empty()));
                    prop_assert!(column.members.iter().flatten().all(|&class| class < 3));
                },
                Err(error) => prop_assert!(error.contains("groups.csv"), "{}", error),
            }
        }

        #[test]
        fn any_bytes_are_an_answer_or_an_error(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = read(&bytes);
        }
    }
}
