//! The SQL files that are part of the program: the schema `auth`, and the templates of new projects.

use std::path::PathBuf;

use include_dir::{Dir, DirEntry, File};

use super::source::SqlFile;

/// A file below `sql/`, with the path that it has there.
macro_rules! sql {
    ($path:literal) => {
        ($path, include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/sql/", $path)))
    };
}

/// In the order of their versions. Once released, a file is never changed: databases remember them.
const AUTH: [(&str, &str); 7] = [
    sql!("auth/V1__roles.sql"),
    sql!("auth/V2__seal_keys.sql"),
    sql!("auth/V3__session.sql"),
    sql!("auth/V4__crud_policy.sql"),
    sql!("auth/V5__seal_key_rotation.sql"),
    sql!("auth/V6__revoked.sql"),
    sql!("auth/V7__api_roles.sql"),
];

/// The migrations of the schema `auth`.
pub(super) fn auth() -> Vec<SqlFile> {
    AUTH.iter()
        .map(|(path, text)| SqlFile {
            path: PathBuf::from("sql").join(path),
            text: (*text).to_owned(),
        })
        .collect()
}

/// The first of them alone, which makes the roles: where the schema is an extension's.
pub(super) fn roles() -> Vec<SqlFile> {
    let mut files = auth();
    files.truncate(1);
    files
}

const fn entry((path, text): (&'static str, &'static str)) -> DirEntry<'static> {
    DirEntry::File(File::new(path, text.as_bytes()))
}

static MIGRATIONS: [DirEntry<'static>; 3] = [
    entry(sql!("migrations/V1__todos.sql")),
    entry(sql!("migrations/V2__user_messages.sql")),
    entry(sql!("migrations/V3__todos_in_order.sql")),
];
static GRANTS: [DirEntry<'static>; 3] = [
    entry(sql!("grants/api_roles.sql")),
    entry(sql!("grants/todos.sql")),
    entry(sql!("grants/user_messages.sql")),
];
static POLICIES: [DirEntry<'static>; 2] =
    [entry(sql!("policies/todos.sql")), entry(sql!("policies/user_messages.sql"))];
static TESTS: [DirEntry<'static>; 2] =
    [entry(sql!("tests/todos.sql")), entry(sql!("tests/user_messages.sql"))];
static PARTS: [DirEntry<'static>; 4] = [
    DirEntry::Dir(Dir::new("migrations", &MIGRATIONS)),
    DirEntry::Dir(Dir::new("grants", &GRANTS)),
    DirEntry::Dir(Dir::new("policies", &POLICIES)),
    DirEntry::Dir(Dir::new("tests", &TESTS)),
];
static TEMPLATES: Dir<'static> = Dir::new("", &PARTS);

/// What a new project's `sql/` directory begins with: `migrations/`, `grants/`, `policies/` and `tests/` of the
/// sample application.
#[must_use]
pub fn templates() -> &'static Dir<'static> {
    &TEMPLATES
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::path::Path;

    use super::*;

    fn on_disk(part: &str) -> BTreeSet<PathBuf> {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("sql");
        std::fs::read_dir(root.join(part))
            .unwrap()
            .map(|entry| entry.unwrap().path().strip_prefix(&root).unwrap().to_owned())
            .collect()
    }

    #[test]
    fn no_file_of_the_repository_is_left_out() {
        for part in ["migrations", "grants", "policies", "tests"] {
            let dir = templates().dirs().find(|d| d.path() == Path::new(part)).unwrap();
            let embedded: BTreeSet<_> = dir.files().map(|f| f.path().to_owned()).collect();
            assert_eq!(embedded, on_disk(part));
        }
        let embedded: BTreeSet<_> = AUTH.iter().map(|(path, _)| PathBuf::from(path)).collect();
        assert_eq!(embedded, on_disk("auth"));
    }
}
