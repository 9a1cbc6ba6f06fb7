//! Any bytes as the document of the cluster configuration: what is taken holds what the document says, within its
//! bounds, and can be written and read again; what is not says why.

#![no_main]

use libfuzzer_sys::fuzz_target;
use serde_json::Value;
use server::state::Cluster;

fuzz_target!(|text: &[u8]| match Cluster::parse(text) {
    Ok(cluster) => {
        let said: Value = serde_json::from_slice(text).expect("what was taken must be JSON");
        let held = serde_json::to_value(&cluster).expect("what was read must be writable");
        assert!(holds(&held, &said), "{said} was read as {held}");
        for pool in ["/pools/mysql", "/pools/redis"] {
            assert!(held.pointer(pool).and_then(Value::as_u64).is_none_or(|size| (1..=10_000).contains(&size)));
        }
        let again = Cluster::parse(held.to_string().as_bytes());
        assert_eq!(again.expect("what was written must be readable"), cluster);
    }
    Err(faults) => assert!(!faults.to_string().is_empty()),
});

/// Whether everything that was said is there, member by member. Null is as good as left out.
fn holds(held: &Value, said: &Value) -> bool {
    match (held, said) {
        (Value::Object(_), Value::Object(said)) => said.iter().all(|(name, said)| holds(&held[name], said)),
        (Value::Array(held), Value::Array(said)) => {
            held.len() == said.len() && held.iter().zip(said).all(|(held, said)| holds(held, said))
        }
        _ => held == said,
    }
}
