//! `auth.crud_policy`: the usual policies of a role on a table, from one call.

use serde_json::json;
use tokio_postgres::Client;

use crate::harness::gateway::TestGateway;

const TABLE: &str =
    "create table notes (id int primary key, user_id text not null, open bool not null);
     grant select, insert, update, delete on notes to authenticated, anonymous;
     insert into notes values (1, 'alice', false), (2, 'bob', true)";
const OWN: &str = "(select auth.user_id()) = user_id";
const IDS: &str = "select id from notes order by id";

/// Name, command, roles, using and with check, as `pg_policies` shows them.
async fn policies(client: &Client) -> Vec<String> {
    let sql = "select concat_ws(' | ', policyname, lower(cmd), array_to_string(roles, ','), \
                                coalesce(qual, '-'), coalesce(with_check, '-')) \
                 from pg_policies where tablename = 'notes' order by 1";
    client.query(sql, &[]).await.unwrap().iter().map(|row| row.get(0)).collect()
}

async fn gateway() -> (TestGateway, Client) {
    let gateway = TestGateway::start().await;
    let owner = gateway.database.owner().await;
    owner.batch_execute(TABLE).await.unwrap();
    (gateway, owner)
}

#[tokio::test]
async fn one_call_makes_four_readable_policies_and_enables_row_level_security() {
    let (gateway, owner) = gateway().await;
    owner
        .batch_execute(&format!(
            "select auth.crud_policy('notes', 'authenticated', read => '{OWN}', modify => '{OWN}');
             select auth.crud_policy('notes', 'anonymous', 'open', false)"
        ))
        .await
        .unwrap();
    insta::assert_snapshot!(policies(&owner).await.join("\n"), @r"
    crud_anonymous_delete | delete | anonymous | false | -
    crud_anonymous_insert | insert | anonymous | - | false
    crud_anonymous_select | select | anonymous | open | -
    crud_anonymous_update | update | anonymous | false | false
    crud_authenticated_delete | delete | authenticated | (( SELECT auth.user_id() AS user_id) = user_id) | -
    crud_authenticated_insert | insert | authenticated | - | (( SELECT auth.user_id() AS user_id) = user_id)
    crud_authenticated_select | select | authenticated | (( SELECT auth.user_id() AS user_id) = user_id) | -
    crud_authenticated_update | update | authenticated | (( SELECT auth.user_id() AS user_id) = user_id) | (( SELECT auth.user_id() AS user_id) = user_id)
    ");
    assert_eq!(gateway.sql(Some("alice"), IDS, json!([])).await.rows(), json!([[1]]));
    assert_eq!(gateway.sql(None, IDS, json!([])).await.rows(), json!([[2]]));
    let forged = "insert into notes values (3, 'bob', true)";
    assert_eq!(
        gateway.sql(Some("alice"), forged, json!([])).await.failure(),
        (400, "42501".to_owned())
    );
    assert_eq!(gateway.sql(None, forged, json!([])).await.failure(), (400, "42501".to_owned()));
    let update = "update notes set open = true returning id";
    assert_eq!(gateway.sql(Some("alice"), update, json!([])).await.rows(), json!([[1]]));
    assert_eq!(gateway.sql(None, update, json!([])).await.rows(), json!([]));
}

#[tokio::test]
async fn a_second_call_replaces_what_the_first_made() {
    let (gateway, owner) = gateway().await;
    for call in [
        "auth.crud_policy('notes', 'authenticated', false, 'open -- all of them')",
        "auth.crud_policy('notes', 'authenticated', true, null::text)",
        "auth.crud_policy('notes', 'authenticated', true, null::text)",
        "auth.crud_policy('public.notes', 'public', null::text, false)",
    ] {
        owner.batch_execute(&format!("select {call}")).await.unwrap();
    }
    insta::assert_snapshot!(policies(&owner).await.join("\n"), @r"
    crud_authenticated_select | select | authenticated | true | -
    crud_public_delete | delete | public | false | -
    crud_public_insert | insert | public | - | false
    crud_public_update | update | public | false | false
    ");
    assert_eq!(gateway.sql(Some("alice"), IDS, json!([])).await.rows(), json!([[1], [2]]));
}

#[tokio::test]
async fn callers_of_the_gateway_cannot_call_it() {
    let (gateway, _owner) = gateway().await;
    for arguments in ["true, true", "'true', 'true'", "true, 'true'", "'true', true"] {
        let call = format!("select auth.crud_policy('notes', 'anonymous', {arguments})");
        for subject in [Some("alice"), None] {
            let answer = gateway.sql(subject, &call, json!([])).await;
            assert_eq!(answer.failure(), (400, "42501".to_owned()), "{call}");
        }
    }
}

#[tokio::test]
async fn whatever_the_search_path_finds_first_does_not_stand_in_for_the_real_thing() {
    let (_gateway, owner) = gateway().await;
    owner
        .batch_execute(
            "create schema trap;
             create function trap.format(text, variadic text[]) returns text
               language sql as 'select ''drop table public.notes''';
             create function trap.concat(variadic text[]) returns text language sql as 'select ''x''';
             create function trap.crud_policy(regclass, name, text, text) returns void
               language sql as 'drop table public.notes';
             create table trap.pg_policy (polrelid oid, polname name);
             create table trap.notes (user_id text, open bool);
             set search_path to trap, public, pg_catalog;
             select auth.crud_policy('public.notes', 'authenticated', true, 'open');
             set search_path to public",
        )
        .await
        .unwrap();
    assert_eq!(policies(&owner).await.len(), 4);
    let trapped = "select relrowsecurity from pg_class where oid = 'trap.notes'::regclass";
    assert!(!owner.query_one(trapped, &[]).await.unwrap().get::<_, bool>(0));
}

#[tokio::test]
async fn what_makes_no_sense_is_refused_and_changes_nothing() {
    let (_gateway, owner) = gateway().await;
    for (call, sqlstate) in [
        ("auth.crud_policy(null, 'authenticated', true, true)", "22004"),
        ("auth.crud_policy('notes', 'authenticated', 'nosuch = 1', true)", "42703"),
        ("auth.crud_policy('notes', 'nosuch', true, true)", "42704"),
        ("auth.crud_policy('notes', repeat('r', 60)::name, true, true)", "42622"),
        ("auth.crud_policy('nosuch', 'authenticated', true, true)", "42P01"),
    ] {
        let error = owner.batch_execute(&format!("select {call}")).await.unwrap_err();
        assert_eq!(error.code().map(|code| code.code()), Some(sqlstate), "{call}: {error}");
    }
    assert!(policies(&owner).await.is_empty());
}
