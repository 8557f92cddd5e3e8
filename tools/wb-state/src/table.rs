//! A table for people: columns as wide as their widest cell, control characters escaped.

/// The rows under their headings, three spaces between columns.
pub fn layout(headings: &[&str], rows: &[Vec<String>]) -> String {
    let rows: Vec<Vec<String>> =
        rows.iter().map(|row| row.iter().map(|cell| wb_doc::escape(cell)).collect()).collect();
    let width = |column: usize| {
        let cells = rows.iter().map(|row| row[column].chars().count());
        cells.chain([headings[column].len()]).max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..headings.len()).map(width).collect();
    let headings: Vec<String> = headings.iter().map(|&heading| heading.to_owned()).collect();
    let mut text = String::new();
    for row in std::iter::once(&headings).chain(&rows) {
        let mut line = String::new();
        for (cell, width) in row.iter().zip(&widths) {
            line.push_str(cell);
            line.extend(std::iter::repeat_n(' ', width + 3 - cell.chars().count()));
        }
        text.push_str(line.trim_end());
        text.push('\n');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_align_and_cells_drive_no_terminal() {
        let rows = [vec!["a\x1b[2J".to_owned(), "x".to_owned()], vec!["b".to_owned(), String::new()]];
        assert_eq!(layout(&["ID", "N"], &rows), "ID           N\na\\u{1b}[2J   x\nb\n");
    }
}
