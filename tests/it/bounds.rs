//! What one caller, one address or one message may cost, and that a normal request next to an abuse goes
//! on working.

mod addresses;
mod bodies;
mod callers;
mod http1;
mod http2;
mod rows;

use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::harness::gateway::TestGateway;

/// More than any limit of these tests, on a machine that is busy with others.
const PATIENCE: Duration = Duration::from_secs(20);

/// Opens a connection and sends these bytes.
async fn send(gateway: &TestGateway, bytes: &[u8]) -> TcpStream {
    let mut stream = TcpStream::connect(gateway.address).await.unwrap();
    // The gateway may have closed before it took all of it.
    let _ = stream.write_all(bytes).await;
    stream
}

/// All that arrives until the gateway closes the connection, which it must.
async fn until_closed(stream: &mut TcpStream) -> String {
    let mut bytes = Vec::new();
    let closed = timeout(PATIENCE, stream.read_to_end(&mut bytes)).await;
    assert!(closed.is_ok(), "still open after {:?}", String::from_utf8_lossy(&bytes));
    String::from_utf8_lossy(&bytes).into_owned()
}

/// `POST /sql` as it goes over the wire.
fn raw(headers: &str, query: &str) -> String {
    let body = serde_json::json!({ "query": query }).to_string();
    let length = body.len();
    format!("POST /sql HTTP/1.1\r\nHost: x\r\n{headers}Content-Length: {length}\r\n\r\n{body}")
}

/// A counter's value.
async fn counted(gateway: &TestGateway, limit: &str) -> usize {
    let text = String::from_utf8(gateway.admin("/metrics").await.body.to_vec()).unwrap();
    let name = format!("rowgate_limits_met_total{{limit=\"{limit}\"}} ");
    let line = text.lines().find_map(|line| line.strip_prefix(&name));
    line.map_or(0, |count| count.parse().unwrap())
}

/// A function that callers may call and that takes its time.
async fn let_callers_nap(gateway: &TestGateway) {
    let owner = gateway.database.owner().await;
    let function = "create function nap(seconds float8) returns text language sql volatile
                    begin atomic select 'slept' from pg_catalog.pg_sleep(seconds); end;
                    grant execute on function nap(float8) to authenticated, anonymous";
    owner.batch_execute(function).await.unwrap();
}
