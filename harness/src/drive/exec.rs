//! A shell command as an event.
//!
//! The command gets a process group of its own. When its time is over, or the run is interrupted, the
//! whole group is killed; what a finished command left running on purpose (a server it restarted) stays.

use std::{
    fs::File,
    io::{self, Read, Seek, SeekFrom},
    process::{ExitStatus, Stdio},
    time::Duration,
};

use rustix::process::{Pid, Signal, kill_process_group};
use serde_json::json;
use tokio::{process::Command, time::timeout};

use super::timeline::Ending;
use crate::{clock::RunClock, environment::Environment, observe::EventOutcome};

/// How much of a command's output is kept.
const OUTPUT_BYTES_MAX: u64 = 4_096;

/// Runs `sh -c command`. It is told where the target is: `HARNESS_TARGET` (`http://host:port`), for the
/// reference server `HARNESS_WORK_DIR`, the folder with its `seckill.toml`, and for the server of a command
/// `TARGET_PID`.
pub(super) async fn run(
    command: &str,
    limit: Duration,
    environment: &mut Environment,
    clock: &RunClock,
) -> Ending {
    match execute(command, limit, environment).await {
        Ok((status, output)) => Ending {
            acked_ns: clock.now_ns(),
            outcome: match status {
                Some(status) if status.success() => EventOutcome::Ok,
                _ => EventOutcome::Failed,
            },
            as_expected: status.is_some_and(|status| status.success()),
            detail: json!({
                "command": command,
                "exit_code": status.and_then(|status| status.code()),
                "timed_out": status.is_none(),
                "output": output,
            }),
        },
        Err(error) => Ending::impossible(clock, &format!("`{command}` could not be run: {error}")),
    }
}

/// The status (`None`: the time was over) and the end of what the command wrote.
async fn execute(
    command: &str,
    limit: Duration,
    environment: &mut Environment,
) -> io::Result<(Option<ExitStatus>, String)> {
    // A file instead of a pipe: a background process that keeps the output open must not hold us up.
    let mut output = tempfile::tempfile()?;
    let mut shell = Command::new("sh");
    shell.args(["-c", command]).process_group(0).stdin(Stdio::null());
    shell.stdout(output.try_clone()?).stderr(output.try_clone()?).kill_on_drop(true);
    shell.env("HARNESS_TARGET", format!("http://{}", environment.host()));
    // A variable of whoever runs the harness would name somebody else.
    shell.env_remove("TARGET_PID");
    match environment {
        Environment::Reference(reference) => {
            shell.env("HARNESS_WORK_DIR", reference.work_dir());
        }
        Environment::Command(command) => {
            shell.envs(command.pid().map(|pid| ("TARGET_PID", pid.as_raw_pid().to_string())));
        }
        Environment::External(_) => {}
    }
    let mut child = shell.spawn()?;
    let mut group = KillGroup(child.id().and_then(|id| Pid::from_raw(id.try_into().ok()?)));
    let status = match timeout(limit, child.wait()).await {
        Ok(status) => {
            group.0 = None;
            Some(status?)
        }
        Err(_) => None,
    };
    drop(group);
    Ok((status, end_of(&mut output)?))
}

/// Kills a process group when dropped, unless it was let go.
struct KillGroup(Option<Pid>);

impl Drop for KillGroup {
    fn drop(&mut self) {
        if let Some(leader) = self.0 {
            // It may have ended in this moment.
            let _gone = kill_process_group(leader, Signal::KILL);
        }
    }
}

fn end_of(output: &mut File) -> io::Result<String> {
    let length = output.seek(SeekFrom::End(0))?;
    output.seek(SeekFrom::Start(length.saturating_sub(OUTPUT_BYTES_MAX)))?;
    let mut end = Vec::new();
    output.read_to_end(&mut end)?;
    Ok(String::from_utf8_lossy(&end).trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::environment::External;

    fn run_one(command: &str, limit: Duration) -> Ending {
        let address = "127.0.0.1:9".parse().unwrap();
        let host = "127.0.0.1:9".to_owned();
        let mut environment = Environment::External(External { address, host, config_header: None });
        let clock = RunClock::starting_in(Duration::ZERO);
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(run(command, limit, &mut environment, &clock))
    }

    #[test]
    fn exit_code_and_output_are_kept() {
        for (command, outcome, exit_code, output) in [
            ("echo one; echo two >&2", EventOutcome::Ok, 0, "one\ntwo"),
            ("echo $HARNESS_TARGET", EventOutcome::Ok, 0, "http://127.0.0.1:9"),
            ("echo no; exit 3", EventOutcome::Failed, 3, "no"),
            ("no-such-command-anywhere 2>/dev/null", EventOutcome::Failed, 127, ""),
        ] {
            let ending = run_one(command, Duration::from_secs(20));
            assert_eq!(ending.outcome, outcome, "{command}");
            assert_eq!(ending.as_expected, outcome == EventOutcome::Ok, "{command}");
            assert_eq!(ending.detail["exit_code"], exit_code, "{command}");
            assert_eq!(ending.detail["output"], output, "{command}");
        }
    }

    #[test]
    fn a_command_past_its_time_is_killed_with_its_children() {
        let dir = tempfile::tempdir().unwrap();
        let pids = dir.path().join("pids");
        let command = format!("sleep 600 & echo $! >{}; wait", pids.display());
        let ending = run_one(&command, Duration::from_millis(300));
        assert_eq!(ending.outcome, EventOutcome::Failed);
        assert_eq!(ending.detail["timed_out"], true);
        let pid = std::fs::read_to_string(pids).unwrap();
        let stat = format!("/proc/{}/stat", pid.trim());
        // Killed: gone, or a zombie that its new parent has yet to look at.
        let ended = || std::fs::read_to_string(&stat).map_or(true, |stat| stat.contains(") Z "));
        let deadline = std::time::Instant::now() + Duration::from_secs(20);
        while !ended() {
            assert!(std::time::Instant::now() < deadline, "the child must be killed");
            std::thread::yield_now();
        }
    }

    #[test]
    fn a_process_left_in_the_background_does_not_hold_the_event_up() {
        let ending = run_one("sleep 600 & echo $!", Duration::from_secs(20));
        assert_eq!(ending.detail["timed_out"], false);
        let left: i32 = ending.detail["output"].as_str().unwrap().parse().unwrap();
        rustix::process::kill_process(Pid::from_raw(left).unwrap(), Signal::KILL).unwrap();
    }

    #[test]
    fn only_the_end_of_a_long_output_is_kept() {
        let ending =
            run_one("i=0; while [ $i -lt 2000 ]; do echo line $i; i=$((i+1)); done", Duration::from_secs(20));
        let output = ending.detail["output"].as_str().unwrap();
        assert!(output.ends_with("line 1999") && output.len() <= 4_096, "{} bytes", output.len());
    }
}
