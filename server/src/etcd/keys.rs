//! What is at a key and below it, at one revision.

use std::collections::BTreeMap;

use sha2::{Digest as _, Sha256};

use crate::hex;

/// Which keys.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Scope {
    /// This one alone.
    Key(String),
    /// This one, and all whose name goes on with a slash.
    Tree(String),
}

/// Keys with their values, in the order of the names: a key comes before those below it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Keys(BTreeMap<String, Vec<u8>>);

impl Scope {
    /// The key that it is named by.
    #[must_use]
    pub fn key(&self) -> &str {
        match self {
            Self::Key(key) | Self::Tree(key) => key,
        }
    }

    /// The end of the range to ask etcd for, which may hold more keys than these: `a-b` lies between `a` and `a/`.
    pub(super) fn range_end(&self) -> Option<String> {
        match self {
            Self::Key(_) => None,
            // The character after the slash.
            Self::Tree(key) => Some(format!("{key}0")),
        }
    }

    pub(super) fn holds(&self, key: &str) -> bool {
        match self {
            Self::Key(own) => key == own,
            Self::Tree(own) => {
                key.strip_prefix(own.as_str()).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
            }
        }
    }
}

impl Keys {
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    #[must_use]
    pub fn get(&self, key: &str) -> Option<&[u8]> {
        self.0.get(key).map(Vec::as_slice)
    }

    /// In the order of the names.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &[u8])> {
        self.0.iter().map(|(key, value)| (key.as_str(), value.as_slice()))
    }

    /// Bytes of all values.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.0.values().map(Vec::len).sum()
    }

    /// Equal for equal keys and values. Revisions would not do: an etcd that has lost its data counts anew.
    #[must_use]
    pub fn digest(&self) -> String {
        let mut digest = Sha256::new();
        for (key, value) in self.iter() {
            for part in [key.as_bytes(), value] {
                digest.update(part.len().to_le_bytes());
                digest.update(part);
            }
        }
        hex::digits(&digest.finalize())
    }

    pub(super) fn put(&mut self, key: String, value: Vec<u8>) {
        self.0.insert(key, value);
    }

    pub(super) fn delete(&mut self, key: &str) {
        self.0.remove(key);
    }
}

impl<K: Into<String>, V: Into<Vec<u8>>> FromIterator<(K, V)> for Keys {
    fn from_iter<I: IntoIterator<Item = (K, V)>>(pairs: I) -> Self {
        Self(pairs.into_iter().map(|(key, value)| (key.into(), value.into())).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tree_is_a_key_and_what_is_below_it() {
        let tree = Scope::Tree("/seckill/config".to_owned());
        let check = |key: &str, expected: bool| {
            assert_eq!(tree.holds(key), expected, "{key}");
            if expected {
                let end = tree.range_end().unwrap();
                assert!(key >= tree.key() && key < end.as_str(), "{key} is not asked for");
            }
        };
        check("/seckill/config", true);
        check("/seckill/config/", true);
        check("/seckill/config/log_level", true);
        check("/seckill/config/~", true);
        check("/seckill/config-of-another", false);
        check("/seckill/configuration", false);
        let key = Scope::Key("/a".to_owned());
        assert!(key.holds("/a") && !key.holds("/a/b") && key.range_end().is_none());
    }

    #[test]
    fn digests_tell_keys_and_values_apart() {
        let keys = |pairs: &[(&str, &str)]| -> Keys {
            pairs.iter().map(|(key, value)| (*key, value.as_bytes())).collect()
        };
        assert_eq!(keys(&[("a", "1"), ("b", "2")]).digest(), keys(&[("b", "2"), ("a", "1")]).digest());
        assert_ne!(keys(&[("a", "1")]).digest(), keys(&[("a", "2")]).digest());
        assert_ne!(keys(&[("a", "bc")]).digest(), keys(&[("ab", "c")]).digest());
    }
}
