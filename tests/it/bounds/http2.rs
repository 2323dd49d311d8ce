//! HTTP/2 as no decent client speaks it: the connection ends in bounded time and memory, and a normal
//! request on another goes on working.

use std::time::{Duration, Instant};

use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::{PATIENCE, send};
use crate::harness::gateway::TestGateway;

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// Frame types (RFC 9113 §6).
const DATA: u8 = 0;
const HEADERS: u8 = 1;
const RESET: u8 = 3;
const SETTINGS: u8 = 4;
const PING: u8 = 6;
const WINDOW_UPDATE: u8 = 8;
const CONTINUATION: u8 = 9;
/// Flags.
const END_STREAM: u8 = 1;
const END_HEADERS: u8 = 4;

/// `POST http://x/sql` by the static table of HPACK (RFC 7541, appendix A).
const POST_SQL: &[u8] = b"\x83\x86\x04\x04/sql\x01\x01x";
const GET_ROOT: &[u8] = b"\x82\x86\x84\x01\x01x";

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    let mut frame = vec![length[1], length[2], length[3], kind, flags];
    frame.extend_from_slice(&stream.to_be_bytes());
    frame.extend_from_slice(payload);
    frame
}

async fn impatient() -> TestGateway {
    TestGateway::with(|config| {
        config.server.header_timeout = Duration::from_millis(500);
        config.server.write_timeout = Duration::from_millis(500);
    })
    .await
}

/// Opens a connection with these settings (identifier and value).
async fn open(gateway: &TestGateway, settings: &[(u16, u32)]) -> TcpStream {
    let mut payload = Vec::new();
    for (identifier, value) in settings {
        payload.extend_from_slice(&identifier.to_be_bytes());
        payload.extend_from_slice(&value.to_be_bytes());
    }
    send(gateway, &[PREFACE, &frame(SETTINGS, 0, 0, &payload)].concat()).await
}

/// Sends what `next` makes, over and over, reading what comes back, until the gateway closes.
async fn until_cut_off(stream: TcpStream, mut next: impl FnMut(u32) -> Vec<u8>) {
    let (mut reader, mut writer) = stream.into_split();
    let reading = tokio::spawn(async move {
        let mut scratch = [0; 16 * 1024];
        while reader.read(&mut scratch).await.is_ok_and(|n| n > 0) {}
    });
    let began = Instant::now();
    for round in 0.. {
        assert!(began.elapsed() < PATIENCE, "still open after {round} rounds");
        if reading.is_finished() || writer.write_all(&next(round)).await.is_err() {
            break;
        }
        tokio::task::yield_now().await;
    }
}

/// Resident memory of this process, the gateway in it, in MiB.
fn resident_mib() -> usize {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<usize>().unwrap() / 1024
}

async fn works(gateway: &TestGateway) {
    assert_eq!(gateway.sql(None, "select 1", json!([])).await.rows(), json!([[1]]));
}

#[tokio::test]
async fn resetting_streams_as_fast_as_they_open_ends_the_connection() {
    let gateway = impatient().await;
    let body = frame(DATA, END_STREAM, 0, br#"{"query":"select pg_sleep(10)"}"#);
    until_cut_off(open(&gateway, &[]).await, |round| {
        let stream = 2 * round + 1;
        let mut body = body.clone();
        body[5..9].copy_from_slice(&stream.to_be_bytes());
        let mut frames = frame(HEADERS, END_HEADERS, stream, POST_SQL);
        frames.extend(body);
        frames.extend(frame(RESET, 0, stream, &8u32.to_be_bytes()));
        frames
    })
    .await;
    works(&gateway).await;
    let began = Instant::now();
    while gateway.running_statements().await > 0 {
        assert!(began.elapsed() < PATIENCE, "statements of reset streams run on");
    }
}

#[tokio::test]
async fn a_head_without_an_end_ends_the_connection() {
    let gateway = impatient().await;
    let before = resident_mib();
    // Literal fields, not indexed: 16 KiB in each frame.
    let field = [b"\0\x01a\x7f\x81\x7f".as_slice(), &[b'x'; 16_256]].concat();
    until_cut_off(open(&gateway, &[]).await, |round| match round {
        0 => frame(HEADERS, 0, 1, POST_SQL),
        _ => frame(CONTINUATION, 0, 1, &field[..16_000]),
    })
    .await;
    until_cut_off(open(&gateway, &[]).await, |round| match round {
        0 => frame(HEADERS, 0, 1, POST_SQL),
        _ => frame(CONTINUATION, 0, 1, b""),
    })
    .await;
    assert!(resident_mib() < before + 64, "{before} MiB became {}", resident_mib());
    works(&gateway).await;
}

#[tokio::test]
async fn floods_without_a_request_end_with_the_time_for_a_head() {
    let gateway = impatient().await;
    let before = resident_mib();
    let settings = frame(SETTINGS, 0, 0, &[0, 4, 0, 0, 0xff, 0xff]);
    let ping = frame(PING, 0, 0, b"12345678");
    let window = frame(WINDOW_UPDATE, 0, 0, &0u32.to_be_bytes());
    let unknown = frame(0xfa, 0, 0, &[0; 1000]);
    for flood in [settings, ping, window, unknown] {
        let many = flood.repeat(100);
        until_cut_off(open(&gateway, &[]).await, |_| many.clone()).await;
    }
    assert!(resident_mib() < before + 64, "{before} MiB became {}", resident_mib());
    works(&gateway).await;
}

#[tokio::test]
async fn connections_without_a_request_are_closed() {
    let gateway = impatient().await;
    // One answers pings and acknowledges settings like a decent client, the other says nothing more.
    let mut decent = open(&gateway, &[]).await;
    let began = Instant::now();
    loop {
        let mut head = [0; 9];
        if decent.read_exact(&mut head).await.is_err() {
            break;
        }
        let length = u32::from_be_bytes([0, head[0], head[1], head[2]]) as usize;
        let mut payload = vec![0; length];
        decent.read_exact(&mut payload).await.unwrap();
        if [PING, SETTINGS].contains(&head[3]) && head[4] == 0 {
            let payload = if head[3] == PING { payload } else { Vec::new() };
            let _ = decent.write_all(&frame(head[3], 1, 0, &payload)).await;
        }
        assert!(began.elapsed() < PATIENCE, "still open");
    }
    until_cut_off(open(&gateway, &[]).await, |_| Vec::new()).await;
}

#[tokio::test]
async fn a_compressed_head_cannot_become_large() {
    let gateway = impatient().await;
    let before = resident_mib();
    // A field of 4,000 bytes into the dynamic table, then named by one byte each, 16,000 times.
    let long = [b"\x40\x01a\x7f\xa1\x1e".as_slice(), &[b'x'; 4000]].concat();
    let bomb = [POST_SQL, &long, &[0xbe; 12_000]].concat();
    until_cut_off(open(&gateway, &[]).await, |round| {
        frame(HEADERS, END_HEADERS | END_STREAM, 2 * round + 1, &bomb)
    })
    .await;
    assert!(resident_mib() < before + 64, "{before} MiB became {}", resident_mib());
    works(&gateway).await;
}

#[tokio::test]
async fn who_leaves_no_room_for_answers_is_cut_off() {
    let gateway = impatient().await;
    // SETTINGS_INITIAL_WINDOW_SIZE 0: nothing of a body may be sent.
    let mut stream = open(&gateway, &[(4, 0)]).await;
    for n in 0..50 {
        let request = frame(HEADERS, END_HEADERS | END_STREAM, 2 * n + 1, GET_ROOT);
        stream.write_all(&request).await.unwrap();
    }
    until_cut_off(stream, |_| {
        std::thread::sleep(Duration::from_millis(5));
        frame(PING, 0, 0, b"12345678")
    })
    .await;
    works(&gateway).await;
}

#[tokio::test]
async fn a_head_that_is_too_large_is_answered_with_431_and_the_connection_goes_on() {
    let gateway = TestGateway::start().await;
    let io = hyper_util::rt::TokioIo::new(TcpStream::connect(gateway.address).await.unwrap());
    let executor = hyper_util::rt::TokioExecutor::new();
    let (mut sender, connection) =
        hyper::client::conn::http2::Builder::new(executor).handshake(io).await.unwrap();
    tokio::spawn(connection);
    for (length, status) in [(40_000, 431), (1, 404)] {
        let request = hyper::Request::get("http://x/")
            .header("x-long", "x".repeat(length))
            .body(http_body_util::Empty::<bytes::Bytes>::new())
            .unwrap();
        assert_eq!(sender.send_request(request).await.unwrap().status(), status);
    }
}
