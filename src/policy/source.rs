//! Reads a project's `sql/` directory. Never touches a database, and never skips a file silently.

use std::fs;
use std::path::{Path, PathBuf};

use aws_lc_rs::digest;

use super::error::PolicyError;
use super::foreign::Folder;
use super::split;

/// A file beyond this is no hand-written SQL, and would be held in memory whole.
const MAX_FILE_BYTES: u64 = 16 << 20;

/// How files in `migrations/` are named.
const MIGRATION_NAME: &str = "V<version>__<name>.sql with a whole number and a name of letters, \
                              digits and underscores, such as V3__invoices.sql";

/// How files in `grants/` and `policies/` are named.
const REPEATABLE_NAME: &str = "<name>.sql";

/// The directories of repeatable files, in the order in which they are applied.
const REPEATABLE_PARTS: [&str; 2] = ["grants", "policies"];

/// Length limit of `refinery`'s column for a migration's name.
const MAX_NAME: usize = 255;

/// Where a project's SQL files are: `migrations/`, `grants/` and `policies/`, each optional.
#[derive(Clone, Debug)]
pub struct SqlSource {
    dir: PathBuf,
    /// Whether the directory may be absent.
    is_optional: bool,
    schemas: Option<Vec<String>>,
    foreign: Option<PathBuf>,
}

impl SqlSource {
    /// The files under `dir`; they manage every schema but the system's and Rowgate's own.
    pub fn new(dir: impl Into<PathBuf>) -> Self {
        Self { dir: dir.into(), is_optional: false, schemas: None, foreign: None }
    }

    /// If the directory is absent, there are no files, and policies and grants are left as they are.
    #[must_use]
    pub fn optional(mut self) -> Self {
        self.is_optional = true;
        self
    }

    /// Before the project's own migrations, those in a folder that another tool wrote.
    #[must_use]
    pub fn with_foreign(mut self, dir: impl Into<PathBuf>) -> Self {
        self.foreign = Some(dir.into());
        self
    }

    /// Leaves policies and grants alone outside of these schemas.
    #[must_use]
    pub fn with_schemas(mut self, schemas: Vec<String>) -> Self {
        self.schemas = Some(schemas);
        self
    }

    /// The directory.
    #[must_use]
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// Every file of the project with its text, in the order in which they are applied.
    ///
    /// # Errors
    ///
    /// Files that cannot be read.
    pub fn texts(&self) -> Result<Vec<(PathBuf, String)>, PolicyError> {
        let set = self.read()?;
        let migrations = set.migrations.into_iter().flatten();
        let repeatable = set.repeatable.into_iter().flat_map(|set| set.files);
        Ok(migrations.chain(repeatable).map(|file| (file.path, file.text)).collect())
    }

    pub(super) fn schemas(&self) -> Option<&[String]> {
        self.schemas.as_deref()
    }

    pub(super) fn migrations_dir(&self) -> PathBuf {
        self.dir.join("migrations")
    }

    /// Reads and checks everything there is.
    pub(super) fn read(&self) -> Result<SqlSet, PolicyError> {
        let foreign = self.foreign.as_deref().map(Folder::read).transpose()?;
        if self.is_optional && !self.dir.exists() {
            return Ok(SqlSet { foreign, ..SqlSet::default() });
        }
        // The directory itself is not optional: a mistyped one would drop every policy.
        list(&self.dir)?;
        Ok(SqlSet {
            foreign,
            migrations: Some(migrations(&self.migrations_dir())?),
            repeatable: Some(Repeatable::read(&self.dir)?),
        })
    }

    /// Reads the migrations alone.
    pub(super) fn read_migrations(&self) -> Result<Vec<SqlFile>, PolicyError> {
        migrations(&self.migrations_dir())
    }

    /// Reads and checks the grants and policies alone.
    pub(super) fn read_repeatable(&self) -> Result<Repeatable, PolicyError> {
        list(&self.dir)?;
        Repeatable::read(&self.dir)
    }
}

/// A project's files, checked.
#[derive(Debug, Default)]
pub(super) struct SqlSet {
    /// Another tool's.
    pub foreign: Option<Folder>,
    /// In the order of their versions; none: there is no project, only another tool's folder.
    pub migrations: Option<Vec<SqlFile>>,
    /// None: as above.
    pub repeatable: Option<Repeatable>,
}

/// One file.
#[derive(Clone, Debug)]
pub(super) struct SqlFile {
    pub path: PathBuf,
    pub text: String,
}

impl SqlFile {
    /// The name without its extension, as in `V1__todos`.
    pub fn stem(&self) -> &str {
        self.path.file_stem().and_then(|stem| stem.to_str()).unwrap_or_default()
    }

    /// The name of its directory, as in `policies`.
    pub fn part(&self) -> &str {
        self.path
            .parent()
            .and_then(Path::file_name)
            .and_then(|name| name.to_str())
            .unwrap_or_default()
    }

    fn read(path: PathBuf) -> Result<Self, PolicyError> {
        let text = read_text(&path)?;
        Self::checked(path, text)
    }

    /// A file with this text, unless the text would begin or end a transaction.
    pub fn checked(path: PathBuf, text: String) -> Result<Self, PolicyError> {
        let file = Self { path, text };
        file.check_transaction_control()?;
        Ok(file)
    }

    fn check_transaction_control(&self) -> Result<(), PolicyError> {
        for statement in split::statements(&self.text) {
            if let Some(words) = statement.transaction_control {
                return Err(PolicyError::TransactionControl {
                    path: self.path.clone(),
                    line: statement.line,
                    statement: words.to_owned(),
                });
            }
        }
        Ok(())
    }
}

/// The text of a file that can be SQL.
pub(super) fn read_text(path: &Path) -> Result<String, PolicyError> {
    let failed = |reason: String| PolicyError::Read { path: path.to_owned(), reason };
    let size = fs::metadata(path).map_err(|e| failed(e.to_string()))?.len();
    if size > MAX_FILE_BYTES {
        return Err(failed(format!("{size} bytes, of which {MAX_FILE_BYTES} are allowed")));
    }
    let bytes = fs::read(path).map_err(|e| failed(e.to_string()))?;
    let text = String::from_utf8(bytes).map_err(|_| failed("not UTF-8".to_owned()))?;
    if text.contains('\0') {
        return Err(failed("it contains a zero byte".to_owned()));
    }
    Ok(text.strip_prefix('\u{feff}').map(str::to_owned).unwrap_or(text))
}

/// Grants and policies: applied as a whole, whenever the whole is not what was applied last.
#[derive(Debug)]
pub(super) struct Repeatable {
    /// First the grants, then the policies, each in the order of their names.
    pub files: Vec<SqlFile>,
    /// Hexadecimal hash of names and texts.
    pub hash: String,
}

impl Repeatable {
    fn read(dir: &Path) -> Result<Self, PolicyError> {
        let mut files = Vec::new();
        for part in REPEATABLE_PARTS {
            for path in sql_files(&dir.join(part), REPEATABLE_NAME)? {
                files.push(SqlFile::read(path)?);
            }
        }
        Ok(Self::of(files))
    }

    /// These files, in the order in which they are applied.
    pub fn of(files: Vec<SqlFile>) -> Self {
        let mut context = digest::Context::new(&digest::SHA256);
        for file in &files {
            for text in [file.part(), file.stem(), file.text.as_str()] {
                context.update(&(text.len() as u64).to_be_bytes());
                context.update(text.as_bytes());
            }
        }
        Self { files, hash: hex::encode(context.finish()) }
    }
}

fn migrations(dir: &Path) -> Result<Vec<SqlFile>, PolicyError> {
    let mut found = Vec::new();
    for path in sql_files(dir, MIGRATION_NAME)? {
        let Some(version) = migration_version(&path) else {
            return Err(PolicyError::FileName { path, expected: MIGRATION_NAME });
        };
        found.push((version, SqlFile::read(path)?));
    }
    found.sort_by_key(|(version, _)| *version);
    if let Some(pair) = found.windows(2).find(|pair| pair[0].0 == pair[1].0) {
        let (first, second) = (pair[0].1.path.clone(), pair[1].1.path.clone());
        return Err(PolicyError::SameVersion { first, second });
    }
    Ok(found.into_iter().map(|(_, file)| file).collect())
}

/// Path and text of the files of a directory that is not applied.
pub(super) fn other(dir: &Path) -> Result<Vec<(PathBuf, String)>, PolicyError> {
    let read = |path: PathBuf| read_text(&path).map(|text| (path, text));
    sql_files(dir, REPEATABLE_NAME)?.into_iter().map(read).collect()
}

/// The version in a migration's name; none if `refinery` would pass over the file or misread it.
fn migration_version(path: &Path) -> Option<i32> {
    let stem = path.file_stem()?.to_str()?;
    let (version, name) = stem.strip_prefix('V')?.split_once("__")?;
    let whole = !version.is_empty() && version.bytes().all(|b| b.is_ascii_digit());
    let plain = !name.is_empty() && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_');
    if !whole || !plain || name.len() > MAX_NAME {
        return None;
    }
    version.parse().ok()
}

/// The `.sql` files of a directory that may be absent, in the order of their names. Hidden files,
/// editors' backups and notes (`.md`, `.txt`) may lie beside them; anything else is an error.
fn sql_files(dir: &Path, expected: &'static str) -> Result<Vec<PathBuf>, PolicyError> {
    if !dir.exists() {
        return Ok(Vec::new());
    }
    let mut files = Vec::new();
    for path in list(dir)? {
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let passed_over = name.starts_with(['.', '#']) || name.ends_with('~');
        match path.extension().and_then(|extension| extension.to_str()) {
            _ if passed_over => {}
            Some("sql") if path.is_file() => files.push(path),
            Some("md" | "txt") => {}
            _ => return Err(PolicyError::FileName { path, expected }),
        }
    }
    files.sort();
    Ok(files)
}

/// What is in a directory, in any order.
pub(super) fn list(dir: &Path) -> Result<Vec<PathBuf>, PolicyError> {
    let failed =
        |e: std::io::Error| PolicyError::Read { path: dir.to_owned(), reason: e.to_string() };
    fs::read_dir(dir)
        .map_err(failed)?
        .map(|entry| entry.map(|e| e.path()).map_err(failed))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_names_that_would_be_applied_count_as_migrations() {
        for (name, version) in [
            ("V1__todos.sql", Some(1)),
            ("V12__a_b.sql", Some(12)),
            ("V1_todos.sql", None),
            ("v1__todos.sql", None),
            ("V1.5__todos.sql", None),
            ("V1__.sql", None),
            ("V1__to-dos.sql", None),
            ("V99999999999__todos.sql", None),
            ("U1__todos.sql", None),
            ("todos.sql", None),
        ] {
            assert_eq!(migration_version(Path::new(name)), version, "{name}");
        }
    }
}
