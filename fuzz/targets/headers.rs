//! Any values of the headers that are read here: an error or options, and never another database.

use std::sync::LazyLock;

use hyper::HeaderMap;
use hyper::header::HeaderValue;
use percent_encoding::percent_decode_str;
use rowgate::config::Config;
use rowgate::http::compression;
use rowgate::http::sql::options::Options;
use rowgate::pg::url::ConnectUrl;
use tokio_postgres::config::Host;

const DATABASE: &str = "app";

static CONFIG: LazyLock<Config> = LazyLock::new(|| {
    let url = || ConnectUrl::parse("postgresql://u@localhost/app").unwrap();
    let mut config = Config::with_defaults(url(), url(), Vec::new());
    config.database.match_database_name = true;
    config
});

pub fn run(data: &[u8]) {
    if let Ok(text) = std::str::from_utf8(data) {
        let chosen = compression::choose(text);
        assert!(chosen.is_none() || !text.is_empty());
        if let Ok(url) = ConnectUrl::parse(text) {
            assert!(url.hosts().count() > 0);
            assert!(!shows_password(&url));
        }
    }
    let Ok(value) = HeaderValue::from_bytes(data) else { return };
    for name in ["neon-connection-string", "neon-batch-isolation-level", "neon-array-mode"] {
        let mut headers = HeaderMap::new();
        headers.insert(name, value.clone());
        let read = Options::read(&headers, &CONFIG);
        if name == "neon-connection-string" && read.is_ok() {
            assert_names_no_other(value.to_str().unwrap());
        }
    }
}

/// Whether a password that is long enough to be told from chance stands in what is logged of a URL.
fn shows_password(url: &ConnectUrl) -> bool {
    const TELLING: usize = 8;
    let shown = url.to_string();
    let password = String::from_utf8_lossy(url.password().unwrap_or_default()).into_owned();
    if password.len() < TELLING {
        return false;
    }
    let hosts = url.hosts().map(|(host, _)| match host {
        Host::Tcp(name) => name,
        Host::Unix(directory) => directory.display().to_string(),
    });
    let elsewhere = [url.user(), url.database()].map(str::to_owned).into_iter().chain(hosts);
    shown.contains(&password) && !elsewhere.into_iter().any(|part| part.contains(&password))
}

/// A client's own reading of the URL (RFC 3986) agrees that it names our database, or none.
fn assert_names_no_other(text: &str) {
    // Which of them a backslash is one of, is a matter of taste.
    let Some(url) = url::Url::parse(text).ok().filter(|_| !text.contains('\\')) else { return };
    let named = percent_decode_str(url.path().trim_start_matches('/')).decode_utf8_lossy();
    let ours = named.is_empty() || named == DATABASE;
    // A path with dots is shortened by that library, and by no driver.
    assert!(ours || text.contains("./") || text.contains("/."), "{text}");
}
