//! `seckill config`: what is served, how it changed, and the documents themselves.

use std::io::{self, Write};

use clap::{Args, ValueEnum};
use http::StatusCode;

use super::{Ending, FileArgument, client, client::Question, render, unreachable};
use crate::config::Config;

#[derive(Debug, Args)]
pub(super) struct ConfigArguments {
    /// More than the summary; the documents can be edited and pushed.
    #[arg(value_enum)]
    what: Option<What>,
    #[command(flatten)]
    pub(super) file: FileArgument,
    /// Print the server's answer as it is.
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum What {
    History,
    Activities,
    Cluster,
}

pub(super) fn show(
    config: &Config,
    arguments: &ConfigArguments,
    out: &mut dyn Write,
    errors: &mut dyn Write,
) -> io::Result<Ending> {
    let path = match arguments.what {
        None => "/config",
        Some(What::History) => "/config/history",
        Some(What::Activities) => "/config/activities",
        Some(What::Cluster) => "/config/cluster",
    };
    let answer = match client::ask(config, &Question::get(path)) {
        Ok(answer) => answer,
        Err(error) => return unreachable(errors, &error),
    };
    if answer.status != StatusCode::OK && !arguments.json {
        writeln!(errors, "seckill: {}", answer.problem())?;
        return Ok(Ending::Failed);
    }
    match arguments.what {
        _ if arguments.json => writeln!(out, "{}", answer.text())?,
        None => write!(out, "{}", render::config(&answer.json()))?,
        Some(What::History) => write!(out, "{}", render::history(&answer.json()))?,
        // For an editor; pushed again it is the same, however it is spaced.
        Some(What::Activities | What::Cluster) => writeln!(out, "{:#}", answer.json())?,
    }
    Ok(if answer.status == StatusCode::OK { Ending::Done } else { Ending::Failed })
}
