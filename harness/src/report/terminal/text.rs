//! Numbers and words for a screen of 80 columns.

/// Columns of the report.
pub(crate) const WIDTH: usize = 80;

/// A whole number with its thousands apart: `1,234,567`.
pub(crate) fn grouped(count: u64) -> String {
    let digits = count.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// A number and its noun: `1 upgrade`, `2,000 upgrades`.
pub(crate) fn counted(count: u64, noun: &str) -> String {
    format!("{} {noun}{}", grouped(count), if count == 1 { "" } else { "s" })
}

/// A figure with about four significant digits, or a dash for what was not measured.
pub(crate) fn figure(value: Option<f64>) -> String {
    let Some(value) = value else { return "-".to_owned() };
    let decimals = match value.abs() {
        size if size >= 1_000.0 || size == 0.0 => 0,
        size if size >= 100.0 => 1,
        size if size >= 10.0 => 2,
        _ => 3,
    };
    format!("{value:.decimals$}")
}

/// A figure with no more decimals than it has, nor more than six.
pub(super) fn exact(value: f64) -> String {
    let text = format!("{value:.6}");
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

/// A share of 1 in percent with seven decimals, cut and not rounded, without zeros at its end.
pub(crate) fn percent(share: Option<f64>) -> String {
    let Some(share) = share else { return "-".to_owned() };
    // The report holds nine decimals, which seven of a percentage show in full.
    let text = format!("{:.7}", share * 100.0);
    format!("{} %", trimmed(&text, 3))
}

/// A probability in percent with two significant figures, rounded up like the bound that it is.
pub(crate) fn chance(probability: Option<f64>) -> String {
    let Some(probability) = probability.filter(|&probability| probability > 0.0) else {
        return "-".to_owned();
    };
    let percent = probability * 100.0;
    let magnitude = 10.0_f64.powf(percent.log10().floor() - 1.0);
    let rounded = ((percent / magnitude - 1e-9).ceil() * magnitude).min(100.0);
    format!("{} %", trimmed(&format!("{rounded:.10}"), 0))
}

/// Cuts zeros off the end of a decimal number, but leaves so many decimals.
fn trimmed(text: &str, decimals: usize) -> &str {
    let Some(point) = text.find('.') else { return text };
    let shortest = if decimals == 0 { point } else { point + 1 + decimals };
    let cut = text.trim_end_matches('0').trim_end_matches('.');
    &text[..cut.len().max(shortest).min(text.len())]
}

/// Lines of at most [`WIDTH`] columns: the first begins with `first`, the others are indented as far.
pub(crate) fn wrapped(first: &str, text: &str) -> Vec<String> {
    let indent = first.chars().count();
    let room = WIDTH.saturating_sub(indent).max(1);
    let mut lines = Vec::new();
    let mut line = String::new();
    // A percent sign stays with its number.
    let text = text.replace(" %", "\u{0}%");
    for word in text.split_whitespace().flat_map(|word| pieces(word, room)) {
        let taken = line.chars().count();
        if taken > 0 && taken + 1 + word.chars().count() > room {
            lines.push(std::mem::take(&mut line));
        }
        if !line.is_empty() {
            line.push(' ');
        }
        line.push_str(&word);
    }
    lines.push(line);
    let starts = std::iter::once(first.to_owned()).chain(std::iter::repeat(" ".repeat(indent)));
    let whole = |(start, line): (String, String)| format!("{start}{line}").replace('\u{0}', " ");
    starts.zip(lines).map(whole).collect()
}

/// A word in pieces that fit.
fn pieces(word: &str, room: usize) -> Vec<String> {
    let letters: Vec<char> = word.chars().collect();
    letters.chunks(room).map(|piece| piece.iter().collect()).collect()
}

/// A text of at most so many columns, with dots in place of what was cut.
pub(crate) fn cut(text: &str, columns: usize) -> String {
    if text.chars().count() <= columns {
        return text.to_owned();
    }
    text.chars().take(columns.saturating_sub(2)).chain("..".chars()).collect()
}

#[cfg(test)]
mod tests {
    use super::{WIDTH, chance, counted, cut, figure, grouped, percent, wrapped};

    #[test]
    fn numbers() {
        assert_eq!([0, 999, 1_000, 1_234_567].map(grouped), ["0", "999", "1,000", "1,234,567"]);
        assert_eq!([counted(1, "upgrade"), counted(0, "upgrade")], ["1 upgrade", "0 upgrades"]);
        let values = [None, Some(0.0), Some(0.1234), Some(12.34), Some(1_234.5)];
        assert_eq!(values.map(figure), ["-", "0", "0.123", "12.34", "1234"]);
    }

    #[test]
    fn shares() {
        let shares = [None, Some(1.0), Some(0.999_942_129), Some(0.999_999_999), Some(0.5)];
        assert_eq!(shares.map(percent), ["-", "100.000 %", "99.9942129 %", "99.9999999 %", "50.000 %"]);
        let chances = [None, Some(0.048_703), Some(1.0), Some(2.996e-7), Some(0.0001), Some(0.776)];
        assert_eq!(chances.map(chance), ["-", "4.9 %", "100 %", "0.00003 %", "0.01 %", "78 %"]);
    }

    #[test]
    fn lines_fit() {
        let lines = wrapped("  pass  ", &"word ".repeat(40));
        assert!(lines.len() == 3 && lines.iter().all(|line| line.len() <= WIDTH), "{lines:?}");
        let long = wrapped("", &"x".repeat(200));
        assert!(long.len() == 3 && long.iter().all(|line| line.len() <= WIDTH), "{long:?}");
        assert_eq!([cut("upgrade-1", 9), cut("upgrade-12", 9)], ["upgrade-1", "upgrade.."]);
    }
}
