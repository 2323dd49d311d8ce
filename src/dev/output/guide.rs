//! How to use what `rowgate dev` has started: addresses, tokens, lines to paste.

use std::fmt::{self, Display};
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::{BOLD, DIM, Output, line};
use crate::dev::home::Home;
use crate::dev::postgres::SUPERUSER;

/// Everything that the text names.
#[derive(Debug)]
pub struct Guide {
    /// Where the gateway listens.
    pub address: SocketAddr,
    /// What the database is, in words.
    pub database: String,
    /// The name of the database.
    pub database_name: String,
    /// The port of the private cluster; none: somebody else's server.
    pub private_port: Option<u16>,
    /// The demo issuer's `iss`.
    pub issuer: String,
    /// The directory whose SQL files were applied.
    pub sql: PathBuf,
    /// Whether changes there are applied at once.
    pub watched: bool,
    /// A token for alice.
    pub alice: String,
    /// A token for bob.
    pub bob: String,
    /// How long they are good for.
    pub lifetime: Duration,
}

const SECONDS_PER_HOUR: u64 = 60 * 60;

const INSERT: &str =
    r#"{"query":"insert into todos (task) values ($1) returning *","params":["Water the plants"]}"#;
const SELECT: &str = r#"{"query":"select * from todos order by id"}"#;

impl Guide {
    /// Prints it.
    pub fn print(&self, output: Output, home: &Home) {
        line(self.text(output, home));
    }

    /// The address as a client writes it.
    fn url(&self) -> String {
        let host = match self.address.ip() {
            ip if ip.is_unspecified() => "localhost".to_owned(),
            IpAddr::V6(ip) => format!("[{ip}]"),
            IpAddr::V4(ip) => ip.to_string(),
        };
        format!("http://{host}:{}/sql", self.address.port())
    }

    fn text(&self, output: Output, home: &Home) -> String {
        let mut text = Text { output, lines: Vec::new() };
        text.heading("Rowgate is running. Ctrl-C stops everything it has started.");
        text.fact("Gateway", self.url());
        text.fact("Database", &self.database);
        text.fact("SQL files", self.sql_files());
        text.fact("Issuer", format!("{} (for this machine only)", self.issuer));
        self.tokens(&mut text);
        self.calls(&mut text);
        self.javascript(&mut text);
        self.direct(&mut text, home);
        text.lines.join("\n") + "\n"
    }

    fn sql_files(&self) -> String {
        let note =
            if self.watched { "what you save there is applied at once" } else { "not watched" };
        format!("{} ({note})", self.sql.display())
    }

    fn tokens(&self, text: &mut Text) {
        let hours = self.lifetime.as_secs() / SECONDS_PER_HOUR;
        text.heading(&format!("Two users. Their tokens are good for {hours} hours:"));
        text.paste(format!("export ALICE={}", self.alice));
        text.paste(format!("export BOB={}", self.bob));
    }

    fn calls(&self, text: &mut Text) {
        text.heading("As alice, as bob, as nobody:");
        let url = self.url();
        let call = |token: &str, body: &str| format!("curl -sS -w '\\n' {url}{token} -d '{body}'");
        let bearer = |user: &str| format!(" -H \"Authorization: Bearer ${user}\"");
        text.paste(call(&bearer("ALICE"), INSERT));
        text.paste(call(&bearer("ALICE"), SELECT));
        text.paste(call(&bearer("BOB"), SELECT));
        text.paste(call("", SELECT));
    }

    fn javascript(&self, text: &mut Text) {
        text.heading("From JavaScript, after `npm i @neondatabase/serverless`:");
        let database = &self.database_name;
        text.paste("import { neon, neonConfig } from '@neondatabase/serverless'");
        text.paste(format!("neonConfig.fetchEndpoint = '{}'", self.url()));
        text.paste(format!(
            "const sql = neon('postgresql://user@localhost/{database}', {{ authToken: process.env.ALICE }})"
        ));
        text.paste("console.log(await sql`select * from todos`)");
    }

    fn direct(&self, text: &mut Text, home: &Home) {
        let Some(port) = self.private_port else { return };
        text.heading("In the database itself:");
        let database = &self.database_name;
        text.paste(format!(
            "PGPASSFILE={} psql -h 127.0.0.1 -p {port} -U {SUPERUSER} {database}",
            quoted(&home.pgpass())
        ));
        text.paste(format!("set -a; . {}; set +a", quoted(&path_for_dot(&home.env()))));
        text.note(
            "The first is a superuser: no policy binds it. The second sets DATABASE_URL to the",
        );
        text.note("owner's login, for `rowgate migrate`, `rowgate policies apply` and others.");
    }
}

/// The shell's `.` searches PATH unless there is a slash.
fn path_for_dot(path: &Path) -> PathBuf {
    if path.components().count() > 1 || path.is_absolute() {
        path.to_owned()
    } else {
        Path::new(".").join(path)
    }
}

/// For a shell; most paths need no quotes and are easier to read without.
fn quoted(path: &Path) -> String {
    let text = path.display().to_string();
    let plain = |c: char| c.is_ascii_alphanumeric() || "/._-+@".contains(c);
    if text.chars().all(plain) { text } else { format!("'{}'", text.replace('\'', "'\\''")) }
}

/// Lines in the making.
struct Text {
    output: Output,
    lines: Vec<String>,
}

/// Room for the longest name of a fact.
const NAME_WIDTH: usize = 10;

impl Text {
    fn heading(&mut self, text: &str) {
        self.lines.push(String::new());
        self.lines.push(self.output.paint(BOLD, text));
    }

    fn fact(&mut self, name: &str, value: impl Display) {
        let name = self.output.paint(DIM, format_args!("{name:NAME_WIDTH$}"));
        self.lines.push(format!("  {name} {value}"));
    }

    /// A line that is selected and pasted as a whole: nothing in front of it.
    fn paste(&mut self, line: impl fmt::Display) {
        self.lines.push(line.to_string());
    }

    fn note(&mut self, text: &str) {
        self.lines.push(self.output.paint(DIM, text));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn guide() -> Guide {
        Guide {
            address: ([0, 0, 0, 0], 8787).into(),
            database: "PostgreSQL 17.6, private".into(),
            database_name: "app".into(),
            private_port: Some(5432),
            issuer: "http://localhost:4000".into(),
            sql: "sql".into(),
            watched: true,
            alice: "aaa".into(),
            bob: "bbb".into(),
            lifetime: Duration::from_hours(12),
        }
    }

    #[test]
    fn lines_to_paste_reach_a_gateway_that_listens_everywhere() {
        let text = guide().text(Output { coloured: false }, &Home::at(Path::new(".rowgate")));
        let calls = text.lines().filter(|line| line.starts_with("curl "));
        assert!(calls.clone().all(|line| line.contains("http://localhost:8787/sql")), "{text}");
        assert_eq!(calls.count(), 4);
        assert!(!text.contains('\x1b'));
    }

    #[test]
    fn paths_with_spaces_are_quoted_for_the_shell() {
        assert_eq!(quoted(Path::new(".rowgate/env")), ".rowgate/env");
        assert_eq!(quoted(Path::new("my dir/it's")), "'my dir/it'\\''s'");
    }
}
