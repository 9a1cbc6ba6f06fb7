//! The chunked coding (RFC 9112 section 7.1), read as its bytes come in.
//!
//! Line ends must be CRLF. Extensions and trailers are skipped.

use super::Malformed;

/// Hexadecimal digits of a `u64`.
const SIZE_DIGITS_MAX: u8 = 16;
/// Extensions and trailers together; more is an attack or no HTTP.
const SKIPPED_BYTES_MAX: u32 = 64 * 1024;

/// Where in a chunked body the reader stands.
#[derive(Debug, Default)]
pub(super) struct Chunks {
    at: At,
    skipped: u32,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum At {
    Size {
        size: u64,
        digits: u8,
    },
    Extension {
        size: u64,
    },
    SizeEnd {
        size: u64,
    },
    Data {
        left: u64,
    },
    DataReturn,
    DataEnd,
    /// At the beginning of a trailer line.
    TrailerStart,
    Trailer,
    TrailerEnd,
    LastEnd,
}

impl Default for At {
    fn default() -> Self {
        Self::Size { size: 0, digits: 0 }
    }
}

impl Chunks {
    /// Takes the next bytes and hands on those that are data; how many belonged to the body when that is
    /// whole.
    pub(super) fn feed(
        &mut self,
        bytes: &[u8],
        mut data: impl FnMut(&[u8]),
    ) -> Result<Option<usize>, Malformed> {
        let mut index = 0;
        while index < bytes.len() {
            if let At::Data { left } = self.at {
                let taken = usize::try_from(left).unwrap_or(usize::MAX).min(bytes.len() - index);
                data(&bytes[index..index + taken]);
                index += taken;
                let left = left - taken as u64;
                self.at = if left == 0 { At::DataReturn } else { At::Data { left } };
                continue;
            }
            let byte = bytes[index];
            index += 1;
            if self.at == At::LastEnd && byte == b'\n' {
                return Ok(Some(index));
            }
            self.at = self.step(byte)?;
        }
        Ok(None)
    }

    fn step(&mut self, byte: u8) -> Result<At, Malformed> {
        Ok(match (self.at, byte) {
            (At::Size { size, digits }, b'\r') if digits > 0 => At::SizeEnd { size },
            (At::Size { size, digits }, b';' | b' ' | b'\t') if digits > 0 => At::Extension { size },
            (At::Size { size, digits }, _) if digits < SIZE_DIGITS_MAX => {
                let digit = char::from(byte).to_digit(16).ok_or(Malformed)?;
                At::Size { size: size << 4 | u64::from(digit), digits: digits + 1 }
            }
            (At::Extension { size }, b'\r') => At::SizeEnd { size },
            (At::Extension { size }, _) => self.skip(At::Extension { size })?,
            (At::SizeEnd { size: 0 }, b'\n') => At::TrailerStart,
            (At::SizeEnd { size }, b'\n') => At::Data { left: size },
            (At::DataReturn, b'\r') => At::DataEnd,
            (At::DataEnd, b'\n') => At::default(),
            (At::TrailerStart, b'\r') => At::LastEnd,
            (At::Trailer, b'\r') => At::TrailerEnd,
            (At::TrailerStart | At::Trailer, _) => self.skip(At::Trailer)?,
            (At::TrailerEnd, b'\n') => At::TrailerStart,
            _ => return Err(Malformed),
        })
    }

    fn skip(&mut self, at: At) -> Result<At, Malformed> {
        self.skipped += 1;
        if self.skipped > SKIPPED_BYTES_MAX { Err(Malformed) } else { Ok(at) }
    }
}
