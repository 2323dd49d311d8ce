//! Asks a running gateway how it is: for container health checks, where no other HTTP client exists.

use std::time::Duration;

use bytes::Bytes;
use http_body_util::Empty;
use hyper::Uri;
use hyper_util::client::legacy::Client;
use hyper_util::rt::TokioExecutor;
use tokio::time::timeout;

use super::Failure;

/// A gateway that takes longer is not well.
const PATIENCE: Duration = Duration::from_secs(3);

/// Succeeds if the URL is answered with 200.
pub(super) async fn probe(url: Uri) -> Result<(), Failure> {
    let client = Client::builder(TokioExecutor::new()).build_http::<Empty<Bytes>>();
    match timeout(PATIENCE, client.get(url.clone())).await {
        Ok(Ok(answer)) if answer.status().is_success() => Ok(()),
        Ok(Ok(answer)) => Err(Failure::runtime(format!("{url} answered {}", answer.status()))),
        Ok(Err(error)) => {
            Err(Failure::runtime(format!("{url} cannot be asked: {}", cause(&error))))
        }
        Err(_) => Err(Failure::runtime(format!("{url} gave no answer within {PATIENCE:?}"))),
    }
}

/// The innermost cause: the client's own words only say that it failed.
fn cause(error: &dyn std::error::Error) -> String {
    let mut innermost = error;
    while let Some(source) = innermost.source() {
        innermost = source;
    }
    innermost.to_string()
}
