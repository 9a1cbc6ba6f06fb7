//! Load on a server, each request at its own time whether or not the one before was answered in time, and its
//! latency from that time on. Half ask for the list of events, half are orders of users who are on the blacklist.
//!
//! Each reload has a p99 of its own and so has the quiet time before it, as long as the reload is; the median of
//! each is told. One stall of the machine, which a virtual one has now and then for some milliseconds, moves the
//! p99 of all requests together, but that of one reload only. Some stall more when they work, whatever they do: so
//! between the two the same is measured beside threads that give way as those of a reload do, and only count.

use std::{
    fs,
    io::{self, BufRead as _, BufReader, Read as _, Write as _},
    net::TcpStream,
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::{Duration, Instant},
};

use server::background;

use crate::Failed;

const CONNECTIONS: u32 = 8;
/// Between two requests of a connection: a thousand a second on all together.
const EVERY: Duration = Duration::from_millis(8);
/// Before the first reload and after each, at least, and as long as the longest reload so far.
const REST: Duration = Duration::from_secs(1);

/// When a request was due, and how long after that it was answered.
type Answered = (Instant, Duration);

pub(crate) fn drive(public: &str, reload: &str, tokens: &str, count: &str) -> Result<(), Failed> {
    let tokens = fs::read_to_string(tokens)?;
    let (admin, users) = tokens.split_once('\n').ok_or("the first line must be the admin token")?;
    let users: Vec<&str> = users.lines().collect();
    let count: u32 = count.parse()?;
    let over = AtomicBool::new(false);
    let begun = Instant::now() + Duration::from_secs(1);
    thread::scope(|scope| {
        let load: Vec<_> = (0..CONNECTIONS)
            .map(|index| {
                let (users, over) = (&users, &over);
                scope.spawn(move || ask(public, users, begun + EVERY * index / CONNECTIONS, over))
            })
            .collect();
        let (mut reloads, mut counting) = (Vec::new(), Vec::new());
        let mut rest = REST;
        let mut outcome = Ok(());
        wait_until(begun + rest);
        for _ in 0..count {
            let from = Instant::now();
            outcome = reload_once(reload, admin);
            let to = Instant::now();
            reloads.push((from, to));
            rest = rest.max(to - from);
            wait_until(to + rest);
            counting.push((Instant::now(), count_for((to - from).min(REST))?));
            wait_until(Instant::now() + rest);
            if outcome.is_err() {
                break;
            }
        }
        over.store(true, Ordering::Relaxed);
        let mut answered = Vec::new();
        for thread in load {
            answered.extend(thread.join().map_err(|_| "a connection's thread must not panic")??);
        }
        outcome?;
        // The first reload is longer than the rest before it may be.
        let before = |(from, to): &(Instant, Instant)| (begun.max(*from - (*to - *from)), *from);
        let during = median(reloads.iter().filter_map(|window| p99_us(&answered, *window)));
        let quiet = median(reloads.iter().filter_map(|window| p99_us(&answered, before(window))));
        let beside = median(counting.iter().filter_map(|window| p99_us(&answered, *window)));
        let middle = median(reloads.iter().map(|(from, to)| (*to - *from).as_secs_f64()));
        let requests = reloads.iter().map(|window| of(&answered, *window).count()).sum::<usize>();
        writeln!(io::stdout(), "{middle:.3} {quiet:.0} {beside:.0} {during:.0} {requests}")?;
        Ok(())
    })
}

fn ask(public: &str, users: &[&str], begun: Instant, over: &AtomicBool) -> Result<Vec<Answered>, Failed> {
    let mut connection = BufReader::new(connect(public)?);
    let mut answered = Vec::new();
    for (index, user) in users.iter().cycle().enumerate() {
        let due = begun + EVERY * u32::try_from(index)?;
        wait_until(due);
        if over.load(Ordering::Relaxed) {
            break;
        }
        let (request, expected) = if index.is_multiple_of(2) {
            ("GET /event/list HTTP/1.1\r\nhost: x\r\n\r\n".to_owned(), 200)
        } else {
            let token = format!("authorization: Bearer {user}\r\n");
            (format!("POST /orders HTTP/1.1\r\nhost: x\r\n{token}content-length: 0\r\n\r\n"), 403)
        };
        let status = exchange(&mut connection, &request)?;
        if status != expected {
            return Err(format!("{status} is not the {expected} that was expected").into());
        }
        answered.push((due, due.elapsed()));
    }
    Ok(answered)
}

fn reload_once(reload: &str, admin: &str) -> Result<(), Failed> {
    let mut connection = BufReader::new(connect(reload)?);
    let token = format!("authorization: Bearer {admin}\r\n");
    let request = format!("POST /reload HTTP/1.1\r\nhost: x\r\n{token}content-length: 0\r\n\r\n");
    match exchange(&mut connection, &request)? {
        200 => Ok(()),
        status => Err(format!("the reload was answered with {status}").into()),
    }
}

fn connect(address: &str) -> io::Result<TcpStream> {
    let stream = TcpStream::connect(address)?;
    stream.set_nodelay(true)?;
    Ok(stream)
}

/// Sends a request and reads all of its answer; the status.
fn exchange(connection: &mut BufReader<TcpStream>, request: &str) -> Result<u16, Failed> {
    connection.get_mut().write_all(request.as_bytes())?;
    let (mut status, mut length) = (None, 0);
    let mut line = String::new();
    loop {
        line.clear();
        connection.read_line(&mut line)?;
        let field = line.trim_end().to_ascii_lowercase();
        if let Some(value) = field.strip_prefix("content-length:") {
            length = value.trim().parse()?;
        } else if status.is_none() {
            status = field.split(' ').nth(1).and_then(|status| status.parse().ok());
        } else if field.is_empty() {
            break;
        }
    }
    io::copy(&mut connection.by_ref().take(length), &mut io::sink())?;
    status.ok_or_else(|| "the answer has no status".into())
}

/// Keeps two processors busy with nothing, on threads that give way; when it was over.
fn count_for(length: Duration) -> Result<Instant, Failed> {
    let until = Instant::now() + length;
    let count = || while Instant::now() < until {};
    background::wait_for("counting", || {
        thread::scope(|scope| {
            scope.spawn(count);
            count();
        });
    })?;
    Ok(Instant::now())
}

/// Latencies of the requests that were due from `from` on and before `to`.
fn of(answered: &[Answered], (from, to): (Instant, Instant)) -> impl Iterator<Item = Duration> {
    answered.iter().filter(move |(due, _)| (from..to).contains(due)).map(|(_, latency)| *latency)
}

fn p99_us(answered: &[Answered], window: (Instant, Instant)) -> Option<f64> {
    let mut latencies: Vec<Duration> = of(answered, window).collect();
    latencies.sort_unstable();
    latencies.get(latencies.len() * 99 / 100).map(|latency| latency.as_secs_f64() * 1e6)
}

fn median(values: impl Iterator<Item = f64>) -> f64 {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}

#[expect(clippy::disallowed_methods, reason = "a sending thread has nothing to wait for but the time")]
fn wait_until(due: Instant) {
    thread::sleep(due.saturating_duration_since(Instant::now()));
}
