//! `rowgate policies history`: who applied what, and when.

use std::fs;
use std::path::PathBuf;

use super::super::Failure;
use super::{place_of, print_json};
use crate::pg::control;
use crate::pg::url::ConnectUrl;
use crate::policy::{self, Entry};

/// Show who applied which grants and policies, and when
///
/// The newest first. With a number, the files of that version: printed, or written with --export.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// One version
    version: Option<i32>,

    /// Write the version's files into grants/ and policies/ of this directory, which must not exist yet
    #[arg(long, value_name = "DIR", requires = "version")]
    export: Option<PathBuf>,

    /// Print JSON
    #[arg(long, conflicts_with = "export")]
    json: bool,
}

pub(super) async fn run(args: Args, owner: &ConnectUrl) -> Result<(), Failure> {
    let mut client = control::connect(owner).await.map_err(policy::PolicyError::from)?;
    let Some(version) = args.version else {
        let entries = policy::history(&mut client).await?;
        if args.json {
            return print_json(&entries);
        }
        entries.iter().for_each(print);
        return Ok(());
    };
    let files = policy::files_of_version(&mut client, version).await?;
    match args.export {
        Some(dir) => export(&dir, &files),
        None if args.json => print_json(&files),
        None => {
            for (part, stem, text) in &files {
                println!("-- {part}/{stem}.sql\n{text}");
            }
            Ok(())
        }
    }
}

fn print(entry: &Entry) {
    let or_unknown = |text: &Option<String>| text.clone().unwrap_or_else(|| "unknown".to_owned());
    println!(
        "version {}, {}, by {}{}",
        entry.version,
        or_unknown(&entry.applied_at),
        or_unknown(&entry.applied_by),
        if entry.has_files { "" } else { " (files not kept)" },
    );
    for text in [&entry.note, &entry.summary].into_iter().flatten() {
        println!("    {text}");
    }
}

fn export(dir: &std::path::Path, files: &[(String, String, String)]) -> Result<(), Failure> {
    let failed = |error: std::io::Error| Failure::runtime(format!("{}: {error}", dir.display()));
    fs::create_dir(dir).map_err(failed)?;
    for (part, stem, text) in files {
        let path = place_of(dir, part, stem);
        fs::create_dir_all(dir.join(part)).map_err(failed)?;
        fs::write(&path, text).map_err(failed)?;
        println!("{}", path.display());
    }
    Ok(())
}
