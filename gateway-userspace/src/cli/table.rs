//! Columns of text that line up: numbers to the right, everything else to the left.

use std::fmt;

/// A table that is printed as a whole.
#[derive(Default)]
pub struct Table {
    header: Vec<&'static str>,
    rows: Vec<Vec<String>>,
}

impl Table {
    /// A table with these columns and no rows.
    pub fn new<const N: usize>(header: [&'static str; N]) -> Self {
        Self { header: header.to_vec(), rows: Vec::new() }
    }

    /// Appends a row.
    pub fn row<const N: usize>(&mut self, cells: [String; N]) {
        self.rows.push(Vec::from(cells));
    }

    /// Whether there is no row.
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    fn column(&self, index: usize) -> Column {
        let cells = || self.rows.iter().filter_map(move |row| row.get(index));
        let header = self.header.get(index).map_or(0, |text| text.chars().count());
        Column {
            width: cells().map(|cell| cell.chars().count()).max().unwrap_or(0).max(header),
            number: cells().all(|cell| cell == "-" || cell.starts_with(|c: char| c.is_ascii_digit()))
                && cells().all(|cell| !cell.contains([':', '.', '/'])),
        }
    }
}

struct Column {
    width: usize,
    number: bool,
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let columns: Vec<_> = (0..self.header.len()).map(|index| self.column(index)).collect();
        let header: Vec<String> = self.header.iter().map(|text| (*text).to_owned()).collect();
        for row in std::iter::once(&header).chain(&self.rows) {
            let cells: Vec<_> = row
                .iter()
                .zip(&columns)
                .map(
                    |(cell, Column { width, number })| {
                        if *number { format!("{cell:>width$}") } else { format!("{cell:<width$}") }
                    },
                )
                .collect();
            writeln!(f, "{}", cells.join("  ").trim_end())?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_stand_to_the_right_and_names_to_the_left() {
        let mut table = Table::new(["NAME", "ADDRESS", "NEW"]);
        table.row(["shop/v1".to_owned(), "10.0.0.1:80".to_owned(), "7".to_owned()]);
        table.row(["v2".to_owned(), "10.0.0.22:80".to_owned(), "1234".to_owned()]);

        assert_eq!(
            table.to_string(),
            "NAME     ADDRESS        NEW\n\
             shop/v1  10.0.0.1:80      7\n\
             v2       10.0.0.22:80  1234\n"
        );
    }
}
