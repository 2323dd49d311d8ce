//! `rowgate policies show`: who may do what.

use std::path::PathBuf;

use super::super::Failure;
use super::print_json;
use crate::pg::control;
use crate::pg::url::ConnectUrl;
use crate::policy::{self, PolicyError};
use crate::show::{self, Terminal};

/// Show who may do what: table × command × role
///
/// Connects as the owner of the tables (DATABASE_URL) and reads the catalogue, nothing else. Each cell says
/// whose rows: nobody's, own rows (a column equals the caller's id), those that fulfil a condition, or
/// everybody's. What no policy decides about is listed below: TRUNCATE, functions with their owner's
/// rights.
#[derive(Debug, clap::Args)]
#[expect(clippy::doc_markdown, reason = "the doc comments are the text of --help")]
pub struct Args {
    /// Roles, besides those of the gateway
    #[arg(long = "role", value_name = "ROLE")]
    roles: Vec<String>,

    /// Only these schemas
    #[arg(long = "schema", value_name = "SCHEMA")]
    schemas: Vec<String>,

    #[command(flatten)]
    form: Form,

    /// Write to this file
    #[arg(long, short, value_name = "FILE")]
    output: Option<PathBuf>,
}

/// What it looks like.
#[derive(Clone, Copy, Debug, clap::Args)]
#[group(multiple = false)]
struct Form {
    /// A table in Markdown
    #[arg(long)]
    markdown: bool,

    /// JSON for another program
    #[arg(long)]
    json: bool,

    /// One self-contained page, with the policies' texts where one points
    #[arg(long)]
    html: bool,
}

pub(super) async fn run(args: Args, owner: &ConnectUrl) -> Result<(), Failure> {
    let mut client = control::connect(owner).await.map_err(PolicyError::from)?;
    let mut roles = policy::api_roles(&client).await?;
    for role in args.roles {
        if !roles.contains(&role) {
            roles.push(role);
        }
    }
    let schemas = (!args.schemas.is_empty()).then_some(args.schemas.as_slice());
    let matrix = show::read(&mut client, &roles, schemas).await?;
    if let Some(unknown) = roles.iter().find(|role| !matrix.roles.contains(role)) {
        return Err(Failure::usage(format!("there is no role {unknown} in this database")));
    }
    let text = match args.form {
        Form { markdown: true, .. } => show::markdown(&matrix),
        Form { html: true, .. } => show::html(&matrix),
        Form { json: true, .. } if args.output.is_none() => return print_json(&matrix),
        Form { json: true, .. } => serde_json::to_string_pretty(&matrix)?,
        _ => Terminal(&matrix).to_string(),
    };
    match args.output {
        None => println!("{}", text.trim_end()),
        Some(file) => std::fs::write(&file, text)
            .map_err(|error| Failure::runtime(format!("{}: {error}", file.display())))?,
    }
    Ok(())
}
