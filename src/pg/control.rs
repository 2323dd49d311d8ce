//! The control plane's connections (migrations, policies, checks): plain `tokio-postgres`.

use super::url::ConnectUrl;

/// Why a control connection could not be had or a control statement failed.
#[derive(Debug, thiserror::Error)]
pub enum ControlError {
    /// Could not connect or log in.
    #[error("cannot connect to {target}: {reason}")]
    Connect {
        /// `user@host:port/database`.
        target: String,
        /// The server's or the system's words.
        reason: String,
    },
}

/// Connects for administrative work. The connection lives as long as the client.
pub async fn connect(url: &ConnectUrl) -> Result<tokio_postgres::Client, ControlError> {
    let (client, connection) = url.config.connect(tokio_postgres::NoTls).await.map_err(|e| {
        ControlError::Connect { target: url.to_string(), reason: e.to_string() }
    })?;
    tokio::spawn(connection);
    Ok(client)
}
