//! `harness plan`: what would happen, for people, within 80 columns.

use crate::{
    observe::word,
    plan::{
        Action, Arrival, By, Client, CommandPlan, ConnectionMode, EventPlan, ExternalPlan, Fault,
        FaultAction, FeedPlan, Gate, HttpAction, Kept, LoadPlan, Origin, Plan, ReferencePlan, ReloadAction,
        ServicesPlan, Side, Stage, Storm, StreamPlan, TargetPlan, TlsPlan, planned_of,
    },
    scenario::show_ns,
};

use super::text::{Align, WIDTH, table, wrap};

/// Everything that a run of this plan would do, events at regular times drawn together.
pub(super) fn describe(plan: &Plan) -> String {
    let mut text = format!("{}\n", plan.scenario);
    for line in wrap(&plan.description, WIDTH) {
        text += &format!("{line}\n");
    }
    text += "\n";
    let head = [
        ("target", describe_target(&plan.target)),
        ("load", describe_load(&plan.load)),
        ("stages", describe_stages(&plan.load.stages)),
        ("seed", plan.seed.to_string()),
        ("fingerprint", plan.fingerprint()),
    ];
    let told = head.into_iter().filter(|(_, value)| !value.is_empty());
    let head: Vec<Vec<String>> = told.map(|(name, value)| vec![name.to_owned(), value]).collect();
    text += &table(&[Align::Left, Align::Left], &head);
    text += "\n";
    text += &describe_streams(&plan.load, plan.seed);
    text += "\n";
    text += &describe_events(&plan.events);
    text += "\n";
    text += &describe_gates(&plan.gates);
    text
}

fn describe_target(target: &TargetPlan) -> String {
    match target {
        TargetPlan::Reference(reference) => describe_reference(reference),
        TargetPlan::Command(CommandPlan { command, ready_path, ready_timeout_ms, at }) => {
            let within = show_ns(ready_timeout_ms * 1_000_000);
            format!("command `{command}`, ready within {within} ({ready_path}), {}", describe_place(at))
        }
        TargetPlan::External(external) => format!("external, {}", describe_place(external)),
    }
}

fn describe_place(at: &ExternalPlan) -> String {
    let url = &at.url;
    match &at.tls {
        None => url.clone(),
        Some(TlsPlan { ca: Some(ca) }) => format!("{url}, its certificate signed by {}", ca.display()),
        Some(TlsPlan { ca: None }) => format!("{url}, its certificate not checked"),
    }
}

fn describe_reference(reference: &ReferencePlan) -> String {
    let ReferencePlan {
        strategy,
        old,
        new,
        users,
        sale_events,
        stock,
        limit_per_user,
        faults,
        upgrade,
        blacklist,
        listed,
        reload,
        services,
    } = reference;
    let mut text = format!(
        "reference, strategy {strategy}; {users} users, {sale_events} sale events, {stock} of each good in \
         stock, {limit_per_user} per user"
    );
    for (name, path) in [("old", old), ("new", new)] {
        if let Some(path) = path {
            text += &format!("; {name} {}", path.display());
        }
    }
    if !faults.is_empty() {
        text += &format!("; broken by {}", faults.join(", "));
    }
    for (key, value) in upgrade {
        text += &format!("; {key} {value}");
    }
    if *listed > 0 || !reload.is_empty() {
        text += &format!("; {blacklist} ids and {listed} of the users on the blacklist");
    }
    for (datum, FeedPlan { by, from, every_ms }) in reload {
        text += &format!("; {} by {}", datum.word(), by.word());
        match from {
            Kept::Http => text += " from an address",
            Kept::Etcd if *by != By::Etcd => text += " from etcd",
            Kept::File | Kept::Etcd => {}
        }
        if let Some(every_ms) = every_ms {
            text += &format!(" every {every_ms} ms");
        }
    }
    text + &describe_services(services)
}

fn describe_services(services: &ServicesPlan) -> String {
    let ServicesPlan { from, needed, linked, images } = services;
    let mut text = String::new();
    for service in needed {
        let word = service.word();
        text += &match from {
            Origin::Auto => format!("; {word} as it can be had"),
            Origin::Containers => format!("; {word} as a container"),
            Origin::Processes => format!("; {word} as a process"),
            Origin::External { access } => {
                format!("; {word} at {}", access.get(service).map_or("", |access| &access.address))
            }
        };
        if let Some(image) = images.get(service) {
            text += &format!(" of {image}");
        }
        if linked.contains(service) {
            text += " behind a link";
        }
    }
    text
}

fn describe_load(load: &LoadPlan) -> String {
    let LoadPlan {
        duration_ns,
        warmup_ns,
        timeout_ns,
        slow_ns,
        in_flight_max,
        coalesce_ns,
        stages: _,
        control_rate,
        streams: _,
    } = load;
    let coalesce = if *coalesce_ns == 0 {
        String::new()
    } else {
        format!("; sent in bunches of {}", show_ns(*coalesce_ns))
    };
    let warmup = if *warmup_ns == 0 {
        "without warm-up".to_owned()
    } else {
        format!("the first {} not counted", show_ns(*warmup_ns))
    };
    let control = if *control_rate > 0.0 { format!("{control_rate}/s") } else { "nothing".to_owned() };
    format!(
        "{}, {warmup}; failed after {}, slow after {}; at most {in_flight_max} in flight{coalesce}; {control} \
         to the control target",
        show_ns(*duration_ns),
        show_ns(*timeout_ns),
        show_ns(*slow_ns)
    )
}

/// Steps and ramps one after the other; nothing when the rates are constant.
fn describe_stages(stages: &[Stage]) -> String {
    let percent = |factor: f64| format!("{} %", show_rate(factor * 100.0));
    let describe = |stage: &Stage| {
        let (from, to) = (percent(stage.from), percent(stage.to));
        let level = if from == to { from } else { format!("{from} to {to}") };
        format!("{level} for {}", show_ns(stage.duration_ns))
    };
    stages.iter().map(describe).collect::<Vec<_>>().join(", ")
}

fn describe_streams(load: &LoadPlan, seed: u64) -> String {
    let mut rows = vec![
        ["stream", "connection", "rate/s", "arrival", "planned", "requests"].map(str::to_owned).to_vec(),
    ];
    let (mut rate, mut planned) = (0.0, 0);
    for (index, stream) in load.streams.iter().enumerate() {
        let of_stream = planned_of(load, index, stream, seed);
        let closed = stream.arrival == Arrival::Closed;
        rate += stream.rate;
        planned += of_stream;
        rows.push(vec![
            stream.name.clone(),
            describe_connection(stream),
            if closed { "-".to_owned() } else { show_rate(stream.rate) },
            format!("{:?}", stream.arrival).to_lowercase(),
            if closed { "-".to_owned() } else { of_stream.to_string() },
            describe_requests(stream),
        ]);
    }
    rows.push(vec![
        "total".to_owned(),
        String::new(),
        show_rate(rate),
        String::new(),
        planned.to_string(),
        String::new(),
    ]);
    table(&[Align::Left, Align::Left, Align::Right, Align::Left, Align::Right, Align::Left], &rows)
}

fn describe_connection(stream: &StreamPlan) -> String {
    let word = stream.connection.word();
    let mut text = match stream.connection {
        ConnectionMode::New => word.to_owned(),
        ConnectionMode::Reused { connections } => format!("{connections} {word}"),
        ConnectionMode::Idle { connections, wait_ns } => format!("{connections} {word} {}", show_ns(wait_ns)),
        ConnectionMode::ConnectWait { wait_ns } => format!("{word} {}", show_ns(wait_ns)),
        ConnectionMode::Pipelined { connections, depth } => format!("{connections} {word} x{depth}"),
    };
    match stream.client {
        Client::Http1 => {}
        client @ (Client::Http2 | Client::Reqwest) => text += &format!(", {}", client.word()),
    }
    for (what, over_ns) in [("upload", stream.pace.upload_ns), ("download", stream.pace.download_ns)] {
        if over_ns > 0 {
            text += &format!(", {what} {}", show_ns(over_ns));
        }
    }
    text
}

/// Up to three decimals, none that say nothing.
fn show_rate(rate: f64) -> String {
    let text = format!("{rate:.3}");
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

fn describe_requests(stream: &StreamPlan) -> String {
    match stream.requests.as_slice() {
        [request] => request.name.clone(),
        requests => {
            let weighted = requests.iter().map(|request| format!("{} {}", request.name, request.weight));
            weighted.collect::<Vec<_>>().join(", ")
        }
    }
}

/// Neighbouring events with the same action at regular times.
struct Group<'p> {
    events: &'p [EventPlan],
    gap_ns: u64,
}

fn describe_events(events: &[EventPlan]) -> String {
    if events.is_empty() {
        return "no events\n".to_owned();
    }
    let mut rows = vec![["events", "first", "every", "action"].map(str::to_owned).to_vec()];
    for Group { events, gap_ns } in groups(events) {
        let [first, rest @ ..] = events else { continue };
        let (ids, every) = match rest.last() {
            Some(last) => (format!("{} to {}", first.id, last.id), show_ns(gap_ns)),
            None => (first.id.clone(), "once".to_owned()),
        };
        rows.push(vec![ids, show_ns(first.at_ns), every, describe_action(&first.action)]);
    }
    table(&[Align::Left; 4], &rows)
}

fn groups(events: &[EventPlan]) -> Vec<Group<'_>> {
    let mut groups = Vec::new();
    let mut rest = events;
    while let [first, ..] = rest {
        let gap_ns = rest.get(1).map_or(0, |second| second.at_ns - first.at_ns);
        let follows =
            |pair: &&[EventPlan]| pair[1].action == first.action && pair[1].at_ns - pair[0].at_ns == gap_ns;
        let length = 1 + rest.windows(2).take_while(follows).count();
        let (group, after) = rest.split_at(length);
        groups.push(Group { events: group, gap_ns });
        rest = after;
    }
    groups
}

fn describe_action(action: &Action) -> String {
    match action {
        Action::Upgrade { binary, expect_ok } => {
            let binary = binary.as_ref().map_or_else(String::new, |path| format!(" to {}", path.display()));
            let expected = if *expect_ok { "" } else { ", which has to fail" };
            format!("upgrade{binary}{expected}")
        }
        Action::Exec { command, timeout_ms } => {
            format!("exec `{command}` within {}", show_ns(timeout_ms * 1_000_000))
        }
        Action::Http(HttpAction { side, method, path, .. }) => match side {
            Side::Public => format!("{method} {path}"),
            Side::Admin => format!("{method} {path} on the admin side"),
        },
        Action::Signal { signal, pid_file } => {
            let to = pid_file
                .as_ref()
                .map_or_else(|| "the target".to_owned(), |path| format!("the process in {}", path.display()));
            format!("signal {signal} to {to}")
        }
        Action::Reload(action) => describe_reload(action),
        Action::Fault(action) => describe_fault(action),
    }
}

fn describe_fault(FaultAction { of, fault, for_ms }: &FaultAction) -> String {
    let (of, lasts) = (of.word(), show_ns(for_ms * 1_000_000));
    match fault {
        Fault::Kill => format!("kill {of} for {lasts}"),
        Fault::Pause => format!("stop {of} for {lasts}"),
        Fault::Partition => format!("cut the link to {of} for {lasts}"),
        Fault::Reset => format!("reset the link to {of} for {lasts}"),
        Fault::Slow { latency_ms, bandwidth } => {
            let mut text = format!("slow the link to {of} down for {lasts}");
            if *latency_ms > 0 {
                text += &format!(", {latency_ms} ms each way");
            }
            if let Some(bandwidth) = bandwidth {
                text += &format!(", {bandwidth} bytes per second");
            }
            text
        }
        Fault::Compact => format!("compact {of}"),
    }
}

fn describe_reload(action: &ReloadAction) -> String {
    let ReloadAction { datum, by, kept, how, bad, storm, delta, single_key, rest_ms, timeout_ms: _ } = action;
    let mut text = format!("{} by {}", datum.word(), by.word());
    if *kept == Some(Kept::File) {
        text += &format!(", {}", word(how));
    }
    for (is_so, what) in [(*delta, "the difference"), (*single_key, "a single key")] {
        if is_so {
            text += &format!(", {what}");
        }
    }
    if let Some(Storm { changes, within_ms }) = storm {
        text += &format!(", {changes} changes in {}", show_ns(within_ms * 1_000_000));
    }
    if *rest_ms > 0 {
        text += &format!(", then nothing asked for {}", show_ns(rest_ms * 1_000_000));
    }
    if let Some(bad) = bad {
        text += &format!(", {}, which has to be refused", word(bad));
    }
    text
}

fn describe_gates(gates: &[Gate]) -> String {
    let mut rows = vec![["gate", "limit"].map(str::to_owned).to_vec()];
    for gate in gates {
        let value = serde_json::to_value(gate).expect("a gate must be expressible in JSON");
        let name = value["gate"].as_str().unwrap_or_default().to_owned();
        let limit = value["limit"].to_string();
        rows.push(vec![name, limit.strip_suffix(".0").map_or(limit.clone(), str::to_owned)]);
    }
    table(&[Align::Left, Align::Right], &rows)
}
