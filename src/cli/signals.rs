//! The signals that end a service: once gently, twice at once.

use std::io;

use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;

/// Counts SIGTERM and SIGINT from now on.
pub struct Signals(watch::Receiver<u32>);

impl Signals {
    /// Starts counting; the process no longer dies of these signals by itself.
    pub fn start() -> io::Result<Self> {
        let mut terminate = signal(SignalKind::terminate())?;
        let mut interrupt = signal(SignalKind::interrupt())?;
        let (count, counted) = watch::channel(0);
        tokio::spawn(async move {
            loop {
                tokio::select! {
                    Some(()) = terminate.recv() => {}
                    Some(()) = interrupt.recv() => {}
                    () = count.closed() => return,
                }
                count.send_modify(|seen| *seen += 1);
            }
        });
        Ok(Self(counted))
    }

    /// Completes once as many signals have come.
    pub fn came(&self, times: u32) -> impl Future<Output = ()> + Send + use<> {
        let mut counted = self.0.clone();
        async move {
            if counted.wait_for(|seen| *seen >= times).await.is_err() {
                // invariant: the counter lives as long as somebody holds a receiver.
                std::future::pending::<()>().await;
            }
        }
    }
}
