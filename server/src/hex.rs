//! Bytes as people read them.

use std::fmt::Write as _;

/// Two lower-case hexadecimal digits for each byte.
#[must_use]
pub fn digits(bytes: &[u8]) -> String {
    bytes.iter().fold(String::with_capacity(2 * bytes.len()), |mut digits, byte| {
        write!(digits, "{byte:02x}").expect("writing into a string must succeed");
        digits
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_byte_has_two_digits() {
        assert_eq!(digits(&[0, 0x0a, 0xf0]), "000af0");
    }
}
