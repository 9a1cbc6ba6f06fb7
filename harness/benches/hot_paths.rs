//! What the harness does most often: schedule, record, classify, and analyse a log.
//!
//!     cargo bench -p harness --bench hot_paths
//!
//! `cargo test`, or `--test` behind that command, runs each once on small logs, to see that it still does.

#[path = "made_log.rs"]
mod made_log;
#[path = "peak.rs"]
mod peak;

use std::{
    env, fs,
    hint::black_box,
    io::{self, Write as _},
    path::Path,
    time::Duration,
};

use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use harness::{
    analyze::{Analysis, analyze_log},
    drive::load::{HeaderNames, hot},
    observe::{Attempt, RunDir, record::Writer},
    report,
    verdict::judge,
};

/// Attempts of the schedule and of the recorded batch.
const ATTEMPTS: u64 = 1_000_000;
/// Attempts of the log that is analysed.
const LOGGED: u64 = 10_000_000;
/// What the analysis of that log may take at most, in kB.
const PEAK_KB_MAX: u64 = 1_000_000;
/// Attempts of each when nothing is measured.
const TESTED: u64 = 10_000;
/// Failed ones in the log, per mille: none, and as many as hurt most.
const FAILED_PER_MILLE: [u64; 2] = [0, 640];

const ANSWER: &[u8] = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\nx-seckill-process: 3\r\n\
    x-seckill-version: 1.4.2\r\nx-config-generation: 17\r\ncontent-length: 27\r\n\
    date: Sat, 01 Aug 2026 12:00:00 GMT\r\n\r\n{\"id\":1,\"goods\":[1,2,3,4]}\n";

fn attempts(measured: u64) -> u64 {
    let has = |wanted: &str| env::args().any(|argument| argument == wanted);
    if has("--bench") && !has("--test") { measured } else { TESTED }
}

fn schedule(criterion: &mut Criterion) {
    let attempts = attempts(ATTEMPTS);
    let plan = made_log::plan(attempts);
    let mut group = criterion.benchmark_group("schedule");
    group.throughput(Throughput::Elements(attempts)).sample_size(10);
    group.bench_function("two Poisson streams", |bencher| {
        bencher.iter(|| hot::schedule(black_box(&plan.load), plan.seed));
    });
    group.finish();
}

fn record(criterion: &mut Criterion) {
    let folder = tempfile::tempdir().expect("a folder must be had");
    let attempts = attempts(ATTEMPTS);
    let log: Vec<Attempt> =
        made_log::Attempts::new(500).take(usize::try_from(attempts).unwrap_or(0)).collect();
    let path = folder.path().join("attempts.bin");
    let mut group = criterion.benchmark_group("record");
    group.throughput(Throughput::Elements(attempts)).sample_size(10);
    group.bench_function("attempts", |bencher| {
        let fresh = || Writer::create(&path).expect("the log must be made");
        let write = |mut writer: Writer<Attempt>| {
            for attempt in &log {
                writer.push(attempt).expect("the attempt must be written");
            }
            writer.finish().expect("the log must be written");
        };
        bencher.iter_batched(fresh, write, BatchSize::PerIteration);
    });
    group.finish();
}

fn classify(criterion: &mut Criterion) {
    let names = HeaderNames::reference();
    assert!(hot::classify(ANSWER, &names), "the answer must be whole");
    let mut group = criterion.benchmark_group("classify");
    group.throughput(Throughput::Elements(1));
    group.bench_function("an answer of 27 bytes", |bencher| {
        bencher.iter(|| hot::classify(black_box(ANSWER), &names));
    });
    group.finish();
}

fn analyse(criterion: &mut Criterion) {
    let attempts = attempts(LOGGED);
    let mut group = criterion.benchmark_group("analyse");
    group
        .throughput(Throughput::Elements(attempts))
        .sample_size(10)
        .measurement_time(Duration::from_secs(60));
    for failed in FAILED_PER_MILLE {
        group.bench_function(format!("{failed} of 1000 failed"), |bencher| {
            let folder = tempfile::tempdir().expect("a folder must be had");
            let run = made_log::write(folder.path(), attempts, failed).expect("the log must be written");
            bencher.iter(|| conclude(&run, folder.path()));
        });
    }
    group.finish();
    let kb = peak::kb().expect("the peak of the memory must be told");
    writeln!(io::stdout(), "peak memory {kb} kB").expect("standard output must take it");
    assert!(kb <= PEAK_KB_MAX, "the analysis took more memory than {PEAK_KB_MAX} kB");
}

/// What a run does at its end, from the log to the report.
fn conclude(run: &RunDir, folder: &Path) -> Analysis {
    let background = run.load_background().expect("the run must be readable");
    let attempts = run.read_attempts().expect("the log must be readable");
    let analysis = analyze_log(&background, attempts).expect("the log must be whole");
    let verdict = judge(&background.plan, &analysis);
    let report = report::build(&background, &analysis, &verdict);
    fs::write(folder.join("report.json"), report::json::render(&report)).expect("the report must be written");
    analysis
}

criterion_group!(hot_paths, schedule, record, classify, analyse);
criterion_main!(hot_paths);
