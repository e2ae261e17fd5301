//! A small text table.

use std::fmt;

use super::markdown::{escape, line};

/// Where a column's text stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Align {
    /// Names.
    Left,
    /// Numbers.
    Right,
}

/// Rows of text in aligned columns, with headings in between. Printing it ends with a newline.
///
/// A column is as wide as its longest cell in `char`s, which fits every script whose letters are one
/// terminal cell wide.
#[derive(Clone, Debug)]
pub struct Table {
    columns: Vec<(String, Align)>,
    rows: Vec<Row>,
}

#[derive(Clone, Debug)]
enum Row {
    Heading(String),
    Cells(Vec<String>),
}

impl Table {
    /// An empty table with these column titles.
    pub fn new<T: Into<String>>(columns: impl IntoIterator<Item = (T, Align)>) -> Self {
        let columns = columns.into_iter().map(|(title, align)| (one_line(&title.into()), align)).collect();
        Self { columns, rows: Vec::new() }
    }

    /// Adds a row, one cell a column.
    pub fn row<T: Into<String>>(&mut self, cells: impl IntoIterator<Item = T>) {
        self.rows.push(Row::Cells(cells.into_iter().map(|cell| one_line(&cell.into())).collect()));
    }

    /// Adds a line over the full width, after an empty one.
    pub fn heading(&mut self, text: &str) {
        self.rows.push(Row::Heading(one_line(text)));
    }

    /// The same as a markdown table; headings are rows in bold type.
    pub fn markdown(&self) -> String {
        let dashes = self.columns.iter().map(|(_, align)| match align {
            Align::Left => "---|",
            Align::Right => "---:|",
        });
        let mut lines = vec![
            markdown_row(self.columns.iter().map(|(title, _)| title.as_str())),
            format!("|{}", dashes.collect::<String>()),
        ];
        lines.extend(self.rows.iter().map(|row| match row {
            Row::Heading(text) => {
                format!("| **{}** |{}", escape(text), " |".repeat(self.columns.len().saturating_sub(1)))
            }
            Row::Cells(cells) => markdown_row(cells.iter().map(String::as_str)),
        }));
        lines.join("\n") + "\n"
    }

    fn line<'a>(&self, cells: impl Iterator<Item = &'a String>, widths: &[usize]) -> String {
        let cell = |((text, (_, align)), width): ((&String, &(String, Align)), &usize)| {
            let space = " ".repeat(width.saturating_sub(text.chars().count()));
            match align {
                Align::Left => format!("{text}{space}"),
                Align::Right => format!("{space}{text}"),
            }
        };
        let cells: Vec<String> = cells.zip(&self.columns).zip(widths).map(cell).collect();
        cells.join("  ").trim_end().to_owned()
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut widths: Vec<usize> = self.columns.iter().map(|(title, _)| title.chars().count()).collect();
        for row in &self.rows {
            let Row::Cells(cells) = row else { continue };
            for (width, cell) in widths.iter_mut().zip(cells) {
                *width = (*width).max(cell.chars().count());
            }
        }
        writeln!(f, "{}", self.line(self.columns.iter().map(|(title, _)| title), &widths))?;
        let full = widths.iter().sum::<usize>() + 2 * widths.len().saturating_sub(1);
        writeln!(f, "{}", "─".repeat(full))?;
        for (at, row) in self.rows.iter().enumerate() {
            match row {
                Row::Heading(text) if at == 0 => writeln!(f, "{text}")?,
                Row::Heading(text) => writeln!(f, "\n{text}")?,
                Row::Cells(cells) => writeln!(f, "{}", self.line(cells.iter(), &widths))?,
            }
        }
        Ok(())
    }
}

fn markdown_row<'a>(mut cells: impl Iterator<Item = &'a str>) -> String {
    line(cells.next().unwrap_or_default(), cells)
}

/// The text without line breaks and other control characters, which a class name may hold because a
/// folder's name may.
pub(super) fn one_line(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_aligned() {
        let mut table = Table::new([("name", Align::Left), ("images", Align::Right), ("note", Align::Left)]);
        table.heading("Faces");
        table.row(["anna", "7", "x"]);
        table.row(["Łukasz Żółć", "1200", ""]);
        table.heading("Others");
        table.row(["a\nb", "-", "y"]);
        insta::assert_snapshot!(table, @"
        name         images  note
        ─────────────────────────
        Faces
        anna              7  x
        Łukasz Żółć    1200

        Others
        a b               -  y
        ");
    }

    #[test]
    fn the_same_in_markdown() {
        let mut table = Table::new([("name", Align::Left), ("images", Align::Right)]);
        table.heading("Faces");
        table.row(["anna_b", "7"]);
        insta::assert_snapshot!(table.markdown(), @r"
        | name | images |
        |---|---:|
        | **Faces** | |
        | anna\_b | 7 |
        ");
    }

    #[test]
    fn a_table_without_rows_has_titles() {
        insta::assert_snapshot!(Table::new([("a", Align::Left), ("b", Align::Right)]), @"
        a  b
        ────
        ");
    }
}
