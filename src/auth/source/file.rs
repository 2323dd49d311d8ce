//! Owns keys in a file that somebody else writes. Must never read without a limit.

use std::path::{Path, PathBuf};
use std::time::Duration;

use jsonwebtoken::Algorithm;
use tokio::io::AsyncReadExt as _;
use tokio::time::sleep;

use super::{Obtained, Source, SourceError, usable};
use crate::auth::fetch::MAX_BODY_BYTES;
use crate::auth::keys::KeySet;
use crate::auth::pace;

/// How often the file is compared with what was last read. It is read whole rather than watched through the
/// system: that misses files that are mounted one by one, or over a network.
const LOOK_INTERVAL: Duration = Duration::from_secs(1);

/// What stands in a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::auth) enum Format {
    /// A JWK set.
    Jwks,
    /// Public keys in PEM.
    Pem,
}

/// Keys in a file.
pub(in crate::auth) struct FileSource {
    path: PathBuf,
    format: Format,
    algorithms: Vec<Algorithm>,
    /// What was last read; none: it could not be read.
    seen: Option<Vec<u8>>,
}

impl FileSource {
    /// Does not read it yet.
    pub(in crate::auth) fn new(path: &Path, format: Format, algorithms: Vec<Algorithm>) -> Self {
        Self { path: path.to_owned(), format, algorithms, seen: None }
    }

    fn parse(&self, content: &[u8]) -> Result<KeySet, SourceError> {
        let place = self.place();
        match self.format {
            Format::Jwks => usable(content, &self.algorithms, &place),
            Format::Pem => {
                let text = String::from_utf8_lossy(content);
                KeySet::parse_pem(&text, &self.algorithms)
                    .map_err(|error| SourceError::Pem { place, error })
            }
        }
    }
}

impl Source for FileSource {
    async fn obtain(&mut self) -> Result<Obtained, SourceError> {
        let content = read(&self.path).await;
        self.seen = content.as_ref().ok().cloned();
        let content =
            content.map_err(|reason| SourceError::File { place: self.place(), reason })?;
        Ok(Obtained { keys: Some(self.parse(&content)?), lifetime: pace::MAX_LIFETIME })
    }

    /// Waits until the content is another one, and stays it for a moment: a file being written is not read.
    async fn changed(&mut self) {
        let mut last = self.seen.clone();
        loop {
            sleep(LOOK_INTERVAL).await;
            let now = read(&self.path).await.ok();
            if now != self.seen && now == last {
                return;
            }
            last = now;
        }
    }

    fn place(&self) -> String {
        self.path.display().to_string()
    }
}

async fn read(path: &Path) -> Result<Vec<u8>, String> {
    let text = |error: std::io::Error| error.to_string();
    // Opening a pipe would wait for its other end.
    if !tokio::fs::metadata(path).await.map_err(text)?.is_file() {
        return Err("it is no file".to_owned());
    }
    let file = tokio::fs::File::open(path).await.map_err(text)?;
    let mut content = Vec::new();
    let limit = MAX_BODY_BYTES as u64 + 1;
    file.take(limit).read_to_end(&mut content).await.map_err(text)?;
    if content.len() > MAX_BODY_BYTES {
        return Err(format!("it is larger than {MAX_BODY_BYTES} bytes"));
    }
    Ok(content)
}
