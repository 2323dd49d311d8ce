//! A server that sends anything on an established connection: every message is whole or an error, none is
//! longer than the limit, and the connection is idle only after what says so.

use rowgate::pg::frame::{Reader, tag};
use rowgate::pg::server_error::ServerError;

use super::login::SERVER;

const LIMIT: usize = 1024;
/// A log-in without a password, and our own statement prepared.
const LOGGED_IN: &[u8] = b"R\0\0\0\x08\0\0\0\0K\0\0\0\x0c\0\0\x12\x34\0\0\0\x01\
    Z\0\0\0\x05I1\0\0\0\x04Z\0\0\0\x05I";

pub fn run(data: &[u8]) {
    SERVER.runtime.block_on(async {
        let answers = [LOGGED_IN, data].concat();
        let (connection, _stream) = SERVER.log_in(&answers).await;
        let mut connection = connection.expect("a good log-in");
        connection.limit_frames(LIMIT);
        // Nothing is sent, two answers are awaited.
        if connection.flush(2).await.is_err() {
            return;
        }
        let mut ready = 0;
        while let Ok(frame) = connection.next().await {
            assert!(frame.body.len() < LIMIT);
            ready += usize::from(frame.tag == tag::READY);
            if frame.tag == tag::ERROR {
                let _ = ServerError::parse(frame.body);
            }
            read_values(frame.body);
            assert!(!connection.is_idle() || ready >= 2);
        }
        assert!(!connection.is_alive(), "the server has gone");
        connection.trim();
    });
}

/// A message's body as a row.
fn read_values(body: &[u8]) {
    let mut reader = Reader::new(body);
    let Ok(count) = reader.count() else { return };
    for _ in 0..count {
        match reader.value() {
            Ok(value) => assert!(value.is_none_or(|value| value.len() <= body.len())),
            Err(_) => return,
        }
    }
}
