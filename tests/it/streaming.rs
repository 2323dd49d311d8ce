//! Large answers through a `rowgate serve` process: bounded memory, slow readers, late failures.

#![cfg(target_os = "linux")] // Memory is read from /proc.

mod process;

use std::time::{Duration, Instant};

use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::harness::cluster;
use crate::harness::issuer::FakeIssuer;
use process::Process;

/// What a gateway's memory may grow by while it sends [`LARGE`], in KiB.
const MAY_GROW: u64 = 16 * 1024;
const MIB: usize = 1024 * 1024;
/// 200,000 rows of 1,000 bytes: somewhat more than 200 MB as JSON.
const LARGE: &str = "select repeat('x', 1000) as t from generate_series(1, 200000)";
const LARGE_BYTES: usize = 200_000_000;
/// A client that reads nothing for this long is cut off.
const WRITE_TIMEOUT: Duration = Duration::from_secs(1);

/// A gateway that lets large answers pass, on a database of its own.
async fn gateway() -> Process {
    let (database, issuer) = (cluster::fresh_database().await, FakeIssuer::start().await);
    Process::start(
        database,
        issuer,
        &[
            ("ROWGATE_LIMITS_ANSWER_BYTES", "1GiB"),
            ("ROWGATE_LIMITS_DEADLINE", "2m"),
            ("ROWGATE_SERVER_WRITE_TIMEOUT", "1s"),
        ],
    )
    .await
}

/// Sends a statement; nothing of the answer is read.
async fn send(gateway: &Process, query: &str, accept: &str) -> TcpStream {
    let body = json!({ "query": query }).to_string();
    let mut stream = TcpStream::connect(&gateway.address).await.unwrap();
    let head = format!(
        "POST /sql HTTP/1.1\r\nHost: x\r\nConnection: close\r\n{accept}Content-Length: {}\r\n\r\n",
        body.len()
    );
    stream.write_all(format!("{head}{body}").as_bytes()).await.unwrap();
    stream
}

/// Reads an answer to its end without keeping it: its length, and its last bytes.
async fn drain(mut stream: TcpStream) -> (usize, Vec<u8>) {
    let mut buffer = vec![0; 256 * 1024];
    let (mut total, mut tail) = (0, Vec::new());
    while let Ok(n @ 1..) = stream.read(&mut buffer).await {
        total += n;
        let keep = &buffer[n.saturating_sub(64)..n];
        tail.extend_from_slice(keep);
        tail.drain(..tail.len().saturating_sub(64));
    }
    (total, tail)
}

/// How HTTP/1.1 ends a chunked body (RFC 9112 §7.1).
const END_OF_CHUNKS: &[u8] = b"0\r\n\r\n";

async fn read_whole(gateway: &Process, query: &str) -> String {
    let mut answer = String::new();
    send(gateway, query, "").await.read_to_string(&mut answer).await.unwrap();
    answer
}

#[tokio::test(flavor = "multi_thread")]
async fn two_hundred_megabytes_pass_through_a_few() {
    let gateway = gateway().await;
    // What every gateway needs once: a connection of the pool, a thread of each kind, buffers.
    read_whole(&gateway, "select repeat('x', 1000) as t from generate_series(1, 1000)").await;
    let before = gateway.peak_memory_kib();
    let (plain, tail) = drain(send(&gateway, LARGE, "").await).await;
    let grown = gateway.peak_memory_kib() - before;
    println!("plain: {plain} bytes, peak memory {before} KiB + {grown} KiB");
    assert!(plain > LARGE_BYTES && tail.ends_with(END_OF_CHUNKS), "{plain}");
    assert!(grown < MAY_GROW, "grew by {grown} KiB");

    let wide = "select repeat('x', 1000000) as t from generate_series(1, 100)";
    let (bytes, tail) = drain(send(&gateway, wide, "").await).await;
    let grown = gateway.peak_memory_kib() - before;
    println!("rows of 1 MB: {bytes} bytes, peak memory + {grown} KiB");
    assert!(bytes > LARGE_BYTES / 2 && tail.ends_with(END_OF_CHUNKS), "{bytes}");
    assert!(grown < MAY_GROW, "rows of 1 MB: grew by {grown} KiB");

    for coding in ["gzip", "br", "zstd"] {
        // Fewer rows: compressing takes time, and memory shows early.
        let query = LARGE.replace("200000", "20000");
        let accept = format!("Accept-Encoding: {coding}\r\n");
        let (bytes, tail) = drain(send(&gateway, &query, &accept).await).await;
        let grown = gateway.peak_memory_kib() - before;
        println!("{coding}: {bytes} bytes, peak memory + {grown} KiB");
        assert!(bytes < 4 * MIB && tail.ends_with(END_OF_CHUNKS), "{coding}: {bytes}");
        assert!(grown < MAY_GROW, "{coding}: grew by {grown} KiB");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slow_reader_holds_up_only_itself_and_is_cut_off_in_time() {
    let gateway = gateway().await;
    let before = gateway.peak_memory_kib();
    let began = Instant::now();
    let slow = send(&gateway, LARGE, "").await;
    gateway.wait_for_statements(1).await;
    for _ in 0..20 {
        let asked = Instant::now();
        let answer = read_whole(&gateway, "select 1 as one").await;
        assert!(answer.contains(r#"[{"one":1}]"#), "{answer}");
        assert!(asked.elapsed() < Duration::from_secs(1), "held up for {:?}", asked.elapsed());
    }
    gateway.wait_for_statements(0).await;
    let cut_off = began.elapsed();
    assert!(cut_off > WRITE_TIMEOUT / 2, "cut off after {cut_off:?} already");
    assert!(cut_off < WRITE_TIMEOUT * 8, "cut off after {cut_off:?} only");
    let (bytes, tail) = drain(slow).await;
    assert!(bytes < LARGE_BYTES && !tail.ends_with(END_OF_CHUNKS), "{bytes} bytes looked whole");
    let grown = gateway.peak_memory_kib() - before;
    assert!(grown < MAY_GROW, "an unread answer took {grown} KiB");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reader_that_pauses_for_less_than_the_timeout_gets_everything() {
    let gateway = gateway().await;
    let mut stream = send(&gateway, &LARGE.replace("200000", "20000"), "").await;
    let mut buffer = vec![0; 4 * MIB];
    let mut total = 0;
    for _ in 0..3 {
        tokio::time::sleep(WRITE_TIMEOUT / 3).await;
        total += stream.read(&mut buffer).await.unwrap();
    }
    let (rest, tail) = drain(stream).await;
    assert!(total + rest > 20_000_000 && tail.ends_with(END_OF_CHUNKS), "{total} + {rest}");
}

#[tokio::test(flavor = "multi_thread")]
async fn small_answers_have_a_length_and_late_failures_break_off() {
    let gateway = gateway().await;
    let one = read_whole(&gateway, "select 1 as one").await.to_lowercase();
    let body = one.split_once("\r\n\r\n").unwrap().1;
    assert!(one.contains(&format!("\r\ncontent-length: {}\r\n", body.len())), "{one}");
    assert!(!one.contains("transfer-encoding"), "{one}");

    let early = read_whole(&gateway, "select 1 / (10 - i) from generate_series(1, 20) i").await;
    assert!(early.starts_with("HTTP/1.1 400"), "{early}");
    let late = "select repeat('x', 1000), 1 / (5000 - i) from generate_series(1, 10000) i";
    let mut answer = Vec::new();
    let _ = send(&gateway, late, "").await.read_to_end(&mut answer).await;
    assert!(answer.starts_with(b"HTTP/1.1 200"));
    assert!(answer.len() > MIB && !answer.ends_with(END_OF_CHUNKS), "{} bytes", answer.len());
    assert!(!String::from_utf8_lossy(&answer).contains("division"), "an error among the rows");
    assert!(read_whole(&gateway, "select 1 as one").await.contains("HTTP/1.1 200"));
}
