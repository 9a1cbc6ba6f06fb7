//! `seckill push`: changes what is served, on one node or on all.

use std::{
    fs,
    io::{self, Read as _, Write},
    path::{Path, PathBuf},
    time::Duration,
};

use clap::{Args, ValueEnum};
use http::{Method, StatusCode};

use super::{Ending, FileArgument, client, client::Question, fail, render, unreachable};
use crate::{config::Config, state::Datum};

/// How long the server may work on the largest body, and on the slowest node.
const WORK: Duration = Duration::from_secs(20);

#[derive(Debug, Args)]
pub(super) struct PushArguments {
    /// What is to be changed.
    #[arg(value_enum)]
    what: What,
    /// The file with the new content; -: standard input.
    #[arg(value_name = "FILE")]
    content: PathBuf,
    #[command(flatten)]
    pub(super) file: FileArgument,
    /// The file has lines +ID and -ID that change the blacklist.
    #[arg(long)]
    delta: bool,
    /// Check it and tell what would change, and change nothing.
    #[arg(long)]
    dry_run: bool,
    /// Only if generation G is served.
    #[arg(long, value_name = "G")]
    if_match: Option<u64>,
    /// Only if what is served of this kind has digest D.
    #[arg(long, value_name = "D", value_parser = parse_digest)]
    if_digest: Option<String>,
    /// On all nodes. Each counts generations of its own, so that --if-digest must do.
    #[arg(long, conflicts_with = "if_match")]
    all_nodes: bool,
    /// Print the server's answer as it is.
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum What {
    Blacklist,
    Cluster,
    Activities,
}

pub(super) fn push(
    config: &Config,
    arguments: &PushArguments,
    out: &mut dyn Write,
    errors: &mut dyn Write,
) -> io::Result<Ending> {
    let datum = arguments.what.datum();
    if arguments.delta && datum != Datum::Blacklist {
        fail(errors, format_args!("push a delta of the {datum}: only the blacklist takes one"))?;
        return Ok(Ending::Faults);
    }
    let body = match read(&arguments.content) {
        Ok(body) => body,
        Err(error) => return fail(errors, format_args!("read {}: {error}", arguments.content.display())),
    };
    let answer = match client::ask(config, &question(arguments, body)) {
        Ok(answer) => answer,
        Err(error) => return unreachable(errors, &error),
    };
    let json = answer.json();
    match (arguments.json, answer.status, json["nodes"].is_array()) {
        (true, ..) => writeln!(out, "{}", answer.text())?,
        // Some may have taken it, and whoever reads the results wants to know which.
        (false, _, true) => write!(out, "{}", render::published(datum.word(), &json))?,
        (false, StatusCode::OK, _) => write!(out, "{}", render::pushed(datum.word(), &json))?,
        (false, ..) => writeln!(errors, "seckill: {}", answer.problem())?,
    }
    Ok(if answer.status == StatusCode::OK { Ending::Done } else { Ending::Failed })
}

fn question(arguments: &PushArguments, body: Vec<u8>) -> Question {
    let datum = arguments.what.datum();
    let digest = arguments.if_digest.as_ref().map(|digest| format!("expected-digest={digest}"));
    let switches = [(arguments.delta, "delta"), (arguments.dry_run, "dry-run")];
    let keys = switches.iter().filter(|(on, _)| *on).map(|(_, key)| (*key).to_owned()).chain(digest);
    let query = keys.collect::<Vec<_>>().join("&");
    let (method, room) = if arguments.all_nodes { (Method::POST, "publish/") } else { (Method::PUT, "") };
    let mark = if query.is_empty() { "" } else { "?" };
    let path = format!("/config/{room}{datum}{mark}{query}");
    let content_type = if datum == Datum::Blacklist { "text/plain" } else { "application/json" };
    Question {
        if_match: arguments.if_match.map(|generation| format!("\"{generation}\"")),
        // Refused by a process that is being replaced it has not happened, and may be sent again.
        insists: !arguments.all_nodes,
        ..Question::new(method, path, content_type, body.into(), WORK)
    }
}

fn read(path: &Path) -> io::Result<Vec<u8>> {
    if path != Path::new("-") {
        return fs::read(path);
    }
    let mut body = Vec::new();
    io::stdin().lock().read_to_end(&mut body)?;
    Ok(body)
}

fn parse_digest(text: &str) -> Result<String, &'static str> {
    let is_digest = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_hexdigit());
    if is_digest { Ok(text.to_owned()) } else { Err("it has hexadecimal digits only") }
}

impl What {
    fn datum(self) -> Datum {
        match self {
            Self::Blacklist => Datum::Blacklist,
            Self::Cluster => Datum::Cluster,
            Self::Activities => Datum::Activities,
        }
    }
}
