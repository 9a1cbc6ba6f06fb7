//! Any bytes as the document of the cluster configuration: what is taken can be written and is read as the same
//! again, what is not says why.

#![no_main]

use libfuzzer_sys::fuzz_target;
use server::state::Cluster;

fuzz_target!(|text: &[u8]| match Cluster::parse(text) {
    Ok(cluster) => {
        let written = serde_json::to_vec(&cluster).expect("what was read must be writable");
        assert_eq!(Cluster::parse(&written).expect("what was written must be readable"), cluster);
    }
    Err(faults) => assert!(!faults.to_string().is_empty()),
});
