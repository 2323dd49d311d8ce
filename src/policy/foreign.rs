//! Folders of migrations that another tool wrote (drizzle-kit and its like), as a source of SQL.
//!
//! Such files make tables *and* policies. Their policies are theirs: Rowgate notes which ones they
//! are and never drops them. Must never apply a file's way back, nor pass over a file silently.

mod history;

use std::collections::HashSet;
use std::fs;
use std::path::{Path, PathBuf};

use aws_lc_rs::digest;
use serde::Deserialize;

pub(super) use history::{apply, prepare};

use super::error::PolicyError;
use super::source::{self, SqlFile};

/// Where drizzle-kit keeps the order of its files.
const JOURNAL: &str = "meta/_journal.json";

/// The file of a migration that is a folder.
const FILE_IN_FOLDER: &str = "migration.sql";

/// Stands between two statements in drizzle-kit's files; the second is as long as the first, and
/// makes of it what it means.
const BREAKPOINT: [&str; 2] = ["--> statement-breakpoint", ";-- statement-breakpoint"];

/// Begin the way back in files that hold both ways (dbmate, goose, sql-migrate).
const WAYS_BACK: [&str; 3] = ["-- migrate:down", "-- +goose Down", "-- +migrate Down"];

/// One migration.
#[derive(Debug)]
pub(super) struct Foreign {
    /// The file's name without `.sql`, or that of the folder around it.
    pub name: String,
    pub file: SqlFile,
    /// SHA-256 of the text in hexadecimal digits; drizzle-kit keeps the same.
    pub checksum: String,
}

/// A folder's migrations, in the order in which they are to be applied.
#[derive(Debug)]
pub(super) struct Folder {
    pub dir: PathBuf,
    pub migrations: Vec<Foreign>,
}

/// drizzle-kit's journal, as far as it matters.
#[derive(Deserialize)]
struct Journal {
    entries: Vec<Entry>,
}

#[derive(Deserialize)]
struct Entry {
    tag: String,
}

impl Folder {
    /// Reads and checks all files. The order is that of drizzle-kit's journal, otherwise that of the
    /// names.
    pub fn read(dir: &Path) -> Result<Self, PolicyError> {
        let mut found = paths(dir)?;
        found.sort();
        if let Some(tags) = journal(dir)? {
            found = in_order_of(&dir.join(JOURNAL), &tags, found)?;
        }
        if found.is_empty() {
            let reason = "there is no migration in it: no .sql file, and no folder with a \
                          migration.sql";
            return Err(unreadable(dir, reason));
        }
        let migrations = found.into_iter().map(|(name, path)| Foreign::read(name, path));
        Ok(Self { dir: dir.to_owned(), migrations: migrations.collect::<Result<_, _>>()? })
    }

    /// The folder's name, before those of its migrations in reports.
    pub fn label(&self) -> String {
        let name = self.dir.file_name().unwrap_or(self.dir.as_os_str());
        name.to_string_lossy().into_owned()
    }
}

impl Foreign {
    fn read(name: String, path: PathBuf) -> Result<Self, PolicyError> {
        let text = source::read_text(&path)?;
        for (index, line) in text.lines().enumerate() {
            if WAYS_BACK.iter().any(|mark| line.trim_start().starts_with(mark)) {
                let reason = format!(
                    "from line {} on it says how to undo it (`{}`); give Rowgate files with the way \
                     forward alone",
                    index + 1,
                    line.trim(),
                );
                return Err(unreadable(&path, reason));
            }
        }
        let checksum = hex::encode(digest::digest(&digest::SHA256, text.as_bytes()));
        let file = SqlFile::checked(path, text.replace(BREAKPOINT[0], BREAKPOINT[1]))?;
        Ok(Self { name, file, checksum })
    }
}

/// The migrations' names and paths: `<name>.sql` and `<name>/migration.sql`.
fn paths(dir: &Path) -> Result<Vec<(String, PathBuf)>, PolicyError> {
    let mut found = Vec::new();
    for path in source::list(dir)? {
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let inner = path.join(FILE_IN_FOLDER);
        if inner.is_file() {
            found.push((name, inner));
        } else if let Some(stem) = name.strip_suffix(".sql")
            && path.is_file()
            && !name.starts_with(['.', '#'])
            && stem.strip_suffix(".down").is_none()
        {
            found.push((stem.to_owned(), path));
        }
    }
    Ok(found)
}

/// The names in drizzle-kit's journal, if there is one.
fn journal(dir: &Path) -> Result<Option<Vec<String>>, PolicyError> {
    let path = dir.join(JOURNAL);
    if !path.exists() {
        return Ok(None);
    }
    let text = fs::read(&path).map_err(|e| unreadable(&path, e.to_string()))?;
    let journal: Journal =
        serde_json::from_slice(&text).map_err(|e| unreadable(&path, e.to_string()))?;
    Ok(Some(journal.entries.into_iter().map(|entry| entry.tag).collect()))
}

/// `found` in the journal's order. Both must name the same migrations.
fn in_order_of(
    journal: &Path,
    tags: &[String],
    mut found: Vec<(String, PathBuf)>,
) -> Result<Vec<(String, PathBuf)>, PolicyError> {
    let mut seen = HashSet::new();
    let mut ordered = Vec::with_capacity(found.len());
    for tag in tags {
        if !seen.insert(tag) {
            return Err(unreadable(journal, format!("it names {tag} twice")));
        }
        let Some(index) = found.iter().position(|(name, _)| name == tag) else {
            return Err(unreadable(journal, format!("it names {tag}, which has no file")));
        };
        ordered.push(found.swap_remove(index));
    }
    match found.first() {
        None => Ok(ordered),
        Some((name, _)) => {
            let reason = format!(
                "it does not name {name}, for which there is a file; `drizzle-kit generate --custom` \
                 makes files that it knows"
            );
            Err(unreadable(journal, reason))
        }
    }
}

fn unreadable(path: &Path, reason: impl Into<String>) -> PolicyError {
    PolicyError::Read { path: path.to_owned(), reason: reason.into() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn folder(files: &[(&str, &str)]) -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        for (name, text) in files {
            let path = dir.path().join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        dir
    }

    fn names(dir: &tempfile::TempDir) -> Result<Vec<String>, String> {
        let folder = Folder::read(dir.path()).map_err(|error| error.to_string())?;
        Ok(folder.migrations.into_iter().map(|migration| migration.name).collect())
    }

    #[test]
    fn names_give_the_order_and_ways_back_are_left_out() {
        let dir = folder(&[
            ("0002_b.sql", "select 1"),
            ("0001_a.up.sql", "select 1"),
            ("0001_a.down.sql", "drop table a"),
            ("0003_c/migration.sql", "select 1"),
            ("0003_c/snapshot.json", "{}"),
            ("schema.ts", ""),
        ]);
        assert_eq!(names(&dir).unwrap(), ["0001_a.up", "0002_b", "0003_c"]);
    }

    #[test]
    fn a_journal_gives_the_order_and_must_name_exactly_the_files() {
        let journal = r#"{"entries":[{"tag":"b","idx":0},{"tag":"a","idx":1}]}"#;
        let dir = folder(&[("a.sql", ""), ("b.sql", ""), (JOURNAL, journal)]);
        assert_eq!(names(&dir).unwrap(), ["b", "a"]);
        fs::write(dir.path().join("c.sql"), "").unwrap();
        assert!(names(&dir).unwrap_err().contains("does not name c"));
        fs::remove_file(dir.path().join("c.sql")).unwrap();
        fs::remove_file(dir.path().join("a.sql")).unwrap();
        assert!(names(&dir).unwrap_err().contains("names a, which has no file"));
    }

    #[test]
    fn a_file_with_its_own_way_back_is_refused() {
        for mark in WAYS_BACK {
            let dir = folder(&[("1.sql", &format!("create table a ();\n{mark}\ndrop table a;"))]);
            let error = names(&dir).unwrap_err();
            assert!(error.contains("from line 2 on"), "{error}");
        }
        assert!(names(&folder(&[("readme.md", "")])).unwrap_err().contains("no migration in it"));
    }
}
