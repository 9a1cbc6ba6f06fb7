//! The processes of the target, across upgrades: started in a process group, followed, and ended.
//!
//! After an upgrade the serving process is no child of ours: its parent has exited. Two things keep hold
//! of it: the harness is a child subreaper, so every orphan below it stays below it, and a descendant counts
//! as the target's when it is in the first one's group or works in (or runs from) the run's work directory.
//!
//! Invariant: when a [`Group`] is dropped, none of its processes is left.

use std::{
    collections::{BTreeMap, BTreeSet},
    ffi::OsStr,
    fs::File,
    io,
    os::unix::process::CommandExt,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::{
        Arc,
        atomic::{AtomicI32, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

use command_fds::{CommandFdExt as _, FdMapping};
use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    process::{
        Pid, PidfdFlags, Signal, WaitOptions, WaitStatus, getpid, kill_process, kill_process_group,
        pidfd_open, set_child_subreaper, waitpgid, waitpid,
    },
};

use tokio::time::timeout_at;

use super::{
    Error,
    processes::{Process, descendants},
};

/// How long the kernel may take to end processes after SIGKILL.
const KILL_LIMIT: Duration = Duration::from_secs(5);
/// How often a stopping group is looked at.
const LOOK_INTERVAL: Duration = Duration::from_millis(10);
/// Between two questions whether a server is ready.
pub(super) const READY_INTERVAL: Duration = Duration::from_millis(20);

/// What is started, and with what.
#[derive(Debug)]
pub struct Program<'a> {
    pub path: &'a Path,
    pub arguments: &'a [&'a OsStr],
    /// Added to the environment.
    pub variables: &'a [(&'a str, String)],
    /// Descriptors that it finds open.
    pub passed: Vec<FdMapping>,
    /// Where both outputs go.
    pub log: &'a File,
}

/// The target's processes. Dropping it kills those that are left.
#[derive(Debug)]
pub struct Group {
    leader: Pid,
    /// The leader's pid, for those who watch.
    watched: Arc<AtomicI32>,
    work_dir: PathBuf,
    /// How those ended that ended and were reaped.
    ended: BTreeMap<i32, WaitStatus>,
    /// Every process that was ever seen to belong here and is not reaped; zombies are told by their pid only.
    seen: BTreeSet<i32>,
}

/// Tells whether a group has a living process, without keeping the group borrowed.
#[derive(Debug, Clone)]
pub struct GroupWatch {
    /// Pid of the first process, of the last group that took another's place; 0: it was killed on purpose.
    leader: Arc<AtomicI32>,
}

impl Group {
    /// Starts `program` in `work_dir` as the leader of a process group of its own, so that a Ctrl-C in the
    /// terminal reaches only the harness.
    ///
    /// # Errors
    /// When the program cannot be started, or this process cannot become a subreaper.
    pub fn start(program: Program<'_>, work_dir: &Path) -> Result<Self, Error> {
        let leader = spawn(program, work_dir, None)?;
        Ok(Self {
            leader,
            watched: Arc::new(AtomicI32::new(leader.as_raw_pid())),
            work_dir: work_dir.to_owned(),
            ended: BTreeMap::new(),
            seen: BTreeSet::from([leader.as_raw_pid()]),
        })
    }

    /// A handle for the question whether anything lives.
    #[must_use]
    pub fn watch(&self) -> GroupWatch {
        GroupWatch { leader: Arc::clone(&self.watched) }
    }

    /// Kills whatever is left and starts `program` in its place; whoever watched the one watches the other.
    ///
    /// # Errors
    /// As [`Group::start`].
    pub(super) fn start_again(&mut self, program: Program<'_>) -> Result<(), Error> {
        self.kill();
        // In the same group, because another one would take the new process for one of its own.
        self.leader = spawn(program, &self.work_dir, None)?;
        self.watched.store(self.leader.as_raw_pid(), Relaxed);
        self.ended.clear();
        self.seen = BTreeSet::from([self.leader.as_raw_pid()]);
        Ok(())
    }

    /// Starts `program` beside the others, in their process group.
    ///
    /// # Errors
    /// As [`Group::start`], and when none of the others is left.
    pub(super) fn start_beside(&mut self, program: Program<'_>) -> Result<Pid, Error> {
        let pid = spawn(program, &self.work_dir, Some(self.leader))?;
        // Numbers are used again.
        self.ended.remove(&pid.as_raw_pid());
        self.seen.insert(pid.as_raw_pid());
        Ok(pid)
    }

    /// How the first process ended, once it has.
    pub fn leader_status(&mut self) -> Option<WaitStatus> {
        self.status(self.leader)
    }

    /// How a process that was started here ended, once it has.
    pub(super) fn status(&mut self, process: Pid) -> Option<WaitStatus> {
        self.reap();
        self.ended.get(&process.as_raw_pid()).copied()
    }

    /// Waits until `answers`, for at most `limit`. Otherwise tells how the first process ended, or that the time is
    /// over; `asked` is what there was no answer to.
    pub(super) async fn ready_within(
        &mut self,
        limit: Duration,
        asked: &str,
        answers: impl AsyncFn() -> bool,
    ) -> Result<(), String> {
        let deadline = Instant::now() + limit;
        loop {
            // Who takes a connection and never answers must not hold the question up.
            if timeout_at(deadline.into(), answers()).await == Ok(true) {
                return Ok(());
            }
            if let Some(status) = self.leader_status() {
                return Err(ended_how(status));
            }
            if Instant::now() >= deadline {
                return Err(format!("it was not after {} s ({asked})", limit.as_secs_f32()));
            }
            tokio::time::sleep(READY_INTERVAL).await;
        }
    }

    /// The first process that is no shell; when the first of all has ended, the same of those that it has left behind.
    pub(super) fn head(&mut self) -> Option<Pid> {
        let leader = self.leader;
        let rank = |process: &&Process| {
            let is_orphan = process.parent == getpid().as_raw_pid();
            let is_of_group = process.group == leader.as_raw_pid();
            (process.pid != leader, !is_orphan, !is_of_group, process.pid.as_raw_pid())
        };
        let members = self.members();
        let mut head = members.iter().min_by_key(rank)?;
        for _ in &members {
            // Some shells stay as the parent of what they run, and a signal would end them alone.
            let mut children = members.iter().filter(|process| process.parent == head.pid.as_raw_pid());
            match (children.next(), children.next()) {
                (Some(child), None) if head.is_shell() => head = child,
                _ => break,
            }
        }
        Some(head.pid)
    }

    /// The living process that runs `binary`.
    pub fn running(&mut self, binary: &Path) -> Option<Pid> {
        let runs_it = |process: &Process| process.link("exe").is_some_and(|exe| exe == binary);
        self.members().into_iter().find(runs_it).map(|process| process.pid)
    }

    /// Whether a process of the target lives.
    pub(super) fn lives(&mut self, process: Pid) -> bool {
        self.members().iter().any(|member| member.pid == process)
    }

    /// Waits until every process has ended by itself; `false` when `limit` was over before.
    pub async fn ended_within(&mut self, limit: Duration) -> bool {
        let deadline = Instant::now() + limit;
        while !self.members().is_empty() {
            if Instant::now() >= deadline {
                return false;
            }
            tokio::time::sleep(LOOK_INTERVAL).await;
        }
        true
    }

    /// Processes of the target, those that ended and were not waited for by their parent included.
    pub fn count(&mut self) -> usize {
        self.reap();
        descendants().iter().filter(|process| self.owns(process)).count()
    }

    /// Sends a signal to every process of the target.
    pub fn signal_all(&mut self, signal: Signal) {
        for process in self.members() {
            // It may have ended since it was listed.
            let _gone = kill_process(process.pid, signal);
        }
    }

    /// Kills whatever is left and waits until it is gone. Returns how many processes had to be killed.
    pub fn kill(&mut self) -> usize {
        self.watched.store(0, Relaxed);
        let deadline = Instant::now() + KILL_LIMIT;
        let mut killed = BTreeSet::new();
        loop {
            let members = self.members();
            if members.is_empty() || Instant::now() >= deadline {
                return killed.len();
            }
            // The group at once: a member cannot fork another one between the listing and its own end.
            if members.iter().any(|process| process.group == self.leader.as_raw_pid()) {
                let _empty = kill_process_group(self.leader, Signal::KILL);
            }
            for Process { pid, .. } in members {
                let _gone = kill_process(pid, Signal::KILL);
                wait_for_end(pid, deadline);
                killed.insert(pid.as_raw_pid());
            }
        }
    }

    /// The living processes of the target.
    fn members(&mut self) -> Vec<Process> {
        let owned: Vec<Process> = descendants().into_iter().filter(|process| self.owns(process)).collect();
        self.seen.extend(owned.iter().map(|process| process.pid.as_raw_pid()));
        self.reap();
        owned.into_iter().filter(|process| !process.is_zombie).collect()
    }

    fn owns(&self, process: &Process) -> bool {
        let works_here = |name| process.link(name).is_some_and(|path| path.starts_with(&self.work_dir));
        process.group == self.leader.as_raw_pid() || works_here("exe") || works_here("cwd")
    }

    /// Collects the statuses of those that ended: a zombie would count as a living member for others.
    fn reap(&mut self) {
        while let Ok(Some((pid, status))) = waitpgid(self.leader, WaitOptions::NOHANG) {
            self.reaped(pid, status);
        }
        // One that left the group is waited for by its pid; never for all children, others wait for theirs.
        let seen: Vec<Pid> = self.seen.iter().filter_map(|pid| Pid::from_raw(*pid)).collect();
        for pid in seen {
            if let Ok(Some((pid, status))) = waitpid(Some(pid), WaitOptions::NOHANG) {
                self.reaped(pid, status);
            }
        }
    }

    fn reaped(&mut self, pid: Pid, status: WaitStatus) {
        self.seen.remove(&pid.as_raw_pid());
        self.ended.insert(pid.as_raw_pid(), status);
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        self.kill();
    }
}

impl GroupWatch {
    /// Whether no process of the group lives any more, and nobody killed it on purpose.
    #[must_use]
    pub fn died(&self) -> bool {
        self.leader.load(Relaxed) != 0 && !self.alive()
    }

    /// Whether a process of the group lives.
    #[must_use]
    pub fn alive(&self) -> bool {
        let leader = self.leader.load(Relaxed);
        let lives = |process: Process| process.group == leader && !process.is_zombie;
        descendants().into_iter().any(lives)
    }
}

/// Starts a program in a process group, or as the leader of one of its own.
fn spawn(program: Program<'_>, work_dir: &Path, group: Option<Pid>) -> Result<Pid, Error> {
    set_child_subreaper(Some(getpid())).map_err(|error| Error::Subreaper(error.into()))?;
    let Program { path, arguments, variables, passed, log } = program;
    let failed = |source| Error::Run { command: path.display().to_string(), source };
    let child = Command::new(path)
        .args(arguments)
        .envs(variables.iter().map(|(name, value)| (name, value)))
        .current_dir(work_dir)
        .process_group(Pid::as_raw(group))
        .stdin(Stdio::null())
        .stdout(log.try_clone().map_err(failed)?)
        .stderr(log.try_clone().map_err(failed)?)
        .fd_mappings(passed)
        .map_err(|error| failed(io::Error::other(error)))?
        .spawn()
        .map_err(failed)?;
    Ok(i32::try_from(child.id()).ok().and_then(Pid::from_raw).expect("a child's pid must be valid"))
}

/// Describes the end of a process for a message.
#[must_use]
pub(super) fn ended_how(status: WaitStatus) -> String {
    match (status.exit_status(), status.terminating_signal()) {
        (Some(code), _) => format!("it exited with code {code}"),
        (None, Some(signal)) => format!("it was ended by signal {signal}"),
        (None, None) => "it ended".to_owned(),
    }
}

/// Blocks until a process has ended, for at most the time up to `deadline`.
fn wait_for_end(pid: Pid, deadline: Instant) {
    // No descriptor means no process: it is gone already.
    let Ok(descriptor) = pidfd_open(pid, PidfdFlags::empty()) else { return };
    let left = deadline.saturating_duration_since(Instant::now());
    let Ok(timeout) = Timespec::try_from(left) else { return };
    let mut polled = [PollFd::new(&descriptor, PollFlags::IN)];
    // An error (a signal came) means one more round in the caller's loop.
    let _ended = poll(&mut polled, Some(&timeout));
}

#[cfg(test)]
mod tests {
    use std::{fmt::Debug, fs};

    use tempfile::TempDir;

    use super::*;

    /// A group whose leader is `sh -c script`, and the folder it works in.
    fn shell(script: &str) -> (TempDir, Group) {
        let dir = tempfile::tempdir().unwrap();
        let work_dir = dir.path().canonicalize().unwrap();
        let log = File::create(work_dir.join("log")).unwrap();
        let group = Group::start(sh(&[OsStr::new("-c"), OsStr::new(script)], &log), &work_dir).unwrap();
        (dir, group)
    }

    fn sh<'a>(arguments: &'a [&'a OsStr], log: &'a File) -> Program<'a> {
        Program { path: Path::new("/bin/sh"), arguments, variables: &[], passed: Vec::new(), log }
    }

    fn block_on<T>(future: impl Future<Output = T>) -> T {
        tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(future)
    }

    /// Looks until it is as expected: a shell goes on while it is looked at.
    fn until<T: PartialEq + Debug>(expected: &T, mut look: impl FnMut() -> T) {
        let deadline = Instant::now() + Duration::from_secs(20);
        loop {
            let found = look();
            if found == *expected {
                return;
            }
            assert!(Instant::now() < deadline, "{expected:?} was expected, {found:?} found");
            std::thread::yield_now();
        }
    }

    /// Waits until the script has written its children's pids into the file `pids`.
    fn pids(dir: &TempDir, count: usize) -> Vec<Pid> {
        let mut pids: Vec<Pid> = Vec::new();
        until(&count, || {
            let text = fs::read_to_string(dir.path().join("pids")).unwrap_or_default();
            // A line that has no end yet is half a number.
            let lines = text.split_inclusive('\n').filter_map(|line| line.strip_suffix('\n'));
            pids = lines.filter_map(|line| Pid::from_raw(line.trim().parse().ok()?)).collect();
            pids.len()
        });
        pids
    }

    fn gone(pid: Pid) -> bool {
        !fs::exists(format!("/proc/{}", pid.as_raw_pid())).unwrap()
    }

    #[test]
    fn children_and_orphans_are_gone_after_the_drop() {
        // The second child loses its parent, as the successor in an upgrade does.
        let (dir, mut group) = shell("sleep 600 & echo $! >>pids; (sleep 600 & echo $! >>pids); wait");
        let pids = pids(&dir, 2);
        until(&3, || group.members().len());
        drop(group);
        for pid in pids {
            assert!(gone(pid), "{pid:?} must be gone");
        }
    }

    #[test]
    fn the_group_outlives_its_leader() {
        let (dir, mut group) = shell("sleep 600 & echo $! >>pids");
        let successor = pids(&dir, 1)[0];
        wait_for_end(group.leader, Instant::now() + KILL_LIMIT);
        assert_eq!(ended_how(group.leader_status().unwrap()), "it exited with code 0");
        assert!(group.watch().alive());
        assert_eq!(group.members().iter().map(|process| process.pid).collect::<Vec<_>>(), [successor]);
        let sleep = fs::canonicalize("/usr/bin/sleep").unwrap();
        until(&Some(successor), || group.running(&sleep));
        assert_eq!(group.kill(), 1);
        assert!(gone(successor) && !group.watch().alive());
    }

    /// A server that was killed as a fault: the next one lives, and nobody takes it for one of those that were left.
    #[test]
    fn whoever_is_started_again_takes_the_place_of_the_killed() {
        let (dir, mut group) = shell("sleep 600 & echo $! >>pids; wait");
        let first = pids(&dir, 1)[0];
        let watch = group.watch();
        let log = File::create(dir.path().join("log")).unwrap();
        let arguments = ["-c", "sleep 600 & echo $! >>pids; wait"].map(OsStr::new);
        group.start_again(sh(&arguments, &log)).unwrap();
        let second = pids(&dir, 2)[1];
        assert!(gone(first) && watch.alive() && group.leader_status().is_none());
        assert_eq!(group.members().len(), 2);
        drop(group);
        assert!(gone(second) && !watch.alive());
    }

    #[test]
    fn the_first_process_that_is_no_shell_stands_for_all() {
        for script in ["sleep 600 & echo $! >>pids; wait", "sleep 600 & echo $! >>pids"] {
            let (dir, mut group) = shell(script);
            let served = pids(&dir, 1)[0];
            if !script.ends_with("wait") {
                wait_for_end(group.leader, Instant::now() + KILL_LIMIT);
            }
            assert_eq!(group.head(), Some(served), "{script}");
        }
    }

    #[test]
    fn one_that_left_the_group_is_known_by_its_work_directory() {
        let (dir, mut group) = shell("setsid sh -c 'echo $$ >>pids; exec sleep 600' & wait");
        let stray = pids(&dir, 1)[0];
        assert!(group.members().iter().any(|process| process.pid == stray));
        group.kill();
        assert!(gone(stray));
    }

    #[test]
    fn those_that_heed_a_signal_need_no_kill() {
        let (dir, mut group) = shell("sleep 600 & echo $! >>pids; wait");
        pids(&dir, 1);
        group.signal_all(Signal::TERM);
        assert!(block_on(group.ended_within(KILL_LIMIT)));
        assert_eq!(group.kill(), 0);
        assert_eq!(ended_how(group.leader_status().unwrap()), "it was ended by signal 15");
    }

    #[test]
    fn those_that_ignore_a_signal_are_killed() {
        let (dir, mut group) = shell("trap '' TERM; echo $$ >>pids; while :; do sleep 600; done");
        let stubborn = pids(&dir, 1)[0];
        group.signal_all(Signal::TERM);
        assert!(!block_on(group.ended_within(Duration::from_millis(50))));
        assert!(group.kill() >= 1);
        assert!(gone(stubborn));
    }
}
