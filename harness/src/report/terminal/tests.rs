//! The terminal report, as pictures of a pass and of a fail.

use serde_json::json;

use super::{Paint, WIDTH, render};
use crate::{
    analyze::fixture::{Log, REUSED, upgrade},
    observe::{Cause, EventOutcome},
    report::tests::{failing, passing, report},
};

const FOLDER: &str = "reports/runs/20260102-030405-upgrade";

fn plain(log: &Log) -> String {
    render(&report(log), FOLDER, Paint::Plain)
}

#[track_caller]
fn check_width(text: &str) {
    for line in text.lines() {
        assert!(line.chars().count() <= WIDTH && line.is_ascii(), "{line}");
    }
}

#[test]
#[expect(clippy::too_many_lines, reason = "a whole report is long")]
fn a_pass() {
    let text = plain(&passing());
    check_width(&text);
    insta::assert_snapshot!(text, @"
    PASS (exit code 0)  upgrade
    0 of 19,998 requests failed around 3 upgrades, 10.00 s of load.

    GATES                                              limit          actual
      pass   failed_max                                      0               0
      pass   upgrades_min                                    3               3
      pass   closed_by_server_max                            0               0
      pass   hard_downtime_ms_max                            0               0
      pass   unsent_max                                      0               0
      pass   lateness_p99_us_max                        100000               0
      pass   blind_ms_max                                 1000               0
      pass   events_failed_max                               0               0

    REQUESTS                           total              ok          failed
      all                             19,998          19,998               0
      on new connections               9,999           9,999               0
      on reused connections            9,999           9,999               0
      stream new                       9,999           9,999               0
      stream reused                    9,999           9,999               0

    CONNECTIONS               opened   server closed   client closed      not opened
      used once                    0               0               0               0
      kept alive                   2               0               2               0

    UPGRADES                                          p50 ms          max ms
      from start to end                                66.00           66.00
      phase start                                      12.50           12.50
      phase transfer                                   2.000           2.000
      3 of 3 upgrades ended ok.

    DOWNTIME                                     at least ms      at most ms
      hard (failures)                                      0               0
      brownout (late)                                                      0
      An outage shorter than 0.777 ms may have gone unseen.

    AVAILABILITY
      by request                                   100.000 %
      after safe retry                             100.000 %
      by time at worst                             100.000 %
      by time at best                              100.000 %
      0 bad in 3 upgrades: at most 64 % of upgrades can lose anything.
      0 failed in 19,998 requests: at most 0.015 % of requests can fail.
      Both bounds with 95 % confidence. Losses come in clusters: trust the first.

    SERVICE LEVEL                                       mean      worst case
      ms per upgrade                                       0           0.777
      1 upgrade a day                              100.000 %    99.9999991 %
      2 upgrades a day                             100.000 %    99.9999982 %
      10 upgrades a day                            100.000 %     99.999991 %
      50 upgrades a day                            100.000 %     99.999955 %

    BUDGET OF A DAY       downtime s      failed    upgrades   used here   burn rate
      99.9 %                   86.40     172,782     111,272         0 %           0
      99.95 %                  43.20      86,391      55,636         0 %           0
      99.99 %                  8.640      17,278      11,127         0 %           0
      99.995 %                 4.320       8,639       5,563         0 %           0
      99.999 %                 0.864       1,727       1,112         0 %           0

    LATENCY ms                      p50        p90        p99      p99.9        max
      from intended time          1.000      1.000      1.000      1.000      1.000
      from sending                1.000      1.000      1.000      1.000      1.000
      near events                 1.000      1.000      1.000      1.000      1.000
      away from events            1.000      1.000      1.000      1.000      1.000
      stream new                  1.000      1.000      1.000      1.000      1.000
      stream reused               1.000      1.000      1.000      1.000      1.000

    INSTRUMENT                      p50        p90        p99      p99.9        max
      lateness us                     0          0          0          0          0
      19,998 requests planned, 19,998 sent, 0 not sent; at most 1 in flight.
      longest pause 0 ms.

    INVARIANTS
      pass       not-oversold: 2 orders for a stock of 10 in 1 goods
      pass       acknowledged-orders-stored: 2 acknowledged, all stored
      unchecked  refused-orders-not-stored: no order was refused
      pass       no-unasked-order: 2 stored orders were asked for
      pass       no-duplicate-key: 2 stored orders have as many keys
      pass       limit-per-user: at most 2 of 2 per user and good
      pass       one-process-per-order: 2 orders stored by who answered
      unchecked  config-generation-never-goes-back: no answer named both its process
                 and its configuration
      pass       no-old-process-after-upgrade: 15864 answers after 3 upgrades

    RUN
      Target reference, handoff-live; store embedded; seed 1; kernel 6.1.0.
      reports/runs/20260102-030405-upgrade
    ");
}

#[test]
#[expect(clippy::too_many_lines, reason = "a whole report is long")]
fn a_failure() {
    let text = plain(&failing());
    check_width(&text);
    insta::assert_snapshot!(text, @"
    FAIL (exit code 5)  upgrade
    202 of 18,699 requests failed around 3 upgrades, 10.00 s of load.
      - The invariant acknowledged-orders-stored is violated: order o1 (user 1 event
        1 goods 1 key k1) was acknowledged but is not stored: attempt 19699, sent at
        0 us, acknowledged as o1 by process 1 at 1000 us.
      - 202 requests failed; the limit is 0.
      - The availability was 98.919728 %; the limit is 99.99 %.

    GATES                                              limit          actual
      fail   failed_max                                      0             202
      fail   availability_min                           0.9999        0.989197
      pass   unsent_max                                      0               0
      pass   lateness_p99_us_max                        100000               0
      pass   blind_ms_max                                 1000               0
      pass   events_failed_max                               0               0

    REQUESTS                           total              ok          failed
      all                             18,699          18,497             202
      on new connections               9,499           9,299             200
      on reused connections            9,200           9,198               2
      stream new                       9,499           9,299             200
      stream reused                    9,200           9,198               2
      warm-up, not counted             1,000           1,000               0
      Of the failed 201 belong to an event, 1 to none.

    NOT SERVED IN   cause          connection  safe retry  blame            requests
      connect       refused        new         yes         target                200
      wait          reset          reused      yes         target                  1
          on connections idle for 0 ms, 1 requests before
      validate      bad-status     reused      no          target                  1
          on connections idle for 0 ms, 1 requests before
      Bad statuses: 503 1.

    CONNECTIONS               opened   server closed   client closed      not opened
      used once                    0               0               0               0
      kept alive                   1               1               0               1

    UPGRADES                                          p50 ms          max ms
      from start to end                                66.00           66.00
      phase start                                      12.50           12.50
      phase transfer                                   2.000           2.000
      3 of 3 upgrades ended ok.
      upgrade-2 at 4.000 s: ok; 201 requests failed.

    DOWNTIME                                     at least ms      at most ms
      hard (failures)                                  199.0           306.0
      brownout (late)                                                      0
        window      from s  at least   at most requests  event (streams)
        hard         3.998     199.0     303.0      201  upgrade-2 (new, reused)
        hard         7.499         0     3.000        1  no event (reused)
      An outage shorter than 0.798 ms may have gone unseen.

    AVAILABILITY
      by request                                98.9197283 %
      after safe retry                          98.9197283 %
      by time at worst                          96.7789473 %
      by time at best                           97.9052631 %
      1 bad in 3 upgrades: at most 87 % of upgrades can lose anything.
      202 failed in 18,699 requests: at most 1.3 % of requests can fail.
      Both bounds with 95 % confidence. Losses come in clusters: trust the first.

    SERVICE LEVEL                                       mean      worst case
      ms per upgrade                                   101.0           303.0
      1 upgrade a day                           99.9998831 %    99.9996493 %
      2 upgrades a day                          99.9997662 %    99.9992986 %
      10 upgrades a day                          99.998831 %     99.996493 %
      50 upgrades a day                          99.994155 %    99.9824652 %

    BUDGET OF A DAY       downtime s      failed    upgrades   used here   burn rate
      99.9 %                   86.40     170,062         285     0.354 %       10.80
      99.95 %                  43.20      85,031         142     0.708 %       21.61
      99.99 %                  8.640      17,006          28     3.542 %       108.0
      99.995 %                 4.320       8,503          14     7.083 %       216.1
      99.999 %                 0.864       1,700           2     35.42 %        1080

    LATENCY ms                      p50        p90        p99      p99.9        max
      from intended time          1.000      1.000      1.000      1.000      1.000
      from sending                1.000      1.000      1.000      1.000      1.000
      near events                 1.000      1.000      1.000      1.000      1.000
      away from events            1.000      1.000      1.000      1.000      1.000
      stream new                  1.000      1.000      1.000      1.000      1.000
      stream reused               1.000      1.000      1.000      1.000      1.000

    INSTRUMENT                      p50        p90        p99      p99.9        max
      lateness us                     0          0          0          0          0
      19,699 requests planned, 19,699 sent, 0 not sent; at most 1 in flight.
      longest pause 0 ms.

    INVARIANTS
      pass       not-oversold: 0 orders for a stock of 10 in 1 goods
      fail       acknowledged-orders-stored: order o1 (user 1 event 1 goods 1 key
                 k1) was acknowledged but is not stored: attempt 19699, sent at 0
                 us, acknowledged as o1 by process 1 at 1000 us
      unchecked  refused-orders-not-stored: no order was refused
      unchecked  no-unasked-order: the store holds no order
      unchecked  no-duplicate-key: the store holds no order
      unchecked  limit-per-user: the store holds no order
      unchecked  one-process-per-order: no acknowledged order tells its process
      unchecked  config-generation-never-goes-back: no answer named both its process
                 and its configuration
      pass       no-old-process-after-upgrade: 15363 answers after 3 upgrades

    RUN
      Target reference, handoff-live; store embedded; seed 1; kernel 6.1.0.
      reports/runs/20260102-030405-upgrade
    ");
}

/// An event of another kind is counted beside the trials, and told if it was not as planned.
#[test]
fn a_change_of_the_configuration_beside_upgrades() {
    let mut log = passing();
    for (number, outcome) in [(1, EventOutcome::Ok), (2, EventOutcome::Failed)] {
        let mut change = upgrade(number, 1_000 + number * 2_000, 1_010 + number * 2_000);
        (change.id, change.kind) = (format!("reload-{number}"), "reload".to_owned());
        (change.outcome, change.as_expected) = (outcome, outcome == EventOutcome::Ok);
        change.detail =
            json!({ "datum": "cluster", "by": "file", "change": number, "generation": number + 1 });
        log.event(change);
    }
    let kinds: Vec<_> = report(&log).events.into_iter().map(|event| event.kind).collect();
    assert_eq!(kinds, ["upgrade", "reload", "upgrade", "reload", "upgrade"], "in the order of their times");
    let text = plain(&log);
    check_width(&text);
    let section = text.split("\n\n").find(|section| section.starts_with("UPGRADES")).unwrap();
    insta::assert_snapshot!(section, @"
    UPGRADES                                          p50 ms          max ms
      from start to end                                66.00           66.00
      phase start                                      12.50           12.50
      phase transfer                                   2.000           2.000
      3 of 3 upgrades ended ok; 2 events of another kind.
      reload-2 at 5.000 s: failed, not as planned; 0 requests failed.
    ");
}

#[test]
fn a_change_that_some_answers_miss() {
    let mut log = Log::new();
    let mut reload = upgrade(1, 100, 110);
    reload.kind = "http".to_owned();
    reload.detail = json!({ "generation": 2 });
    log.event(reload);
    for (sent_ms, config) in [(50, 1), (105, 2), (115, 1), (140, 1), (150, 2)] {
        log.good(sent_ms, sent_ms + 1).last().config = config;
    }
    let text = plain(&log);
    check_width(&text);
    let section = text.split("\n\n").find(|section| section.starts_with("PROPAGATION")).unwrap();
    insta::assert_snapshot!(section, @"
    PROPAGATION                                       p50 ms          max ms
      push: first new                                  6.000           6.000
      push: last old                                   41.00           41.00
      push: in effect                                  40.00           40.00
      2 answers from before an acknowledged change; the last to a request sent 30.00
      ms after it.
    ");
}

/// Nothing measured at all still makes a report, of dashes.
#[test]
fn nothing() {
    let text = plain(&Log::new());
    check_width(&text);
    assert!(text.starts_with("INCONCLUSIVE (exit code 4)  upgrade\n0 of 0 requests failed"), "{text}");
}

/// Large figures, long names and many windows still fit.
#[test]
fn everything_is_large() {
    let mut log = failing();
    log.observations.plan.load.streams[0].name = "a-stream-with-a-very-long-name".to_owned();
    for number in 0..40 {
        log.steady(REUSED, 10_000 + number * 20, 10_010 + number * 20);
        log.push(REUSED, 10_015 + number * 20, 10_016 + number * 20, Cause::Eof);
    }
    log.observations.events[1].id = "an-event-with-a-very-long-name".to_owned();
    let mut report = report(&log);
    report.requests.total = 10_000_000_000;
    report.requests.failed = 9_999_999_999;
    report.connections.new.opened = 10_000_000_000;
    report.latency_ms.intended.max = Some(86_400_000.0);
    report.downtime.windows[0].from_ms = 86_400_000.0;
    report.downtime.windows[0].upper_ms = 86_400_000.0;
    let text = render(&report, FOLDER, Paint::Plain);
    check_width(&text);
    assert!(text.contains("more in report.json"), "{text}");
}

/// Colour adds escape sequences to words and changes nothing else.
#[test]
fn colour_is_only_paint() {
    let painted = render(&report(&failing()), FOLDER, Paint::Colour);
    assert!(painted.starts_with("\u{1b}[1;31mFAIL\u{1b}[0m (exit code 5)"));
    let mut bare = painted;
    for code in ["\u{1b}[1;31m", "\u{1b}[1;32m", "\u{1b}[1;33m", "\u{1b}[0m"] {
        bare = bare.replace(code, "");
    }
    assert_eq!(bare, plain(&failing()));
}
