//! Where libpq looks for a password that the URL lacks: `PGPASSWORD`, then the password file.
//!
//! Reads nothing that others than the owner could have written or read (libpq's rule).

use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;

use tokio_postgres::config::Host;

use super::ConnectUrl;

/// Permissions that a password file must not have.
const OTHERS: u32 = 0o077;

pub(super) fn find(
    url: &ConnectUrl,
    file: Option<PathBuf>,
    environment: &dyn Fn(&str) -> Option<String>,
) -> Option<String> {
    if let Some(password) = environment("PGPASSWORD").filter(|password| !password.is_empty()) {
        return Some(password);
    }
    let file = file
        .or_else(|| environment("PGPASSFILE").map(PathBuf::from))
        .or_else(|| environment("HOME").map(|home| PathBuf::from(home).join(".pgpass")))?;
    let metadata = std::fs::metadata(&file).ok()?;
    if !metadata.is_file() || metadata.permissions().mode() & OTHERS != 0 {
        return None;
    }
    of_lines(url, &std::fs::read_to_string(file).ok()?)
}

/// The password of the first line that fits one of the URL's hosts.
fn of_lines(url: &ConnectUrl, text: &str) -> Option<String> {
    text.lines().filter(|line| !line.starts_with('#')).find_map(|line| {
        let fields = fields(line);
        let [host, port, database, user, password] = fields.as_slice() else { return None };
        let fits = |field: &str, value: &str| field == "*" || field == value;
        let server = url.hosts().any(|(name, number)| {
            let name = match &name {
                Host::Tcp(name) => name.clone(),
                Host::Unix(directory) => directory.display().to_string(),
            };
            fits(host, &name) && fits(port, &number.to_string())
        });
        (server && fits(database, url.database()) && fits(user, url.user()))
            .then(|| password.clone())
    })
}

/// Fields are separated by `:`; a backslash takes the next character literally.
fn fields(line: &str) -> Vec<String> {
    let mut fields = vec![String::new()];
    let mut characters = line.chars();
    while let Some(character) = characters.next() {
        match character {
            ':' => fields.push(String::new()),
            '\\' => fields.last_mut().into_iter().for_each(|f| f.extend(characters.next())),
            c => fields.last_mut().into_iter().for_each(|f| f.push(c)),
        }
    }
    fields
}
