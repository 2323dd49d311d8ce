//! Tells which SQL files changed, once a burst of changes is over.
//!
//! Must never read or write the files: an editor may be in the middle of saving one.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::time::Duration;

use notify::{Event, EventKind, RecommendedWatcher, RecursiveMode, Watcher as _};
use tokio::sync::mpsc;
use tokio::time::{Instant, timeout_at};

/// A burst is over when nothing has changed for this long; editors save in several steps.
const QUIET: Duration = Duration::from_millis(150);

/// Changes that never pause are told after this long all the same.
const LONGEST_BURST: Duration = Duration::from_secs(2);

/// Watches one directory and all below it; stops when dropped.
#[derive(Debug)]
pub struct Watcher {
    _watcher: RecommendedWatcher,
    bursts: mpsc::UnboundedReceiver<BTreeSet<PathBuf>>,
}

impl Watcher {
    /// Watches `dir`. Must be called inside a runtime.
    pub fn start(dir: &Path) -> Result<Self, notify::Error> {
        let (sender, changes) = mpsc::unbounded_channel();
        let handler = move |event: Result<Event, notify::Error>| {
            for path in event.iter().filter(|event| is_change(event)).flat_map(|e| &e.paths) {
                if path.extension().is_some_and(|extension| extension == "sql") {
                    // Fails only when nobody listens any more.
                    let _ = sender.send(path.clone());
                }
            }
        };
        let mut watcher = notify::recommended_watcher(handler)?;
        watcher.watch(dir, RecursiveMode::Recursive)?;
        let (burst, bursts) = mpsc::unbounded_channel();
        tokio::spawn(collect(changes, burst));
        Ok(Self { _watcher: watcher, bursts })
    }

    /// The files that changed. Nothing is lost if the future is dropped.
    pub async fn changed(&mut self) -> Option<BTreeSet<PathBuf>> {
        self.bursts.recv().await
    }
}

/// Reading a file is an event too, and applying files reads them.
fn is_change(event: &Event) -> bool {
    matches!(event.kind, EventKind::Create(_) | EventKind::Modify(_) | EventKind::Remove(_))
}

async fn collect(
    mut changes: mpsc::UnboundedReceiver<PathBuf>,
    bursts: mpsc::UnboundedSender<BTreeSet<PathBuf>>,
) {
    while let Some(first) = changes.recv().await {
        let latest = Instant::now() + LONGEST_BURST;
        let mut burst = BTreeSet::from([first]);
        while let Ok(Some(path)) =
            timeout_at(latest.min(Instant::now() + QUIET), changes.recv()).await
        {
            burst.insert(path);
        }
        if bursts.send(burst).is_err() {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_burst_of_changes_is_told_once_and_names_sql_files_only() {
        let dir = tempfile::tempdir().unwrap();
        let policies = dir.path().join("policies");
        std::fs::create_dir(&policies).unwrap();
        let mut watcher = Watcher::start(dir.path()).unwrap();

        std::fs::write(policies.join("a.sql"), "1").unwrap();
        std::fs::write(policies.join("a.sql~"), "1").unwrap();
        std::fs::write(policies.join("b.sql"), "1").unwrap();
        std::fs::write(policies.join("a.sql"), "2").unwrap();

        let burst = watcher.changed().await.unwrap();
        let names: Vec<_> = burst.iter().map(|path| path.file_name().unwrap()).collect();
        assert_eq!(names, ["a.sql", "b.sql"]);
        assert!(watcher.bursts.try_recv().is_err());
    }
}
