//! The table of a run, as `metrics.csv` has it. Files of older versions lack some columns.

use crate::error::{Error, Result};

/// The columns of a table, by the names in its first line. Cells that are no number are missing.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Metrics {
    names: Vec<String>,
    rows: Vec<Vec<Option<f64>>>,
}

impl Metrics {
    /// Reads the text of a table.
    ///
    /// # Errors
    /// [`Error::Data`] if it has no column of epochs.
    pub fn parse(text: &str) -> Result<Self> {
        let mut lines = text.lines();
        let names: Vec<String> =
            lines.next().unwrap_or_default().split(',').map(|name| name.trim().to_owned()).collect();
        if !names.iter().any(|name| name == "epoch") {
            return Err(Error::data(
                "this is not the table of a run: its first line names no column \"epoch\"",
            ));
        }
        let number = |cell: &str| cell.trim().parse().ok().filter(|x: &f64| x.is_finite());
        let rows = lines.filter(|line| !line.trim().is_empty());
        Ok(Self { names, rows: rows.map(|line| line.split(',').map(number).collect()).collect() })
    }

    /// The points of a column by epoch.
    pub fn points(&self, column: &str) -> Vec<(f64, f64)> {
        let place = |name: &str| self.names.iter().position(|other| other == name);
        let (Some(x), Some(y)) = (place("epoch"), place(column)) else { return Vec::new() };
        let cell = |row: &[Option<f64>], i: usize| row.get(i).copied().flatten();
        self.rows.iter().filter_map(|row| Some((cell(row, x)?, cell(row, y)?))).collect()
    }

    /// The last number of a column.
    pub fn last(&self, column: &str) -> Option<f64> {
        self.points(column).last().map(|point| point.1)
    }

    /// The epoch with the largest number of a column, the first of several, and that number.
    pub fn best(&self, column: &str) -> Option<(f64, f64)> {
        self.points(column).into_iter().reduce(|best, next| if next.1 > best.1 { next } else { best })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_found_by_name_and_cells_may_be_missing() {
        let text = "epoch,step,val_top1,data_wait\n1,5,0.25,\n2,10,0.5,0.125\n3,15,NaN\n4,20,0.5,x\n\n";
        let table = Metrics::parse(text).unwrap();
        assert_eq!(table.points("val_top1"), [(1.0, 0.25), (2.0, 0.5), (4.0, 0.5)]);
        assert_eq!(table.points("data_wait"), [(2.0, 0.125)]);
        assert_eq!((table.best("val_top1"), table.last("step")), (Some((2.0, 0.5)), Some(20.0)));
        assert_eq!((table.points("other"), table.best("other")), (Vec::new(), None));
        assert!(Metrics::parse("").is_err() && Metrics::parse("step\n1").is_err());
    }
}
