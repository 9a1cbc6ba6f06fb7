//! Where a run took place: kernel, processors, and the settings that decide about lost connections.

use std::{collections::BTreeMap, env, fs, path::Path, thread::available_parallelism};

use jiff::Timestamp;

use super::Environment;
use crate::{
    observe::EnvironmentRecord,
    plan::{Plan, TargetPlan},
};

/// Kernel settings that decide whether a swap loses connections, or whether the load can be sent.
const SYSCTLS: [&str; 8] = [
    "fs.nr_open",
    "net.core.somaxconn",
    "net.ipv4.ip_local_port_range",
    "net.ipv4.tcp_abort_on_overflow",
    "net.ipv4.tcp_fin_timeout",
    "net.ipv4.tcp_max_syn_backlog",
    "net.ipv4.tcp_migrate_req",
    "net.ipv4.tcp_tw_reuse",
];

/// What only the run knows of itself.
#[derive(Debug)]
pub struct RunFacts<'a> {
    pub id: &'a str,
    /// The load's zero.
    pub started_at: Timestamp,
    pub command: &'a [String],
}

/// Describes the run's surroundings. The store is noted as not read: that is known only after the run.
#[must_use]
pub fn record(plan: &Plan, environment: &Environment, facts: &RunFacts<'_>) -> EnvironmentRecord {
    let strategy = match &plan.target {
        TargetPlan::Reference(reference) => Some(reference.strategy.clone()),
        TargetPlan::Command(_) | TargetPlan::External(_) => None,
    };
    let (old, new, services) = match environment {
        Environment::Reference(reference) => {
            let (old, new) = reference.binaries();
            let mut services = reference.services().kinds();
            let store = if plan.target.has_store() { "redis-mysql" } else { "embedded" };
            services.insert("store".to_owned(), store.to_owned());
            (Some(shown(old)), Some(shown(new)), services)
        }
        Environment::Command(_) | Environment::External(_) => (None, None, BTreeMap::new()),
    };
    EnvironmentRecord {
        run_id: facts.id.to_owned(),
        started_at: facts.started_at.to_string(),
        command: facts.command.to_vec(),
        kernel: rustix::system::uname().release().to_string_lossy().into_owned(),
        cpus: available_parallelism().map_or(1, usize::from),
        sysctls: sysctls(Path::new("/proc/sys")),
        services,
        target: plan.target.word().to_owned(),
        strategy,
        old,
        new,
        store_read: false,
        held: None,
    }
}

/// A setting that this kernel does not have is left out.
fn sysctls(root: &Path) -> BTreeMap<String, String> {
    let read = |name: &str| fs::read_to_string(root.join(name.replace('.', "/"))).ok();
    SYSCTLS
        .into_iter()
        .filter_map(|name| {
            let words: Vec<String> = read(name)?.split_whitespace().map(str::to_owned).collect();
            Some((name.to_owned(), words.join(" ")))
        })
        .collect()
}

/// A path as somebody else can use it: relative to the current directory where it lies below.
pub(crate) fn shown(path: &Path) -> String {
    let here = env::current_dir().ok();
    let below = here.and_then(|here| path.strip_prefix(here).ok().map(Path::to_owned));
    below.as_deref().unwrap_or(path).display().to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_are_read_as_one_line_and_unknown_ones_left_out() {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir_all(dir.path().join("net/ipv4")).unwrap();
        fs::write(dir.path().join("net/ipv4/ip_local_port_range"), "32768\t60999\n").unwrap();
        let expected =
            BTreeMap::from([("net.ipv4.ip_local_port_range".to_owned(), "32768 60999".to_owned())]);
        assert_eq!(sysctls(dir.path()), expected);
    }

    #[test]
    fn paths_below_here_are_shown_relative() {
        let here = env::current_dir().unwrap();
        assert_eq!(shown(&here.join("target/debug/seckill")), "target/debug/seckill");
        assert_eq!(shown(Path::new("/opt/seckill")), "/opt/seckill");
    }
}
