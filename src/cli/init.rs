//! `rowgate init`: a new project's SQL files and configuration.

use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use include_dir::Dir;

use crate::dev::home::DEFAULT_DATA_DIR;
use crate::policy;

/// Write a new project
///
/// Writes sql/ (migrations, grants, policies and tests of a small sample application, to be replaced by
/// yours), rowgate.toml (every setting with its default, explained) and .gitignore. Nothing that
/// exists is overwritten: if one of the files is there already, none is written.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Where to write it; made if it does not exist
    #[arg(value_name = "DIR")]
    pub dir: PathBuf,
}

/// Why no project was written.
#[derive(Debug, thiserror::Error)]
pub enum InitError {
    /// Something is in the way.
    #[error("nothing was written, since {} would be overwritten", list(.0))]
    Exists(Vec<PathBuf>),
    /// The system refused something.
    #[error("cannot write {}: {source}", path.display())]
    Io {
        /// The file or directory.
        path: PathBuf,
        /// The system's reason.
        source: io::Error,
    },
}

const CONFIGURATION: &str = include_str!("../../rowgate.example.toml");

/// A file of the new project, relative to its directory.
struct Planned<'a> {
    path: PathBuf,
    content: &'a [u8],
}

/// Writes the project and tells what to do next.
#[allow(clippy::unused_async, reason = "all commands are called alike")]
pub async fn run(args: Args) -> Result<(), InitError> {
    let written = write(&args.dir)?;
    for path in &written {
        println!("  {}", path.display());
    }
    println!("\n{}", next_steps(&args.dir));
    Ok(())
}

/// Writes all files or none; answers what was written.
fn write(dir: &Path) -> Result<Vec<PathBuf>, InitError> {
    let mut planned =
        vec![Planned { path: "rowgate.toml".into(), content: CONFIGURATION.as_bytes() }];
    plan(policy::templates(), &mut planned);
    let in_the_way: Vec<PathBuf> = planned
        .iter()
        .map(|file| dir.join(&file.path))
        .filter(|path| fs::symlink_metadata(path).is_ok())
        .collect();
    if !in_the_way.is_empty() {
        return Err(InitError::Exists(in_the_way));
    }
    // An existing .gitignore is the user's; the data directory hides itself from git as well.
    let ignored = format!("/{DEFAULT_DATA_DIR}\n");
    if !dir.join(".gitignore").exists() {
        planned.push(Planned { path: ".gitignore".into(), content: ignored.as_bytes() });
    }
    planned.iter().map(|file| create(dir.join(&file.path), file.content)).collect()
}

fn plan<'a>(templates: &'a Dir<'a>, planned: &mut Vec<Planned<'a>>) {
    for file in templates.files() {
        let path = Path::new("sql").join(file.path());
        planned.push(Planned { path, content: file.contents() });
    }
    for dir in templates.dirs() {
        plan(dir, planned);
    }
}

/// Refuses a file that has appeared in the meantime.
fn create(path: PathBuf, content: &[u8]) -> Result<PathBuf, InitError> {
    let outcome = fs::create_dir_all(path.parent().unwrap_or(Path::new("")))
        .and_then(|()| OpenOptions::new().write(true).create_new(true).open(&path))
        .and_then(|mut file| file.write_all(content));
    match outcome {
        Ok(()) => Ok(path),
        Err(source) => Err(InitError::Io { path, source }),
    }
}

fn list(paths: &[PathBuf]) -> String {
    paths.iter().map(|path| path.display().to_string()).collect::<Vec<_>>().join(", ")
}

fn next_steps(dir: &Path) -> String {
    let enter =
        if dir == Path::new(".") { String::new() } else { format!("  cd {}\n", dir.display()) };
    format!(
        "Next:\n\n{enter}  rowgate dev\n\nstarts a private PostgreSQL with these files and shows how \
         to call it. Then edit\nsql/policies/todos.sql and save it: what a user may see changes at \
         once. For\nproduction, rowgate.toml says what `rowgate serve` needs."
    )
}
