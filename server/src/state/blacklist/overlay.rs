//! The few changes since a list was packed.

use std::iter;

use super::Delta;
use crate::seckill::UserId;

/// Changes that are kept beside a list: more of them are packed into it. So many take 256 kB, and packing a list
/// of ten million anew for each costs less than ten microseconds.
const CHANGES_MAX: usize = 16_384;

/// Ids that are on the list though they are not packed, or the other way round.
#[derive(Debug, Clone, Default)]
pub(super) struct Overlay {
    /// Ascending by id, each once; `true`: it is on the list, and not packed.
    changes: Vec<(u64, bool)>,
}

impl Overlay {
    /// With `delta` on top of it. `is_packed` says what is true of an id without any overlay.
    pub(super) fn with(&self, delta: &Delta, is_packed: impl Fn(u64) -> bool) -> Self {
        let mut changes = Vec::with_capacity(self.changes.len() + delta.len());
        let mut old = self.changes.iter().copied().peekable();
        for (UserId(id), adds) in delta.words() {
            changes.extend(iter::from_fn(|| old.next_if(|change| change.0 < id)));
            old.next_if(|change| change.0 == id);
            if is_packed(id) != adds {
                changes.push((id, adds));
            }
        }
        changes.extend(old);
        changes.shrink_to_fit();
        Self { changes }
    }

    /// Whether `id` is on the list, if it has been changed.
    pub(super) fn word_on(&self, id: u64) -> Option<bool> {
        let index = self.changes.binary_search_by_key(&id, |change| change.0).ok()?;
        Some(self.changes[index].1)
    }

    /// Whether it is to be packed into the list.
    pub(super) fn is_large(&self) -> bool {
        self.changes.len() > CHANGES_MAX
    }

    /// Whether nothing has been changed.
    #[cfg(test)]
    pub(super) fn is_empty(&self) -> bool {
        self.changes.is_empty()
    }

    pub(super) fn heap_bytes(&self) -> usize {
        size_of_val(&*self.changes)
    }

    /// What is on the list when `packed`, ascending, is packed.
    pub(super) fn merged<'a>(
        &'a self,
        packed: impl Iterator<Item = u64> + 'a,
    ) -> impl Iterator<Item = u64> + 'a {
        let mut packed = packed.peekable();
        let mut changes = self.changes.iter().copied().peekable();
        iter::from_fn(move || {
            loop {
                let Some(&(id, adds)) = changes.peek() else { return packed.next() };
                if let Some(before) = packed.next_if(|&packed| packed < id) {
                    return Some(before);
                }
                changes.next();
                packed.next_if_eq(&id);
                if adds {
                    return Some(id);
                }
            }
        })
    }
}
