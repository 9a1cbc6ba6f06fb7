//! The command line as a user meets it: what is printed where, and the exit code.

use std::{
    fs,
    path::Path,
    process::{Command, Output},
};

use crate::server::BINARY;

const LEAST: &str = "[api]\nbind = \"127.0.0.1:1\"\n[admin]\nbind = \"127.0.0.1:2\"\n";

fn seckill(folder: &Path, arguments: &str) -> Output {
    Command::new(BINARY).args(arguments.split(' ')).current_dir(folder).output().unwrap()
}

/// Exit code, standard output and standard error.
pub(crate) fn run(folder: &Path, arguments: &str) -> (i32, String, String) {
    let output = seckill(folder, arguments);
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    (output.status.code().unwrap(), text(output.stdout), text(output.stderr))
}

fn folder_with(settings: &str) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("s.toml"), settings).unwrap();
    folder
}

#[test]
fn a_file_without_faults_takes_one_line() {
    let folder = folder_with(LEAST);
    let expected = (0, "s.toml has no faults\n".to_owned(), String::new());
    assert_eq!(run(folder.path(), "check-config s.toml"), expected);
}

#[test]
fn every_command_tells_all_faults_of_its_file_and_ends_with_2() {
    let folder = folder_with("[api]\nbind = \"8080\"\n[admin]\nbnid = \"127.0.0.1:2\"\n");
    let faults = "s.toml:2:8: api.bind: expected an IP address and a port, found \"8080\": invalid socket \
        address syntax\n  hint: write bind = \"127.0.0.1:8080\"\n\
        s.toml:3:1: admin.bind: missing key\n  hint: write bind = \"127.0.0.1:8081\"\n\
        s.toml:4:1: admin.bnid: unknown key\n  hint: did you mean `bind`?\n";
    for command in [
        "check-config s.toml",
        "serve -c s.toml",
        "token -c s.toml --user 1",
        "status -c s.toml",
        "config -c s.toml",
        "push cluster x -c s.toml",
        "upgrade -c s.toml --binary x",
    ] {
        assert_eq!(run(folder.path(), command), (2, String::new(), faults.to_owned()), "{command}");
    }
    let (code, out, error) = run(folder.path(), "check-config absent.toml");
    assert_eq!((code, out.as_str()), (2, ""));
    assert!(error.starts_with("seckill: failed to read the configuration file absent.toml: "), "{error}");
}

#[test]
fn tokens_come_one_per_line_in_the_order_of_the_users() {
    let folder = folder_with(LEAST);
    let (code, out, error) = run(folder.path(), "token -c s.toml --users 8-12 --valid-for 90m");
    assert_eq!((code, error.as_str()), (0, ""));
    let users: Vec<&str> = out.lines().map(|token| token.split('.').nth(1).unwrap()).collect();
    assert_eq!(users, ["8", "9", "10", "11", "12"]);
    let mac = |token: &str| token.split('.').nth(3).unwrap().len();
    assert!(out.lines().all(|token| token.starts_with("v1.") && mac(token) == 43), "{out}");
    // The key was made by this call, and is used by the next.
    let secret = fs::read_to_string(folder.path().join(".token-secret")).unwrap();
    let (code, out, _) = run(folder.path(), "token -c s.toml --user 8");
    assert_eq!((code, out.lines().count()), (0, 1));
    assert_eq!(fs::read_to_string(folder.path().join(".token-secret")).unwrap(), secret);
}

#[test]
fn a_server_that_is_not_there_is_told_from_one_that_refuses() {
    let folder = folder_with(LEAST);
    let (code, _, error) = run(folder.path(), "status -c s.toml");
    assert_eq!(code, 1, "{error}");
    assert!(error.contains("run this in the server's working directory"), "{error}");
    fs::write(folder.path().join(".admin-token"), "a token of enough characters\n").unwrap();
    for command in [
        "status -c s.toml",
        "config history -c s.toml",
        "push cluster s.toml -c s.toml",
        "upgrade -c s.toml --binary x",
        "upgrade -c s.toml --binary x --json",
    ] {
        let (code, out, error) = run(folder.path(), command);
        assert_eq!((code, out.as_str()), (3, ""), "{command}");
        assert!(error.contains("failed to reach the server at 127.0.0.1:2; is it running?"), "{error}");
    }
}

#[test]
fn wrong_arguments_end_with_2_and_help_with_0() {
    let folder = folder_with(LEAST);
    for wrong in [
        "serve",
        "fly",
        "push cluster x -c s.toml --if-digest ?",
        "push cluster s.toml --delta -c s.toml",
        "token -c s.toml",
        "token -c s.toml --users 5-1",
        "upgrade -c s.toml",
    ] {
        assert_eq!(run(folder.path(), wrong).0, 2, "{wrong}");
    }
    let (code, out, _) = run(folder.path(), "--version");
    assert_eq!(code, 0);
    assert!(out.starts_with("seckill "), "{out}");
    let (code, out, _) = run(folder.path(), "--help");
    assert_eq!(code, 0);
    assert!(out.lines().all(|line| line.chars().count() <= 100), "{out}");
}
