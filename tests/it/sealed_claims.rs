//! What the database believes: claims that a gateway sealed for this very connection, and nothing else.

mod hostile_sessions;
mod plans;
mod refusals;
mod rows;
pub(crate) mod secrecy;

use std::time::{SystemTime, UNIX_EPOCH};

use aws_lc_rs::hmac;
use rowgate::config::SealKeyConfig;
use rowgate::policy;
use tokio_postgres::Client;
use tokio_postgres::error::SqlState;

use crate::harness::cluster::{self, TestDatabase, connect};

const ALICE: &str = r#"{"sub":"alice","role":"authenticated"}"#;
const BOB: &str = r#"{"sub":"bob","role":"authenticated"}"#;
const NOBODY: &str = r#"{"role":"anonymous"}"#;

/// A connection as `authenticated`, and what its gateway knows.
struct Caller {
    database: TestDatabase,
    client: Client,
    key: SealKeyConfig,
    pid: i32,
}

impl Caller {
    async fn new() -> Self {
        let database = cluster::fresh_database().await;
        let key = policy::read_seal_key(&database.owner().await).await.unwrap();
        let client = connect(&database.authenticated_url).await;
        let pid = pid_of(&client).await;
        Self { database, client, key, pid }
    }

    /// As a gateway seals for this connection.
    fn seal(&self, claims: &str) -> String {
        seal(&self.key, &self.pid.to_string(), &in_seconds(30), claims)
    }

    /// One transaction with these settings; the text of `sql`'s first column.
    async fn ask(&self, claims: &str, seal: &str, sql: &str) -> Result<Option<String>, SqlState> {
        ask(&self.client, claims, seal, sql).await
    }

    /// As a gateway's request for `claims`.
    async fn sealed(&self, claims: &str, sql: &str) -> Result<Option<String>, SqlState> {
        self.ask(claims, &self.seal(claims), sql).await
    }

    /// Asserts that every function refuses with 28000.
    async fn refuses(&self, claims: &str, seal: &str) {
        for function in ["session", "jwt", "user_id", "uid"] {
            let sql = format!("select auth.{function}()::text");
            let outcome = self.ask(claims, seal, &sql).await;
            assert_eq!(
                outcome,
                Err(SqlState::INVALID_AUTHORIZATION_SPECIFICATION),
                "auth.{function}() with {claims:?} and {seal:?}"
            );
        }
    }
}

async fn ask(
    client: &Client,
    claims: &str,
    seal: &str,
    sql: &str,
) -> Result<Option<String>, SqlState> {
    client.batch_execute("begin").await.unwrap();
    let settings = "select pg_catalog.set_config('request.jwt.claims', $1, true), \
                    pg_catalog.set_config('rowgate.seal', $2, true)";
    client.execute(settings, &[&claims, &seal]).await.unwrap();
    let outcome = client.query_opt(sql, &[]).await;
    client.batch_execute("rollback").await.unwrap();
    match outcome {
        Ok(row) => Ok(row.and_then(|row| row.get(0))),
        Err(error) => Err(error.code().expect("the server refused").clone()),
    }
}

async fn pid_of(client: &Client) -> i32 {
    client.query_one("select pg_catalog.pg_backend_pid()", &[]).await.unwrap().get(0)
}

fn seal(key: &SealKeyConfig, pid: &str, exp: &str, claims: &str) -> String {
    let rest = format!(".{}.{exp}", key.kid);
    format!("{}{rest}", tag(key, &format!("{pid}{rest}{claims}")))
}

fn tag(key: &SealKeyConfig, message: &str) -> String {
    let key = hmac::Key::new(hmac::HMAC_SHA256, &key.key);
    hex::encode(hmac::sign(&key, message.as_bytes()))
}

/// Seconds since 1970, from now.
fn in_seconds(seconds: i64) -> String {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
    (i64::try_from(now).unwrap() + seconds).to_string()
}

const SUB: &str = "select auth.user_id()";

#[tokio::test]
async fn sealed_claims_are_what_the_functions_return() {
    let caller = Caller::new().await;
    let claims =
        r#"{"sub": "7d444840-9dc0-11d1-b245-5ffdce74fad2", "n": [1, {"a": null}], "e": "\u00e9"}"#;
    let id = Some("7d444840-9dc0-11d1-b245-5ffdce74fad2".to_owned());
    assert_eq!(caller.sealed(claims, SUB).await.unwrap(), id);
    assert_eq!(caller.sealed(claims, "select auth.uid()::text").await.unwrap(), id);
    for function in ["session", "jwt"] {
        let same = format!("select (auth.{function}() = $x${claims}$x$::jsonb)::text");
        assert_eq!(caller.sealed(claims, &same).await.unwrap().as_deref(), Some("true"));
    }
    let types = "select concat_ws(' ', pg_typeof(auth.session()), pg_typeof(auth.jwt()), \
                 pg_typeof(auth.user_id()), pg_typeof(auth.uid()))";
    assert_eq!(
        caller.sealed(claims, types).await.unwrap().as_deref(),
        Some("jsonb jsonb text uuid")
    );
}

#[tokio::test]
async fn a_subject_that_is_no_uuid_is_null_as_uuid() {
    let caller = Caller::new().await;
    for sub in [
        "alice",
        "",
        "7d444840-9dc0-11d1-b245-5ffdce74fad",
        "{7d4448409dc011d1b2455ffdce74fad2}",
        "7d444840-9dc0-11d1-b245-5ffdce74fad2\\n",
    ] {
        let claims = format!(r#"{{"sub":"{sub}"}}"#);
        assert_eq!(caller.sealed(&claims, "select auth.uid()::text").await, Ok(None), "{sub}");
    }
    assert_eq!(caller.sealed(NOBODY, "select auth.uid()::text").await, Ok(None));
    assert_eq!(caller.sealed(NOBODY, SUB).await, Ok(None));
}

#[tokio::test]
async fn without_a_request_there_is_nobody_and_no_error() {
    let caller = Caller::new().await;
    let everything = "select concat(auth.session(), auth.jwt(), auth.user_id(), auth.uid())";
    let row = caller.client.query_one(everything, &[]).await.unwrap();
    assert_eq!(row.get::<_, String>(0), "", "settings never set");
    caller.sealed(ALICE, SUB).await.unwrap();
    let row = caller.client.query_one(everything, &[]).await.unwrap();
    assert_eq!(row.get::<_, String>(0), "", "settings of an earlier transaction");
    let owner = caller.database.owner().await;
    let row = owner.query_one(everything, &[]).await.unwrap();
    assert_eq!(row.get::<_, String>(0), "", "the owner, outside of any gateway");
}

#[tokio::test]
async fn several_keys_are_good_at_once_until_they_are_retired() {
    let caller = Caller::new().await;
    let superuser = caller.database.superuser().await;
    let copy = "insert into auth.seal_keys (kid, ipad, opad) select $1, ipad, opad from auth.seal_keys limit 1";
    superuser.execute(copy, &[&"k2"]).await.unwrap();
    let second = SealKeyConfig { kid: "k2".to_owned(), ..caller.key.clone() };
    let by_second = seal(&second, &caller.pid.to_string(), &in_seconds(30), ALICE);
    let alice = Ok(Some("alice".to_owned()));
    assert_eq!(caller.sealed(ALICE, SUB).await, alice);
    assert_eq!(caller.ask(ALICE, &by_second, SUB).await, alice);
    for retired in [
        "not_before = now() + interval '1 h'",
        "not_before = now() - interval '2 h', not_after = now() - interval '1 s'",
    ] {
        let sql = format!("update auth.seal_keys set {retired} where kid = 'k2'");
        superuser.batch_execute(&sql).await.unwrap();
        caller.refuses(ALICE, &by_second).await;
        assert_eq!(caller.sealed(ALICE, SUB).await, alice);
    }
    superuser.batch_execute("delete from auth.seal_keys where kid = 'k2'").await.unwrap();
    caller.refuses(ALICE, &by_second).await;
}

#[tokio::test]
async fn a_seal_for_no_backend_is_believed_only_with_a_key_that_is_made_for_it() {
    let caller = Caller::new().await;
    let owner = caller.database.owner().await;
    let any = policy::Schedule {
        lead: std::time::Duration::ZERO,
        overlap: std::time::Duration::from_secs(60),
    };
    policy::rotate_seal_key(&owner, any, false).await.unwrap();
    let wanted = policy::Wanted { bound: false, coming: false };
    let unbound = policy::read_seal_keys(&owner, wanted).await.unwrap().remove(0);
    let (pid, exp) = (caller.pid.to_string(), in_seconds(30));

    let for_nobody = seal(&unbound, "0", &exp, ALICE);
    assert_eq!(caller.ask(ALICE, &for_nobody, SUB).await, Ok(Some("alice".to_owned())));
    let other = connect(&caller.database.authenticated_url).await;
    let elsewhere = ask(&other, ALICE, &for_nobody, SUB).await;
    assert_eq!(elsewhere, Ok(Some("alice".to_owned())), "that is what makes it weaker");

    caller.refuses(BOB, &for_nobody).await;
    caller.refuses(ALICE, &seal(&unbound, "0", &in_seconds(-1), ALICE)).await;
    caller.refuses(ALICE, &seal(&unbound, &pid, &exp, ALICE)).await;
    caller.refuses(ALICE, &seal(&unbound, "", &exp, ALICE)).await;
    caller.refuses(ALICE, &seal(&caller.key, "0", &exp, ALICE)).await;
    // The other key's id does not lend its freedom.
    let borrowed = SealKeyConfig { kid: unbound.kid.clone(), ..caller.key.clone() };
    caller.refuses(ALICE, &seal(&borrowed, "0", &exp, ALICE)).await;
}

#[tokio::test]
async fn a_prepared_statement_verifies_each_time_it_runs() {
    let caller = Caller::new().await;
    let settings = "select pg_catalog.set_config('request.jwt.claims', $1, true), \
                    pg_catalog.set_config('rowgate.seal', $2, true)";
    let prepared = caller.client.prepare(SUB).await.unwrap();
    for round in 0..20 {
        let claims = if round % 2 == 0 { ALICE } else { BOB };
        caller.client.batch_execute("begin").await.unwrap();
        caller.client.execute(settings, &[&claims, &caller.seal(claims)]).await.unwrap();
        let sub: String = caller.client.query_one(&prepared, &[]).await.unwrap().get(0);
        assert_eq!(sub, if round % 2 == 0 { "alice" } else { "bob" });
        caller.client.batch_execute("commit").await.unwrap();
    }
}
