//! Stopping what runs on a connection, from outside: `CancelRequest` on a fresh socket.

use bytes::BytesMut;
use postgres_protocol::message::frontend;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::PgError;
use super::connect::{self, Endpoint};

/// Names a backend and proves the right to cancel it (`BackendKeyData`).
#[derive(Clone)]
pub struct CancelKey {
    /// Process id of the backend.
    pub pid: i32,
    secret: i32,
    endpoint: Endpoint,
}

impl CancelKey {
    /// The key that the server at `endpoint` gave out.
    #[must_use]
    pub fn new(pid: i32, secret: i32, endpoint: Endpoint) -> Self {
        Self { pid, secret, endpoint }
    }

    /// Asks the server to cancel. Success says only that the request was delivered: it takes effect,
    /// or comes too late, at the backend's leisure.
    pub async fn send(&self) -> Result<(), PgError> {
        let mut stream = connect::open_stream(&self.endpoint).await?;
        let mut message = BytesMut::new();
        frontend::cancel_request(self.pid, self.secret, &mut message);
        stream.write_all(&message).await?;
        stream.flush().await?;
        // The server closes the socket once the signal is sent; waiting for that orders the two.
        let mut nothing = [0];
        let _ = stream.read(&mut nothing).await;
        Ok(())
    }
}

impl std::fmt::Debug for CancelKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("CancelKey").field("pid", &self.pid).finish_non_exhaustive()
    }
}
