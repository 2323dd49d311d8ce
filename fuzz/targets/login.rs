//! A server that answers a log-in with anything: a connection or an error, in bounded time and memory.

use std::path::PathBuf;
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use rowgate::pg::PgError;
use rowgate::pg::connect::Connector;
use rowgate::pg::connection::Connection;
use rowgate::pg::sql::OwnSql;
use rowgate::pg::url::ConnectUrl;
use tokio::io::AsyncWriteExt;
use tokio::net::{UnixListener, UnixStream};
use tokio::runtime::Runtime;
use tokio::sync::Mutex;

/// Where the connector connects to, and what answers there.
pub struct Server {
    pub runtime: Runtime,
    /// Locked for one log-in at a time: two targets in one process must not accept each other's.
    listener: Mutex<UnixListener>,
    connector: Connector,
    directory: PathBuf,
}

pub static SERVER: LazyLock<Server> = LazyLock::new(Server::new);

impl Server {
    fn new() -> Self {
        let directory = std::env::temp_dir().join(format!("rowgate-fuzz-{}", std::process::id()));
        std::fs::create_dir_all(&directory).unwrap();
        let url = format!("postgresql://u:p@/db?host={}", directory.display());
        let connector = Connector {
            slots: None,
            url: ConnectUrl::parse(&url).unwrap(),
            settings: Arc::new([]),
            session_keys: None,
            prepare: Some(OwnSql("select 1")),
            timeout: Duration::from_secs(5),
        };
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let socket = directory.join(".s.PGSQL.5432");
        let _ = std::fs::remove_file(&socket);
        let listener = runtime.block_on(async { UnixListener::bind(socket).unwrap() });
        Self { runtime, listener: Mutex::new(listener), connector, directory }
    }

    /// Logs in to a server that says `answers` and then falls silent.
    pub async fn log_in(&self, answers: &[u8]) -> (Result<Connection, PgError>, UnixStream) {
        let listener = self.listener.lock().await;
        tokio::join!(self.connector.connect(), async {
            let (mut stream, _) = listener.accept().await.unwrap();
            // The client may have had enough before.
            let _ = stream.write_all(answers).await;
            let _ = stream.shutdown().await;
            stream
        })
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.directory);
    }
}

pub fn run(data: &[u8]) {
    let (result, _stream) = SERVER.runtime.block_on(SERVER.log_in(data));
    match result {
        Ok(connection) => assert!(connection.is_idle()),
        Err(error) => assert!(!error.to_string().is_empty()),
    }
}
