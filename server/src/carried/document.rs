//! What is carried, as bytes: a version, a length and a checksum before anything that has a meaning.
//!
//! ```text
//! "skst" | version: u32 | bytes after the checksum: u32 | SHA-256 of everything else: 32 bytes
//!        | bytes of the head: u32 | head, JSON | for each user: id u64, nanoseconds u32
//! ```
//!
//! Numbers are little-endian. A version is read by its own release only: whoever changes what is carried, or what
//! it means, raises [`VERSION`], and the other process is refused by name, the older one as well as the newer.

use sha2::{Digest as _, Sha256};

use super::Carried;
use crate::seckill::UserId;

/// Of what is carried. Raised whenever an older process could misunderstand it.
pub const VERSION: u32 = 2;

/// Longest document: a million users (all that the limits remember), and room for the rest.
pub const BYTES_MAX: usize = 16 << 20;

const MAGIC: &[u8; 4] = b"skst";
const VERSION_AT: usize = MAGIC.len();
const LENGTH_AT: usize = VERSION_AT + 4;
const DIGEST_AT: usize = LENGTH_AT + 4;
const BODY_AT: usize = DIGEST_AT + 32;
const USER_BYTES: usize = 12;

/// Why a document is not used. Nothing of it is.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    #[error("use the state of the other process: it is of another make")]
    Foreign,
    #[error(
        "use the state of the other process: it has version {theirs}, and this one is of version {ours}; stop the old \
         process, then start the new one"
    )]
    Version { theirs: u32, ours: u32 },
    #[error("use the state of the other process: {arrived} of {announced} bytes have arrived")]
    Cut { announced: usize, arrived: usize },
    #[error("use the state of the other process: its checksum does not fit")]
    Checksum,
    #[error("use the state of the other process: its checksum fits and its content is not understood: {0}")]
    Content(String),
}

/// The document of `carried`. More users than fit are left out, which are more than any process remembers.
#[must_use]
pub fn encode(carried: &Carried, version: u32) -> Vec<u8> {
    let head = serde_json::to_vec(carried).expect("numbers and names must have a JSON form");
    let room = BYTES_MAX.saturating_sub(BODY_AT + 4 + head.len()) / USER_BYTES;
    let users = carried.users.get(..room).unwrap_or(&carried.users);
    let mut body = Vec::with_capacity(4 + head.len() + users.len() * USER_BYTES);
    body.extend(number(head.len()));
    body.extend(head);
    for (user, left_ns) in users {
        body.extend(user.0.to_le_bytes());
        body.extend(left_ns.to_le_bytes());
    }
    let mut document = Vec::with_capacity(BODY_AT + body.len());
    document.extend(MAGIC);
    document.extend(version.to_le_bytes());
    document.extend(number(body.len()));
    document.extend(checksum(&document, &body));
    document.extend(body);
    document
}

/// What a document of `version` carries.
///
/// # Errors
/// See [`Refused`].
pub fn decode(document: &[u8], version: u32) -> Result<Carried, Refused> {
    if document.get(..VERSION_AT) != Some(MAGIC) {
        return Err(Refused::Foreign);
    }
    let theirs = u32_at(document, VERSION_AT).ok_or(Refused::Foreign)?;
    if theirs != version {
        return Err(Refused::Version { theirs, ours: version });
    }
    let body = document.get(BODY_AT..).unwrap_or_default();
    let announced = u32_at(document, LENGTH_AT).map_or(0, as_length);
    if body.len() != announced || document.len() < BODY_AT {
        return Err(Refused::Cut { announced: BODY_AT + announced, arrived: document.len() });
    }
    if document[DIGEST_AT..BODY_AT] != checksum(&document[..DIGEST_AT], body) {
        return Err(Refused::Checksum);
    }
    content(body).map_err(|what| Refused::Content(what.to_string()))
}

fn content(body: &[u8]) -> Result<Carried, Box<dyn std::error::Error>> {
    let end = 4 + u32_at(body, 0).map(as_length).ok_or("there is no head")?;
    let head = body.get(4..end).ok_or("the head is cut")?;
    let (users, rest) = body[end..].as_chunks::<USER_BYTES>();
    if !rest.is_empty() {
        return Err("a user is cut".into());
    }
    let mut carried: Carried = serde_json::from_slice(head)?;
    let of_user = |&[a, b, c, d, e, f, g, h, rest @ ..]: &[u8; USER_BYTES]| {
        (UserId(u64::from_le_bytes([a, b, c, d, e, f, g, h])), u32::from_le_bytes(rest))
    };
    carried.users = users.iter().map(of_user).collect();
    Ok(carried)
}

fn checksum(head: &[u8], body: &[u8]) -> [u8; 32] {
    Sha256::new().chain_update(head).chain_update(body).finalize().into()
}

fn number(length: usize) -> [u8; 4] {
    u32::try_from(length).expect("a document must be shorter than BYTES_MAX").to_le_bytes()
}

fn as_length(number: u32) -> usize {
    usize::try_from(number).unwrap_or(usize::MAX)
}

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_le_bytes(*bytes.get(at..)?.first_chunk()?))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::carried::{Answers, Away, Counts, Routes};

    fn example() -> Carried {
        Carried {
            counts: Counts { orders_placed: u64::MAX, connections_cut: 3, ..Counts::default() },
            answers: vec![Answers { admin: true, status: 200, count: 9 }],
            routes: Routes { event_list: 1_000_000_000, ..Routes::default() },
            away: Away { redis_ms: Some(12), mysql_ms: None },
            users: vec![(UserId(7), 1), (UserId(i64::MAX as u64), 1_000_000_000)],
        }
    }

    #[test]
    fn every_byte_that_changes_is_found() {
        let document = encode(&example(), VERSION);
        assert_eq!(decode(&document, VERSION), Ok(example()));
        for at in 0..document.len() {
            for bit in 0..8 {
                let mut changed = document.clone();
                changed[at] ^= 1 << bit;
                assert!(decode(&changed, VERSION).is_err(), "bit {bit} of byte {at}");
            }
        }
        for length in 0..document.len() {
            assert!(decode(&document[..length], VERSION).is_err(), "{length} bytes");
        }
        assert!(decode(&[document.as_slice(), b"\0"].concat(), VERSION).is_err());
    }

    #[test]
    fn what_is_refused_says_why() {
        let document = encode(&example(), VERSION);
        let changed = |at: usize| {
            let mut document = document.clone();
            document[at] ^= 1;
            document
        };
        let signed = |body: &[u8]| {
            let mut document = [MAGIC.as_slice(), &VERSION.to_le_bytes(), &number(body.len())].concat();
            let checksum = checksum(&document, body);
            document.extend(checksum);
            document.extend(body);
            document
        };
        let cases: [(&[u8], u32, &str); 9] = [
            (b"", VERSION, "it is of another make"),
            (b"GET / HTTP/1.1", VERSION, "it is of another make"),
            (&document, VERSION + 1, "it has version 2, and this one is of version 3; stop the old process"),
            (
                &encode(&example(), VERSION + 6),
                VERSION,
                "it has version 8, and this one is of version 2; stop",
            ),
            (&document[..70], VERSION, "70 of "),
            (&changed(BODY_AT + 9), VERSION, "its checksum does not fit"),
            (&signed(b"\x02\0\0\0{}\0"), VERSION, "is not understood: a user is cut"),
            (&signed(b"\x03\0\0\0{}"), VERSION, "is not understood: the head is cut"),
            (&signed(b"\x02\0\0\0{}"), VERSION, "is not understood: missing field `counts`"),
        ];
        for (document, version, expected) in cases {
            let refused = decode(document, version).unwrap_err().to_string();
            assert!(refused.starts_with("use the state of the other process: "), "{refused}");
            assert!(refused.contains(expected), "{refused}");
        }
    }

    #[test]
    fn all_users_that_are_remembered_fit() {
        let users = (0..1 << 20).map(|user| (UserId(user), 5)).collect();
        let carried = Carried { users, ..example() };
        let document = encode(&carried, VERSION);
        assert!(document.len() < BYTES_MAX, "{}", document.len());
        assert_eq!(decode(&document, VERSION), Ok(carried));
    }

    proptest! {
        #[test]
        fn what_is_carried_comes_back(
            placed: u64,
            routes: [u32; 4],
            redis_ms: Option<u64>,
            users: Vec<(u64, u32)>,
            answers: Vec<(bool, u16, u64)>,
        ) {
            let [event_list, event_info, orders, order] = routes;
            let carried = Carried {
                counts: Counts { orders_placed: placed, ..Counts::default() },
                answers: answers
                    .into_iter()
                    .map(|(admin, status, count)| Answers { admin, status, count })
                    .collect(),
                routes: Routes { event_list, event_info, orders, order },
                away: Away { redis_ms, mysql_ms: None },
                users: users.into_iter().map(|(user, left_ns)| (UserId(user), left_ns)).collect(),
            };
            prop_assert_eq!(decode(&encode(&carried, VERSION), VERSION), Ok(carried));
        }

        #[test]
        fn no_bytes_are_an_end_of_the_process(bytes: Vec<u8>, version: u32) {
            _ = decode(&bytes, version);
            let document = [MAGIC.as_slice(), &version.to_le_bytes(), &bytes].concat();
            prop_assert!(decode(&document, version).is_err());
        }
    }
}
