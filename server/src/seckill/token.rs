//! Users' bearer tokens: `v1.<user>.<expiry>.<mac>`.
//!
//! The expiry is in Unix seconds, the mac is HMAC-SHA256 over everything before the last dot, in
//! URL-safe base64 without padding. A token says who somebody is and nothing else, and it cannot be
//! taken back before it expires.

use std::fmt;

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use hmac::{Hmac, KeyInit as _, Mac as _};
use jiff::Timestamp;
use sha2::Sha256;

use super::{ID_MAX, UserId};

/// Bytes of an HMAC-SHA256.
const MAC_BYTES: usize = 32;

/// The key that signs tokens and checks them.
#[derive(Clone)]
pub struct TokenKey(Hmac<Sha256>);

/// Why a token is not believed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum TokenError {
    #[error("the token must have the form v1.<user>.<expiry>.<mac>")]
    Malformed,
    #[error("the token was not signed here")]
    Forged,
    #[error("the token has expired; get a new one")]
    Expired,
}

impl TokenKey {
    /// A key of any length; a short one can be guessed.
    #[must_use]
    pub fn new(secret: &[u8]) -> Self {
        Self(Hmac::new_from_slice(secret).expect("HMAC must take a key of any length"))
    }

    /// A token for `user` that is good until `expiry`, to the second.
    #[must_use]
    pub fn mint(&self, user: UserId, expiry: Timestamp) -> String {
        let claim = format!("v1.{user}.{}", expiry.as_second());
        let mac = self.0.clone().chain_update(&claim).finalize().into_bytes();
        format!("{claim}.{}", URL_SAFE_NO_PAD.encode(mac))
    }

    /// Whose token it is.
    ///
    /// # Errors
    /// It is not a token, was not signed with this key, or was good only before `now`.
    pub fn verify(&self, token: &str, now: Timestamp) -> Result<UserId, TokenError> {
        let (claim, mac) = token.rsplit_once('.').ok_or(TokenError::Malformed)?;
        let mut bytes = [0; MAC_BYTES];
        let length = URL_SAFE_NO_PAD.decode_slice(mac, &mut bytes).map_err(|_| TokenError::Malformed)?;
        let user_and_expiry = claim.strip_prefix("v1.").and_then(|rest| rest.split_once('.'));
        let (user, expiry) = user_and_expiry.ok_or(TokenError::Malformed)?;
        let user = user.parse().ok().filter(|&user| user <= ID_MAX).ok_or(TokenError::Malformed)?;
        let expiry: i64 = expiry.parse().map_err(|_| TokenError::Malformed)?;
        // Takes the same time wherever the first wrong byte is.
        let checked = self.0.clone().chain_update(claim).verify_slice(&bytes[..length]);
        checked.map_err(|_| TokenError::Forged)?;
        if expiry <= now.as_second() {
            return Err(TokenError::Expired);
        }
        Ok(UserId(user))
    }
}

impl fmt::Debug for TokenKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TokenKey(hidden)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    #[test]
    fn a_token_is_good_until_it_expires() {
        let key = TokenKey::new(b"a secret of the server");
        let token = key.mint(UserId(7), at(1_000));
        assert_eq!(key.verify(&token, at(999)), Ok(UserId(7)));
        assert_eq!(key.verify(&token, at(1_000)), Err(TokenError::Expired));
    }

    #[test]
    fn a_token_has_a_fixed_form() {
        // Computed beside us with: printf v1.7.1000 | openssl dgst -sha256 -hmac key -binary | basenc --base64url
        let token = TokenKey::new(b"key").mint(UserId(7), at(1_000));
        assert_eq!(token, "v1.7.1000.vzX35i2CSYPR4fPZyyyxYT_YX8_2cRDi4B2W0OXkM7k");
    }

    #[test]
    fn whatever_is_changed_is_noticed() {
        let key = TokenKey::new(b"a secret of the server");
        let good = key.mint(UserId(7), at(1_000));
        let mac = good.rsplit_once('.').unwrap().1;
        let other = TokenKey::new(b"a secret of another").mint(UserId(7), at(1_000));
        let check = |token: &str, expected| assert_eq!(key.verify(token, at(0)), Err(expected), "{token:?}");
        check("", TokenError::Malformed);
        check("v1.7.1000", TokenError::Malformed);
        check("v1.7.1000.", TokenError::Forged);
        check("v1.7.1000.!!!", TokenError::Malformed);
        check(&format!("v2.7.1000.{mac}"), TokenError::Malformed);
        check(&format!("v1.seven.1000.{mac}"), TokenError::Malformed);
        check(&format!("v1.{}.1000.{mac}", u64::MAX), TokenError::Malformed);
        check(&format!("v1.8.1000.{mac}"), TokenError::Forged);
        check(&format!("v1.7.1001.{mac}"), TokenError::Forged);
        check(&good[..good.len() - 3], TokenError::Forged);
        check(&format!("{good}A"), TokenError::Malformed);
        check(&other, TokenError::Forged);
    }
}
