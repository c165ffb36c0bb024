//! Text in aligned columns.

use std::fmt;

/// Space between two columns.
const GAP: usize = 2;

/// A header and rows. The last column is never padded; its cells may have several lines.
pub(super) struct Table {
    header: Vec<String>,
    rows: Vec<Vec<String>>,
    numeric: Vec<bool>,
}

impl Table {
    pub fn new(header: &[&str]) -> Self {
        let numeric = vec![false; header.len()];
        Self {
            header: header.iter().map(|title| (*title).to_owned()).collect(),
            rows: Vec::new(),
            numeric,
        }
    }

    /// Aligns these columns to the right.
    pub fn numeric(mut self, columns: &[usize]) -> Self {
        for column in columns {
            self.numeric[*column] = true;
        }
        self
    }

    pub fn row(&mut self, cells: impl IntoIterator<Item = String>) {
        self.rows.push(
            cells
                .into_iter()
                .map(|cell| if cell.is_empty() { "-".to_owned() } else { cell })
                .collect(),
        );
    }

    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    fn width(&self, column: usize) -> usize {
        let cells = self.rows.iter().filter_map(|row| row.get(column));
        cells
            .chain(self.header.get(column))
            .map(|cell| cell.chars().count())
            .max()
            .unwrap_or_default()
    }

    fn write_row(&self, row: &[String], widths: &[usize], f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let last = row.len().saturating_sub(1);
        let mut indent = 0;
        for (column, cell) in row.iter().enumerate() {
            let width = widths[column];
            match (column == last, self.numeric[column]) {
                (_, true) => write!(f, "{cell:>width$}")?,
                (true, false) => f.write_str(&cell.replace('\n', &format!("\n{:indent$}", "")))?,
                (false, false) => write!(f, "{cell:<width$}")?,
            }
            if column < last {
                write!(f, "{:GAP$}", "")?;
            }
            indent += width + GAP;
        }
        f.write_str("\n")
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let widths: Vec<usize> = (0..self.header.len()).map(|column| self.width(column)).collect();
        self.write_row(&self.header, &widths, f)?;
        self.rows.iter().try_for_each(|row| self.write_row(row, &widths, f))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_align_and_long_cells_continue_below_themselves() {
        let mut table = Table::new(&["NAME", "N", "WHERE"]).numeric(&[1]);
        table.row(["a".into(), "7".into(), "x\ny".into()]);
        table.row(["longer".into(), "123".into(), String::new()]);
        let expected = "NAME      N  WHERE\na         7  x\n             y\nlonger  123  -\n";
        assert_eq!(table.to_string(), expected);
    }
}
