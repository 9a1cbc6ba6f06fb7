//! Threads that give way: work that takes long and that nobody is waited for with a request.
//!
//! They run in the scheduling class `SCHED_IDLE`: a request that comes takes the processor at once, where a thread
//! that is only nice may finish its slice first (some milliseconds). What such a thread starts gives way too. The
//! price: on a machine without any idle processor they get little done.

use std::{io, panic, thread};

use thread_priority::{
    NormalThreadSchedulePolicy, ThreadPriority, ThreadSchedulePolicy, set_thread_priority_and_policy,
    thread_native_id, thread_schedule_policy,
};

/// Does `work` on a thread that gives way, and waits for it. A panic in it goes on here.
///
/// # Errors
/// There is no thread to be had.
pub fn wait_for<T: Send>(name: &str, work: impl FnOnce() -> T + Send) -> io::Result<T> {
    thread::scope(|scope| {
        let worker = thread::Builder::new().name(name.to_owned()).spawn_scoped(scope, || {
            give_way();
            work()
        })?;
        Ok(worker.join().unwrap_or_else(|payload| panic::resume_unwind(payload)))
    })
}

/// Does `work` on a thread that gives way, and goes on.
///
/// # Errors
/// There is no thread to be had.
pub fn start(name: &str, work: impl FnOnce() + Send + 'static) -> io::Result<()> {
    let begin = move || {
        give_way();
        work();
    };
    thread::Builder::new().name(name.to_owned()).spawn(begin).map(drop)
}

/// Lets everybody else have the processor first, from now to the end of this thread: the way back may need a
/// privilege.
fn give_way() {
    let idle = ThreadSchedulePolicy::Normal(NormalThreadSchedulePolicy::Idle);
    let set = set_thread_priority_and_policy(thread_native_id(), ThreadPriority::Min, idle);
    // It also sets the thread's niceness, which nobody needs and a process that is nice itself may not do.
    if thread_schedule_policy() != Ok(idle) {
        tracing::warn!(?set, "what should give way runs at the priority of requests, which may wait for it");
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;

    fn gives_way() -> bool {
        thread_schedule_policy() == Ok(ThreadSchedulePolicy::Normal(NormalThreadSchedulePolicy::Idle))
    }

    #[test]
    fn the_work_gives_way_and_what_it_starts_and_nobody_else() {
        let inner = || thread::scope(|scope| scope.spawn(gives_way).join().unwrap());
        assert_eq!(wait_for("waited-for", || (gives_way(), inner())).unwrap(), (true, true));
        let (sender, receiver) = mpsc::channel();
        start("started", move || sender.send(gives_way()).unwrap()).unwrap();
        assert!(receiver.recv().unwrap());
        assert!(!gives_way());
    }
}
