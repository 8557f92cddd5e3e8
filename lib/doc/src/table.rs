//! A table for people: columns as wide as their widest cell, control characters escaped.

use crate::{Error, Template};
use serde_json::Value;

/// What `--format` makes of each value, a line each, as docker does: `json` is the whole, and with `table` in front there
/// are columns, parted by tabs, under the names of what stands in them. `kind` is whose an ID is.
///
/// # Errors
/// The template makes no sense, or asks for what the values do not have.
pub fn formatted(format: &str, kind: &str, values: &[Value]) -> Result<String, Error> {
    let (format, as_table) = match format.strip_prefix("table ") {
        Some(rest) => (rest, true),
        None => (format, false),
    };
    // A shell's quotes leave the tabs between columns as they were typed.
    let format = format.replace("\\t", "\t").replace("\\n", "\n");
    let template = Template::parse_format(&format)?;
    let lines = values.iter().map(|value| template.render(value)).collect::<Result<Vec<_>, _>>()?;
    if !as_table {
        return Ok(lines.iter().flat_map(|line| [line.as_str(), "\n"]).collect());
    }
    let headings: Vec<String> = format.split('\t').map(|column| heading(column, kind)).collect();
    let headings: Vec<&str> = headings.iter().map(String::as_str).collect();
    let cells = |line: &String| {
        let mut cells: Vec<String> = line.split('\t').map(str::to_owned).collect();
        cells.resize(headings.len(), String::new());
        cells
    };
    Ok(layout(&headings, &lines.iter().map(cells).collect::<Vec<_>>()))
}

/// `{{.CreatedAt}}` as `CREATED AT`.
fn heading(column: &str, kind: &str) -> String {
    let name: String = column.chars().filter(char::is_ascii_alphanumeric).collect();
    match name.as_str() {
        "ID" => format!("{kind} ID"),
        "RunningFor" | "CreatedSince" => "CREATED".into(),
        "CreatedAt" => "CREATED AT".into(),
        other => other.to_ascii_uppercase(),
    }
}

/// The rows under their headings, three spaces between columns.
pub fn layout(headings: &[&str], rows: &[Vec<String>]) -> String {
    let rows: Vec<Vec<String>> =
        rows.iter().map(|row| row.iter().map(|cell| crate::escape(cell)).collect()).collect();
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
    fn a_template_gives_lines_or_a_table() {
        let values = [serde_json::json!({"ID": "3f", "CreatedAt": "now"}), serde_json::json!({"ID": "4"})];
        assert_eq!(formatted("{{.ID}}!", "IMAGE", &values).unwrap(), "3f!\n4!\n");
        let table = formatted("table {{.ID}}\\t{{.CreatedAt}}", "IMAGE", &values[..1]).unwrap();
        assert_eq!(table, "IMAGE ID   CREATED AT\n3f         now\n");
        assert_eq!(formatted("json", "", &values[1..]).unwrap(), "{\"ID\":\"4\"}\n");
        assert!(formatted("{{.Nosuch}}", "", &values).is_err() && formatted("{{", "", &[]).is_err());
    }

    #[test]
    fn columns_align_and_cells_drive_no_terminal() {
        let rows = [vec!["a\x1b[2J".to_owned(), "x".to_owned()], vec!["b".to_owned(), String::new()]];
        assert_eq!(layout(&["ID", "N"], &rows), "ID           N\na\\u{1b}[2J   x\nb\n");
    }
}
