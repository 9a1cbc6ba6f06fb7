//! The command line of `seckill`.
//!
//! Exit codes: 0 it is done; 1 it failed or was refused; 2 the arguments or the configuration file have
//! faults; 3 the server cannot be reached. Results go to standard output, reasons to standard error.

mod client;
mod push;
mod render;
mod show;

use std::{
    ffi::OsString,
    fmt::Display,
    io::{self, Write},
    ops::RangeInclusive,
    path::{Path, PathBuf},
    process::ExitCode,
};

use clap::{Args, Parser, Subcommand};
use http::{Method, StatusCode};
use jiff::SignedDuration;

use self::client::Question;
#[cfg(debug_assertions)]
use crate::faults;
use crate::{
    clock,
    config::{self, Config},
    identity,
    lifecycle::{self, UpgradeReport},
    seckill::{ID_MAX, UserId},
    secrets, telemetry,
};

/// A flash-sale service that takes every kind of hot update while it serves.
#[derive(Debug, Parser)]
#[command(name = "seckill", arg_required_else_help = true, subcommand_required = false)]
struct Arguments {
    /// Print the release label.
    #[arg(long, short = 'V')]
    version: bool,
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Serve until told to stop, or until another binary takes over.
    Serve(FileArgument),
    /// Check a configuration file and tell all of its faults.
    CheckConfig { file: PathBuf },
    /// Print users' tokens, one per line.
    Token(TokenArguments),
    /// Replace the program of the server that runs, and tell what became of it.
    Upgrade {
        #[command(flatten)]
        file: FileArgument,
        #[command(flatten)]
        to: Program,
        /// Print the server's answer as it is.
        #[arg(long)]
        json: bool,
    },
    /// Tell how the server that runs stands.
    Status {
        #[command(flatten)]
        file: FileArgument,
        /// Print the server's answer as it is.
        #[arg(long)]
        json: bool,
    },
    /// Tell which configuration the server that runs serves, and how it changed.
    Config(show::ConfigArguments),
    /// Change what the server that runs serves, or what all nodes serve.
    Push(push::PushArguments),
}

#[derive(Debug, Args)]
struct FileArgument {
    /// The configuration file.
    #[arg(short = 'c', long = "config", value_name = "FILE")]
    config: PathBuf,
}

#[derive(Debug, Args)]
#[group(required = true, multiple = false)]
struct Program {
    /// The program that is to take over.
    #[arg(long, value_name = "PATH")]
    binary: Option<PathBuf>,
    /// Go back to the program that served before this one.
    #[arg(long)]
    rollback: bool,
}

#[derive(Debug, Args)]
struct TokenArguments {
    #[command(flatten)]
    file: FileArgument,
    #[command(flatten)]
    users: Users,
    /// How long the tokens are good, such as 90m or 24h.
    #[arg(long, value_name = "DURATION", default_value = "24h")]
    valid_for: SignedDuration,
}

#[derive(Debug, Args)]
#[group(required = true, multiple = false)]
struct Users {
    /// One user's id.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(..=ID_MAX))]
    user: Option<u64>,
    /// The ids of many users, both ends included.
    #[arg(long, value_name = "A-B", value_parser = parse_range)]
    users: Option<RangeInclusive<u64>>,
}

/// How it ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Ending {
    Done = 0,
    Failed = 1,
    Faults = 2,
    Unreachable = 3,
}

/// Does what the arguments say.
#[must_use]
pub fn run(arguments: impl IntoIterator<Item = OsString>) -> ExitCode {
    let (mut out, mut errors) = (io::stdout().lock(), io::stderr());
    let arguments = match Arguments::try_parse_from(arguments) {
        Ok(arguments) => arguments,
        Err(error) => {
            // Nothing is left to do for a reader who has closed the pipe.
            drop(error.print());
            return ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(Ending::Faults as u8));
        }
    };
    let ending = obey(arguments, &mut out, &mut errors).unwrap_or(Ending::Failed);
    ExitCode::from(ending as u8)
}

/// # Errors
/// The output cannot be written: its reader has gone.
fn obey(arguments: Arguments, out: &mut dyn Write, errors: &mut dyn Write) -> io::Result<Ending> {
    if arguments.version {
        writeln!(out, "seckill {}", identity::release_label())?;
        return Ok(Ending::Done);
    }
    match arguments.command {
        None => Ok(Ending::Done),
        Some(Command::Serve(file)) => with_config(&file.config, errors, serve),
        Some(Command::CheckConfig { file }) => with_config(&file, errors, |config, _| {
            writeln!(out, "{} has no faults", config.source.display())?;
            Ok(Ending::Done)
        }),
        Some(Command::Token(arguments)) => with_config(&arguments.file.config, errors, |config, errors| {
            token(&config, &arguments, out, errors)
        }),
        Some(Command::Upgrade { file, to, json }) => {
            with_config(&file.config, errors, |config, errors| upgrade(&config, &to, json, out, errors))
        }
        Some(Command::Status { file, json }) => {
            with_config(&file.config, errors, |config, errors| status(&config, json, out, errors))
        }
        Some(Command::Config(arguments)) => with_config(&arguments.file.config, errors, |config, errors| {
            show::show(&config, &arguments, out, errors)
        }),
        Some(Command::Push(arguments)) => with_config(&arguments.file.config, errors, |config, errors| {
            push::push(&config, &arguments, out, errors)
        }),
    }
}

/// Goes on with the settings, or tells what is wrong with them.
fn with_config(
    path: &Path,
    errors: &mut dyn Write,
    then: impl FnOnce(Config, &mut dyn Write) -> io::Result<Ending>,
) -> io::Result<Ending> {
    match config::load(path) {
        Ok(config) => then(config, errors),
        Err(config::Error::Faults { faults, .. }) => {
            writeln!(errors, "{faults}")?;
            Ok(Ending::Faults)
        }
        Err(error @ config::Error::Read { .. }) => {
            complain(errors, &error)?;
            Ok(Ending::Faults)
        }
    }
}

fn serve(config: Config, errors: &mut dyn Write) -> io::Result<Ending> {
    telemetry::log_to_stderr(config.global.log_level);
    #[cfg(debug_assertions)]
    if let Err(error) = faults::arm() {
        complain(errors, &error)?;
        return Ok(Ending::Faults);
    }
    match lifecycle::serve(config) {
        Ok(()) => Ok(Ending::Done),
        Err(error) => {
            complain(errors, &error)?;
            Ok(Ending::Failed)
        }
    }
}

fn token(
    config: &Config,
    arguments: &TokenArguments,
    out: &mut dyn Write,
    errors: &mut dyn Write,
) -> io::Result<Ending> {
    let expiry = match clock::now().checked_add(arguments.valid_for) {
        Ok(expiry) => expiry,
        Err(error) => return fail(errors, format_args!("{error}")),
    };
    let key = match secrets::load_token_key(&config.auth.secret_file) {
        Ok(key) => key,
        Err(error) => {
            complain(errors, &error)?;
            return Ok(Ending::Failed);
        }
    };
    let one = arguments.users.user.map(|user| user..=user);
    for user in one.or_else(|| arguments.users.users.clone()).into_iter().flatten() {
        writeln!(out, "{}", key.mint(UserId(user), expiry))?;
    }
    Ok(Ending::Done)
}

fn upgrade(
    config: &Config,
    to: &Program,
    json: bool,
    out: &mut dyn Write,
    errors: &mut dyn Write,
) -> io::Result<Ending> {
    let (path, body) = match &to.binary {
        // The arguments have one of the two.
        None => ("/upgrade?rollback", String::new()),
        // The server may have another working directory.
        Some(binary) => match std::path::absolute(binary) {
            Ok(binary) => ("/upgrade", serde_json::json!({ "binary": binary }).to_string()),
            Err(error) => return fail(errors, format_args!("use the path {}: {error}", binary.display())),
        },
    };
    // The server gives up before we do.
    let work = config.upgrade.longest();
    let question = Question::new(Method::POST, path, "application/json", body.into(), work);
    let answer = match client::ask(config, &question) {
        Ok(answer) => answer,
        Err(error) => return unreachable(errors, &error),
    };
    match (json, serde_json::from_slice::<UpgradeReport>(&answer.body)) {
        (true, _) => writeln!(out, "{}", answer.text())?,
        (false, Ok(report)) => write!(out, "{}", render::upgrade(&report))?,
        (false, Err(_)) => writeln!(errors, "seckill: {}", answer.problem())?,
    }
    Ok(if answer.status == StatusCode::OK { Ending::Done } else { Ending::Failed })
}

fn status(config: &Config, json: bool, out: &mut dyn Write, errors: &mut dyn Write) -> io::Result<Ending> {
    let answer = match client::ask(config, &Question::get("/status")) {
        Ok(answer) => answer,
        Err(error) => return unreachable(errors, &error),
    };
    match (json, answer.status) {
        (true, _) => writeln!(out, "{}", answer.text())?,
        (false, StatusCode::OK) => write!(out, "{}", render::status(&answer.json()))?,
        (false, _) => writeln!(errors, "seckill: {}", answer.problem())?,
    }
    Ok(if answer.status == StatusCode::OK { Ending::Done } else { Ending::Failed })
}

fn unreachable(errors: &mut dyn Write, error: &client::Error) -> io::Result<Ending> {
    complain(errors, error)?;
    Ok(match error {
        client::Error::Secret(_) => Ending::Failed,
        client::Error::Connect { .. } | client::Error::Broken(_) | client::Error::Silent(_) => {
            Ending::Unreachable
        }
    })
}

fn fail(errors: &mut dyn Write, reason: impl Display) -> io::Result<Ending> {
    writeln!(errors, "seckill: failed to {reason}")?;
    Ok(Ending::Failed)
}

/// The error and its causes in one line.
fn complain(errors: &mut dyn Write, error: &dyn std::error::Error) -> io::Result<()> {
    writeln!(errors, "seckill: failed to {}", telemetry::chain(error))
}

fn parse_range(text: &str) -> Result<RangeInclusive<u64>, String> {
    let number = |text: &str| text.parse().ok().filter(|&id: &u64| id <= ID_MAX);
    match text.split_once('-').map(|(from, to)| (number(from), number(to))) {
        Some((Some(from), Some(to))) if from <= to => Ok(from..=to),
        Some((Some(_), Some(_))) => Err("the first id must not be larger than the last".to_owned()),
        _ => Err("write it like 1-500".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn range(text: &str) -> Option<RangeInclusive<u64>> {
        parse_range(text).ok()
    }

    #[test]
    fn ranges_of_users() {
        assert_eq!(range("1-500"), Some(1..=500));
        assert_eq!(range("7-7"), Some(7..=7));
        for bad in ["", "7", "5-4", "a-b", "-5", "1-", "1-9223372036854775808"] {
            assert_eq!(range(bad), None, "{bad}");
        }
    }

    #[test]
    fn the_arguments_fit_together() {
        use clap::CommandFactory as _;
        Arguments::command().debug_assert();
        let parse = |line: &str| Arguments::try_parse_from(line.split(' '));
        assert!(parse("seckill token -c f --user 1").is_ok());
        assert!(parse("seckill token -c f --users 1-5 --valid-for 2h30m").is_ok());
        assert!(parse("seckill token -c f").is_err(), "for nobody");
        assert!(parse("seckill token -c f --user 1 --users 1-5").is_err(), "for whom");
        assert!(parse("seckill upgrade -c f").is_err(), "to what");
        assert!(parse("seckill upgrade -c f --rollback --json").is_ok());
        assert!(parse("seckill upgrade -c f --rollback --binary b").is_err(), "to which");
        assert!(parse("seckill --version").is_ok());
        assert!(parse("seckill config -c f").is_ok());
        assert!(parse("seckill config history -c f --json").is_ok());
        assert!(parse("seckill config nodes -c f").is_err(), "they are part of the rest");
        assert!(parse("seckill push blacklist - -c f --delta --dry-run --if-match 7").is_ok());
        assert!(parse("seckill push nodes f -c f").is_err(), "they register themselves");
        assert!(parse("seckill push cluster -c f").is_err(), "what");
        assert!(
            parse("seckill push cluster d -c f --all-nodes --if-match 7").is_err(),
            "each counts its own"
        );
        assert!(parse("seckill push cluster d -c f --all-nodes --if-digest 7f").is_ok());
    }
}
