//! Plain text for terminals: tables and paragraphs that fit 80 columns.

/// No line is longer, unless a single word is.
pub(super) const WIDTH: usize = 80;

const GAP: &str = "  ";

/// On which side the cells of a column touch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Align {
    Left,
    Right,
}

/// Lays rows out in columns, each as wide as its widest cell; the last one takes what is left of the width
/// and is wrapped. Every line ends in a newline and has no blanks before it.
pub(super) fn table(columns: &[Align], rows: &[Vec<String>]) -> String {
    let last = columns.len().saturating_sub(1);
    let width_of = |column: usize| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0);
    let widths: Vec<usize> = (0..last).map(width_of).collect();
    let left = WIDTH.saturating_sub(widths.iter().map(|width| width + GAP.len()).sum());
    let mut text = String::new();
    for row in rows {
        for (index, part) in wrap(&row[last], left).iter().enumerate() {
            let mut line = String::new();
            for ((cell, width), align) in row.iter().zip(&widths).zip(columns) {
                let cell = if index == 0 { cell.as_str() } else { "" };
                match align {
                    Align::Left => line += &format!("{cell:<width$}{GAP}"),
                    Align::Right => line += &format!("{cell:>width$}{GAP}"),
                }
            }
            match columns[last] {
                Align::Left => line += part,
                Align::Right => line += &format!("{part:>width$}", width = width_of(last).min(left)),
            }
            text += line.trim_end();
            text.push('\n');
        }
    }
    text
}

/// Breaks at blanks so that no line is longer than `width` characters, except where one word is; at least
/// one line.
pub(super) fn wrap(text: &str, width: usize) -> Vec<String> {
    let mut lines = vec![String::new()];
    for word in text.split_whitespace() {
        let line = lines.last_mut().expect("there must be a line to fill");
        if line.is_empty() {
            line.push_str(word);
        } else if line.chars().count() + 1 + word.chars().count() <= width {
            line.push(' ');
            line.push_str(word);
        } else {
            lines.push(word.to_owned());
        }
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::{Align, table, wrap};

    #[test]
    fn wrapping_breaks_at_blanks() {
        assert_eq!(wrap("one two  three", 7), ["one two", "three"]);
        assert_eq!(wrap("unbreakable", 4), ["unbreakable"]);
        assert_eq!(wrap("", 4), [""]);
        assert_eq!(wrap("秒杀 秒杀", 5), ["秒杀 秒杀"]);
    }

    #[test]
    fn the_last_column_takes_what_is_left() {
        let cells = |cells: [&str; 3]| cells.map(str::to_owned).to_vec();
        let rows = [cells(["a", "1", &"word ".repeat(20)]), cells(["long", "100", "end"])];
        let text = table(&[Align::Left, Align::Right, Align::Left], &rows);
        insta::assert_snapshot!(text, @r"
    a       1  word word word word word word word word word word word word word word
               word word word word word word
    long  100  end
    ");
    }
}
