//! Ids of orders, small enough for millions of them.

use std::fmt;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// The id of an order, as the target wrote it. A UUID takes no memory beside its place, any other text does. Ids of one
/// kind are in the order of their texts.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(from = "String", into = "String")]
pub struct OrderId(Kept);

#[derive(Clone, PartialEq, Eq, PartialOrd, Ord)]
enum Kept {
    Uuid(Uuid),
    Text(Box<str>),
}

impl From<&str> for OrderId {
    fn from(text: &str) -> Self {
        // The same number has other texts, which are other ids.
        let canonical = |uuid: &Uuid| *uuid.hyphenated().encode_lower(&mut Uuid::encode_buffer()) == *text;
        let uuid = Uuid::try_parse(text).ok().filter(canonical);
        Self(uuid.map_or_else(|| Kept::Text(text.into()), Kept::Uuid))
    }
}

impl From<String> for OrderId {
    fn from(text: String) -> Self {
        text.as_str().into()
    }
}

impl From<OrderId> for String {
    fn from(id: OrderId) -> Self {
        id.to_string()
    }
}

impl fmt::Display for OrderId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Kept::Uuid(uuid) => write!(f, "{uuid}"),
            Kept::Text(text) => f.write_str(text),
        }
    }
}

impl fmt::Debug for OrderId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "\"{self}\"")
    }
}

#[cfg(test)]
mod tests {
    use super::{Kept, OrderId};

    const UUID: &str = "019b7e5c-0000-7000-8000-00000000002a";

    #[test]
    fn an_id_keeps_its_text_and_a_uuid_takes_no_more_than_its_place() {
        let others = [
            UUID.to_uppercase(),
            UUID.replace('-', ""),
            format!("{{{UUID}}}"),
            String::new(),
            "o1".to_owned(),
        ];
        for text in others.iter().map(String::as_str).chain([UUID]) {
            let id = OrderId::from(text);
            assert_eq!(id.to_string(), text);
            assert_eq!(matches!(id.0, Kept::Uuid(_)), text == UUID, "{text}");
            let json = serde_json::to_string(&id).unwrap();
            assert_eq!(json, serde_json::to_string(text).unwrap());
            assert_eq!(serde_json::from_str::<OrderId>(&json).unwrap(), id);
        }
        assert_eq!(size_of::<OrderId>(), 24);
    }

    #[test]
    fn ids_of_one_kind_are_in_the_order_of_their_texts() {
        let mut texts =
            [UUID, "019b7e5c-0000-7000-8000-0000000000ff", "019b7e5d-0000-7000-8000-000000000000"];
        let mut ids = texts.map(OrderId::from);
        texts.sort_unstable();
        ids.sort_unstable();
        assert_eq!(ids.map(|id| id.to_string()), texts);
        assert!(OrderId::from("a") < OrderId::from("b"));
    }
}
