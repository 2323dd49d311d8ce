//! Compressing large answers for clients that ask for it (RFC 9110 §8.4, §12.5.3).
//!
//! Small answers pay nothing for it, and the work is done on threads of its own, so that it holds up no
//! other request. Must never change an answer that is not compressed, nor turn a part of one into
//! something that looks whole: only the last [`Stream::piece`] ends the format.

use std::io::{self, Write};

use bytes::Bytes;
use hyper::HeaderMap;
use hyper::header::{self, HeaderValue};
use tokio::task::spawn_blocking;

use super::Answer;

// The levels are the ones past which more time buys little: an answer is compressed once for one reader.
const GZIP_LEVEL: u32 = 4;
const ZSTD_LEVEL: i32 = 3;
const BROTLI_QUALITY: u32 = 4;
/// log2 of the bytes that brotli looks back: what a stream costs in memory, twice.
const BROTLI_WINDOW: u32 = 19;
/// Bytes that brotli collects before it writes.
const BROTLI_BUFFER: usize = 16 * 1024;
/// Weights are counted in thousandths (RFC 9110 §12.4.2 allows three decimals).
const FULL_WEIGHT: u16 = 1000;

/// A content coding.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Coding {
    /// RFC 8878
    Zstd,
    /// RFC 7932
    Brotli,
    /// RFC 1952
    Gzip,
}

/// What is taken first where the client has no preference: the quickest for what it saves.
const PREFERENCE: [Coding; 3] = [Coding::Zstd, Coding::Brotli, Coding::Gzip];

impl Coding {
    fn name(self) -> &'static str {
        match self {
            Self::Zstd => "zstd",
            Self::Brotli => "br",
            Self::Gzip => "gzip",
        }
    }

    fn is_called(self, name: &str) -> bool {
        name.eq_ignore_ascii_case(self.name())
            || self == Self::Gzip && name.eq_ignore_ascii_case("x-gzip")
    }
}

/// How one request's answer may be compressed. Costs nothing until there is an answer that is worth it.
#[derive(Clone, Copy, Debug)]
pub struct Compression<'a> {
    from: Option<usize>,
    headers: &'a HeaderMap,
}

impl<'a> Compression<'a> {
    /// `from`: the smallest answer that is compressed, in bytes; none: never. `headers`: the request's.
    #[must_use]
    pub fn new(from: Option<usize>, headers: &'a HeaderMap) -> Self {
        Self { from, headers }
    }

    /// Compresses a whole answer that is worth it. One that does not become smaller stays as it is.
    pub async fn whole(&self, answer: Bytes) -> (Bytes, Encoded) {
        if self.from.is_none_or(|from| answer.len() < from) {
            return (answer, Encoded::Never);
        }
        let Some(coding) = self.chosen() else { return (answer, Encoded::NotThisTime) };
        let input = answer.clone();
        let compressed = spawn_blocking(move || Encoder::new(coding)?.finish(&input)).await;
        match compressed {
            Ok(Ok(smaller)) if smaller.len() < answer.len() => {
                (smaller.into(), Encoded::With(coding))
            }
            _ => (answer, Encoded::NotThisTime),
        }
    }

    /// Prepares for an answer of unknown, but considerable, size.
    #[must_use]
    pub fn stream(&self) -> (Stream, Encoded) {
        if self.from.is_none() {
            return (Stream(None), Encoded::Never);
        }
        let encoder = self.chosen().and_then(|coding| Some((coding, Encoder::new(coding).ok()?)));
        match encoder {
            Some((coding, encoder)) => (Stream(Some(encoder)), Encoded::With(coding)),
            None => (Stream(None), Encoded::NotThisTime),
        }
    }

    fn chosen(&self) -> Option<Coding> {
        // Several lines are one list (RFC 9110 §5.3).
        let lines = self.headers.get_all(header::ACCEPT_ENCODING).iter();
        let lines: Vec<&str> = lines.filter_map(|line| line.to_str().ok()).collect();
        choose(&lines.join(","))
    }
}

/// How an answer came to be encoded, for its headers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Encoded {
    /// Whatever the client had accepted, this would have been sent.
    Never,
    /// Sent as it is, though another client might get it compressed.
    NotThisTime,
    /// Compressed.
    With(Coding),
}

impl Encoded {
    /// Says so in the answer's headers.
    pub fn label(self, answer: &mut Answer) {
        if self == Self::Never {
            return;
        }
        let headers = answer.headers_mut();
        headers.append(header::VARY, HeaderValue::from_static("Accept-Encoding"));
        if let Self::With(coding) = self {
            headers.insert(header::CONTENT_ENCODING, HeaderValue::from_static(coding.name()));
        }
    }
}

/// The best coding that `Accept-Encoding` asks for; none if it likes unencoded answers better.
#[must_use]
pub fn choose(accepted: &str) -> Option<Coding> {
    let best = PREFERENCE
        .into_iter()
        .map(|coding| (coding, weight(accepted, |name| coding.is_called(name)).unwrap_or(0)))
        .reduce(|best, next| if next.1 > best.1 { next } else { best });
    let (coding, best) = best.filter(|(_, weight)| *weight > 0)?;
    let identity = accepted_weight(accepted, |name| name.eq_ignore_ascii_case("identity"));
    (identity.is_none_or(|identity| best >= identity)).then_some(coding)
}

/// The weight of the coding that `is_named` knows; `*` stands for those that are not named.
fn weight(accepted: &str, is_named: impl Fn(&str) -> bool) -> Option<u16> {
    accepted_weight(accepted, is_named).or_else(|| accepted_weight(accepted, |name| name == "*"))
}

fn accepted_weight(accepted: &str, is_named: impl Fn(&str) -> bool) -> Option<u16> {
    accepted.split(',').find_map(|item| {
        let mut parts = item.split(';');
        let name = parts.next().unwrap_or_default().trim();
        is_named(name).then(|| quality(parts.next().unwrap_or_default()))
    })
}

/// `q=0.5` in thousandths; what cannot be read refuses the coding rather than imposing it.
fn quality(parameter: &str) -> u16 {
    let parameter = parameter.trim();
    if parameter.is_empty() {
        return FULL_WEIGHT;
    }
    let Some(value) =
        parameter.strip_prefix(['q', 'Q']).and_then(|rest| rest.trim().strip_prefix('='))
    else {
        return 0;
    };
    match value.trim().split_once('.').unwrap_or((value.trim(), "")) {
        ("1", decimals) if decimals.bytes().all(|digit| digit == b'0') => FULL_WEIGHT,
        ("0", decimals) if decimals.len() <= 3 => format!("{decimals:0<3}").parse().unwrap_or(0),
        _ => 0,
    }
}

/// The pieces of a streamed answer, on their way to the client.
pub struct Stream(Option<Encoder>);

impl std::fmt::Debug for Stream {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Stream").field(&self.0.as_ref().map(Encoder::coding)).finish()
    }
}

impl Stream {
    /// Encodes the next piece, so that the client can decode all of it. An error leaves nothing that
    /// could be sent on.
    pub async fn piece(&mut self, bytes: Vec<u8>, last: bool) -> io::Result<Bytes> {
        let Some(mut encoder) = self.0.take() else { return Ok(bytes.into()) };
        let work = spawn_blocking(move || {
            if last {
                return Ok((encoder.finish(&bytes)?, None));
            }
            let output = encoder.more(&bytes)?;
            Ok::<_, io::Error>((output, Some(encoder)))
        });
        let (output, unfinished) = work.await.map_err(io::Error::other)??;
        self.0 = unfinished;
        Ok(output.into())
    }
}

/// One answer in the making, in one of the formats.
enum Encoder {
    Zstd(zstd::stream::write::Encoder<'static, Vec<u8>>),
    Brotli(Box<brotli::CompressorWriter<Vec<u8>>>),
    Gzip(flate2::write::GzEncoder<Vec<u8>>),
}

impl Encoder {
    fn new(coding: Coding) -> io::Result<Self> {
        let out = Vec::new();
        Ok(match coding {
            Coding::Zstd => Self::Zstd(zstd::stream::write::Encoder::new(out, ZSTD_LEVEL)?),
            Coding::Brotli => Self::Brotli(Box::new(brotli::CompressorWriter::new(
                out,
                BROTLI_BUFFER,
                BROTLI_QUALITY,
                BROTLI_WINDOW,
            ))),
            Coding::Gzip => {
                Self::Gzip(flate2::write::GzEncoder::new(out, flate2::Compression::new(GZIP_LEVEL)))
            }
        })
    }

    fn coding(&self) -> Coding {
        match self {
            Self::Zstd(_) => Coding::Zstd,
            Self::Brotli(_) => Coding::Brotli,
            Self::Gzip(_) => Coding::Gzip,
        }
    }

    /// Takes in `bytes`, and gives out everything that is known of them.
    fn more(&mut self, bytes: &[u8]) -> io::Result<Vec<u8>> {
        Ok(std::mem::take(match self {
            Self::Zstd(encoder) => flushed(encoder, bytes)?.get_mut(),
            Self::Brotli(encoder) => flushed(&mut **encoder, bytes)?.get_mut(),
            Self::Gzip(encoder) => flushed(encoder, bytes)?.get_mut(),
        }))
    }

    /// Takes in the last `bytes`, and gives out the rest with the format's end.
    fn finish(self, bytes: &[u8]) -> io::Result<Vec<u8>> {
        match self {
            Self::Zstd(mut encoder) => {
                encoder.write_all(bytes)?;
                encoder.finish()
            }
            Self::Brotli(mut encoder) => {
                encoder.write_all(bytes)?;
                Ok(encoder.into_inner())
            }
            Self::Gzip(mut encoder) => {
                encoder.write_all(bytes)?;
                encoder.finish()
            }
        }
    }
}

fn flushed<'a, W: Write>(encoder: &'a mut W, bytes: &[u8]) -> io::Result<&'a mut W> {
    encoder.write_all(bytes)?;
    encoder.flush()?;
    Ok(encoder)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn weights_decide_and_ties_go_to_the_quickest() {
        for (accepted, expected) in [
            ("gzip", Some(Coding::Gzip)),
            ("x-gzip", Some(Coding::Gzip)),
            ("gzip, deflate, br, zstd", Some(Coding::Zstd)),
            ("gzip, deflate, br", Some(Coding::Brotli)),
            ("GZIP;Q=0.9, br;q=0.8", Some(Coding::Gzip)),
            ("br;q=0.001 , gzip;q=0", Some(Coding::Brotli)),
            ("zstd;q=0, *", Some(Coding::Brotli)),
            ("identity;q=0.5, gzip ; q=0.5", Some(Coding::Gzip)),
            ("identity, gzip;q=0.9", None),
            ("gzip;q=0.000", None),
            ("*;q=0", None),
            ("deflate", None),
            ("identity", None),
            ("", None),
            ("gzip;q=2", None),
            ("gzip;q=x", None),
            ("gzip;quality=1", None),
        ] {
            assert_eq!(choose(accepted), expected, "{accepted}");
        }
    }

    #[tokio::test]
    async fn what_does_not_become_smaller_stays_as_it_is() {
        let mut headers = HeaderMap::new();
        headers.insert(header::ACCEPT_ENCODING, HeaderValue::from_static("gzip"));
        let compression = Compression::new(Some(1), &headers);
        let (bytes, encoded) = compression.whole(Bytes::from_static(b"{}")).await;
        assert_eq!((&bytes[..], encoded), (&b"{}"[..], Encoded::NotThisTime));
    }

    proptest::proptest! {
        #[test]
        fn any_header_is_read_without_panic(accepted in "[a-z*;=,.0-9 Qq]{0,60}") {
            let _ = choose(&accepted);
        }
    }
}
