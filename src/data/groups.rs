//! Groups of classes, such as the people who wear glasses.
//!
//! `groups.csv` in the root of a data set: a header `person,<column>,...` and one row per class.
//!
//! ```csv
//! person,glasses,age
//! anna,yes,young
//! ben,no,old
//! ```

use std::collections::BTreeMap;
use std::path::Path;

use super::DataError;
use super::folder::read_if_there;

/// The groups that the classes belong to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Groups {
    /// One entry per column of the file after the first, in the order of the file.
    pub columns: Vec<GroupColumn>,
}

/// One way to divide the classes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GroupColumn {
    /// Header of the column, such as `glasses`.
    pub name: String,
    /// The group of each class, by label, such as `yes`.
    pub of_class: Vec<String>,
}

impl Groups {
    /// Reads the file for these classes; `None` when there is no such file.
    ///
    /// # Errors
    /// [`DataError::Groups`] with the line: an unknown class, a class twice or not at all, an empty cell,
    /// a row with too few or too many cells, two names that differ only in case.
    pub(super) fn read_if_there(path: &Path, classes: &[String]) -> Result<Option<Self>, DataError> {
        match read_if_there(path)? {
            None => Ok(None),
            Some(bytes) => parse(&bytes, classes).map(Some).map_err(|Wrong { line, reason }| {
                DataError::Groups { path: path.to_path_buf(), line, reason }
            }),
        }
    }
}

/// A mistake and its line.
#[derive(Debug)]
struct Wrong {
    line: u64,
    reason: String,
}

fn parse(bytes: &[u8], classes: &[String]) -> Result<Groups, Wrong> {
    let text = std::str::from_utf8(bytes).map_err(|error| Wrong {
        line: bytes[..=error.valid_up_to()].split(|byte| *byte == b'\n').count() as u64,
        reason: "not valid UTF-8; save the file as UTF-8".into(),
    })?;
    let mut reader =
        csv::ReaderBuilder::new().flexible(true).trim(csv::Trim::All).from_reader(text.as_bytes());
    let header = reader.headers().map_err(|error| Wrong { line: 1, reason: error.to_string() })?;
    let names = column_names(header)?;
    let mut rows: BTreeMap<String, csv::StringRecord> = BTreeMap::new();
    let mut last_line = 1;
    for record in reader.records() {
        let record = record.map_err(|error| Wrong { line: last_line, reason: error.to_string() })?;
        let line = record.position().map_or(last_line, csv::Position::line);
        last_line = line;
        check_row(&record, &names, classes).map_err(|reason| Wrong { line, reason })?;
        let person = record[0].to_owned();
        if rows.contains_key(&person) {
            return Err(Wrong { line, reason: format!("`{person}` has a row already; keep one of them") });
        }
        rows.insert(person, record);
    }
    if let Some(class) = classes.iter().find(|class| !rows.contains_key(*class)) {
        let reason = format!("no row for class `{class}`; every class needs one");
        return Err(Wrong { line: last_line, reason });
    }
    let column = |(index, name): (usize, &String)| GroupColumn {
        name: name.clone(),
        of_class: classes.iter().map(|class| rows[class][index + 1].to_owned()).collect(),
    };
    let groups = Groups { columns: names.iter().enumerate().map(column).collect() };
    check_spelling(&groups, &rows)?;
    Ok(groups)
}

/// Headers of the group columns.
fn column_names(header: &csv::StringRecord) -> Result<Vec<String>, Wrong> {
    let wrong = |reason: String| Err(Wrong { line: 1, reason });
    let names: Vec<String> = header.iter().skip(1).map(str::to_owned).collect();
    if header.get(0) != Some("person") || names.is_empty() || names.iter().any(String::is_empty) {
        let found = header.iter().collect::<Vec<_>>().join(",");
        return wrong(format!(
            "found the header `{found}`, expected `person` and the names of the group columns, such as `person,glasses`"
        ));
    }
    for (index, name) in names.iter().enumerate() {
        if names[..index].iter().any(|other| other.to_lowercase() == name.to_lowercase()) {
            return wrong(format!("column `{name}` is there twice; rename one"));
        }
    }
    Ok(names)
}

fn check_row(record: &csv::StringRecord, names: &[String], classes: &[String]) -> Result<(), String> {
    let expected = names.len() + 1;
    if record.len() != expected {
        return Err(format!("found {} cells, expected {expected}", record.len()));
    }
    let person = &record[0];
    if !classes.iter().any(|class| class == person) {
        return Err(format!(
            "`{person}` is not a class of this data set; expected the name of a class folder"
        ));
    }
    match names.iter().zip(record.iter().skip(1)).find(|(_, group)| group.is_empty()) {
        Some((name, _)) => Err(format!("`{person}` has no group in column `{name}`")),
        None => Ok(()),
    }
}

/// Refuses `Yes` next to `yes`: they would be counted as two groups.
fn check_spelling(groups: &Groups, rows: &BTreeMap<String, csv::StringRecord>) -> Result<(), Wrong> {
    for (index, column) in groups.columns.iter().enumerate() {
        let mut spellings: BTreeMap<String, &str> = BTreeMap::new();
        for record in rows.values() {
            let group = &record[index + 1];
            let first = spellings.entry(group.to_lowercase()).or_insert(group);
            if *first != group {
                let line = record.position().map_or(1, csv::Position::line);
                let name = &column.name;
                let reason = format!("groups `{first}` and `{group}` of column `{name}` differ only in case");
                return Err(Wrong { line, reason });
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn classes() -> Vec<String> {
        ["anna", "ben"].map(str::to_owned).to_vec()
    }

    fn wrong(text: &str) -> (u64, String) {
        let Wrong { line, reason } = parse(text.as_bytes(), &classes()).expect_err(text);
        (line, reason)
    }

    #[test]
    fn columns_are_aligned_with_the_classes_whatever_the_order_of_rows() {
        let text = "\u{feff}person, glasses,age\r\nben,no,old\r\n\r\nanna,yes, young\r\n";
        let groups = parse(text.as_bytes(), &classes()).expect("a good file");
        assert_eq!(groups.columns[0].name, "glasses");
        assert_eq!(groups.columns[0].of_class, ["yes", "no"]);
        assert_eq!(groups.columns[1].of_class, ["young", "old"]);
    }

    #[test]
    fn each_mistake_is_found_with_its_line() {
        for (text, line, part) in [
            ("person,g\nanna,a\ncarl,b\n", 3, "`carl` is not a class"),
            ("person,g\nanna,a\n", 2, "no row for class `ben`"),
            ("person,g\nanna,a\nben,b\nanna,b\n", 4, "has a row already"),
            ("person,g\nanna,a\nben\n", 3, "found 1 cells, expected 2"),
            ("person,g\nanna,\nben,b\n", 2, "no group in column `g`"),
            ("person,g\nanna,Yes\nben,yes\n", 3, "differ only in case"),
            ("name,g\nanna,a\nben,b\n", 1, "expected `person`"),
            ("person\nanna\nben\n", 1, "expected `person`"),
            ("person,g,G\nanna,a,b\nben,a,b\n", 1, "twice"),
            ("", 1, "expected `person`"),
        ] {
            let (found, reason) = wrong(text);
            assert!(found == line && reason.contains(part), "{text:?}: line {found}: {reason}");
        }
    }

    #[test]
    fn other_encodings_are_named() {
        let error = parse(b"person,g\nanna,\xe9\n", &classes()).expect_err("latin-1");
        assert_eq!(error.line, 2);
    }
}
