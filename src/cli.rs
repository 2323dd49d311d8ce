//! The command line: one file per command.

use std::fmt::Display;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

pub mod dev;
// pub mod init; (needs policy::templates)
pub mod token;

/// An authorization gateway that lets PostgreSQL itself decide who sees which row
#[derive(Debug, Parser)]
#[command(name = "rowgate", version)]
#[allow(clippy::doc_markdown, reason = "this is the text of --help")]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Dev(dev::Args),
    Token(token::Args),
}

/// Runs the command that the arguments name.
pub async fn run() -> ExitCode {
    match Cli::parse().command {
        Command::Dev(args) => report(dev::run(args).await),
        Command::Token(args) => report(token::run(args).await),
    }
}

fn report(outcome: Result<(), impl Display>) -> ExitCode {
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("rowgate: {error}");
            ExitCode::FAILURE
        }
    }
}
