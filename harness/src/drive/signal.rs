//! A signal as an event: to the serving process where the harness has started it, or to the pid in a file.

use std::{fs, path::Path};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::json;

use super::timeline::Ending;
use crate::{clock::RunClock, environment::Environment, observe::EventOutcome};

/// The signals that a scenario may send, without their prefix.
const SIGNALS: [(&str, Signal); 11] = [
    ("HUP", Signal::HUP),
    ("INT", Signal::INT),
    ("QUIT", Signal::QUIT),
    ("KILL", Signal::KILL),
    ("TERM", Signal::TERM),
    ("USR1", Signal::USR1),
    ("USR2", Signal::USR2),
    ("STOP", Signal::STOP),
    ("CONT", Signal::CONT),
    ("WINCH", Signal::WINCH),
    ("TTIN", Signal::TTIN),
];

/// Sends the signal. Done means that the kernel took it; what the process makes of it the load shows.
pub(super) fn run(
    name: &str,
    pid_file: Option<&Path>,
    environment: &mut Environment,
    clock: &RunClock,
) -> Ending {
    match send(name, pid_file, environment) {
        Ok(pid) => Ending {
            acked_ns: clock.now_ns(),
            outcome: EventOutcome::Ok,
            as_expected: true,
            detail: json!({ "signal": name, "pid": pid.as_raw_pid() }),
        },
        Err(why) => Ending::impossible(clock, &why),
    }
}

fn send(name: &str, pid_file: Option<&Path>, environment: &mut Environment) -> Result<Pid, String> {
    let signal = parse(name).ok_or_else(|| format!("{name} is no signal that the harness sends"))?;
    let pid = match (pid_file, environment) {
        (Some(path), _) => pid_in(path)?,
        (None, Environment::Reference(reference)) => reference
            .serving_pid()
            .ok_or_else(|| format!("no process runs release {}", reference.serving().label()))?,
        (None, Environment::Command(command)) => {
            command.pid().ok_or_else(|| "no process of the target lives".to_owned())?
        }
        (None, Environment::External(_)) => {
            return Err("an external server's process is not known; give the event a pid_file".to_owned());
        }
    };
    kill_process(pid, signal).map_err(|error| format!("process {}: {error}", pid.as_raw_pid()))?;
    Ok(pid)
}

fn parse(name: &str) -> Option<Signal> {
    let bare = name.strip_prefix("SIG").unwrap_or(name);
    SIGNALS.iter().find(|(known, _)| *known == bare).map(|(_, signal)| *signal)
}

fn pid_in(path: &Path) -> Result<Pid, String> {
    let text = fs::read_to_string(path).map_err(|error| format!("{}: {error}", path.display()))?;
    let pid = text.trim().parse().ok().filter(|pid| *pid > 1).and_then(Pid::from_raw);
    pid.ok_or_else(|| format!("{} holds {:?}, not a pid", path.display(), text.trim()))
}

#[cfg(test)]
mod tests {
    use std::{
        os::unix::process::ExitStatusExt,
        process::{Command, Stdio},
        time::Duration,
    };

    use super::*;
    use crate::environment::External;

    fn external() -> Environment {
        let address = "127.0.0.1:9".parse().unwrap();
        Environment::External(External { address, host: "127.0.0.1:9".to_owned(), config_header: None })
    }

    #[test]
    fn the_process_in_the_file_gets_the_signal() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("pid");
        for (name, number) in [("TERM", 15), ("SIGUSR2", 12)] {
            let mut child = Command::new("sleep").arg("600").stdin(Stdio::null()).spawn().unwrap();
            fs::write(&path, format!("{}\n", child.id())).unwrap();
            let ending = run(name, Some(&path), &mut external(), &RunClock::starting_in(Duration::ZERO));
            assert_eq!(ending.outcome, EventOutcome::Ok);
            assert_eq!(child.wait().unwrap().signal(), Some(number));
        }
    }

    #[test]
    fn what_cannot_be_sent_is_said() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("pid");
        for (name, content, why) in [
            ("TERM", None, "an external server's process is not known; give the event a pid_file"),
            ("NONSENSE", None, "NONSENSE is no signal that the harness sends"),
            ("TERM", Some("abc"), "holds \"abc\", not a pid"),
            // 0 and -1 would be groups or everybody.
            ("TERM", Some("-1"), "holds \"-1\", not a pid"),
            ("TERM", Some("0"), "holds \"0\", not a pid"),
        ] {
            let pid_file = content.map(|content| {
                fs::write(&path, content).unwrap();
                path.as_path()
            });
            let ending = run(name, pid_file, &mut external(), &RunClock::starting_in(Duration::ZERO));
            let detail = ending.detail["error"]["detail"].as_str().unwrap().to_owned();
            assert!(ending.outcome == EventOutcome::Failed && detail.contains(why), "{detail}");
        }
    }
}
