//! Versioned migrations, the schema `auth`, logins and keys.

use rowgate::policy::{self, PolicyError};
use tokio_postgres::Client;

use super::Project;
use crate::harness::cluster::{TEST_PASSWORD, connect};

#[tokio::test]
async fn a_new_migration_runs_once_and_the_policies_after_it() {
    let project = Project::migrated().await;
    project.write("migrations/V4__notes.sql", "create table notes (user_id text);\n");
    project.write("grants/notes.sql", "grant select on all tables in schema public to anonymous;");
    let report = project.migrate().await.unwrap();
    assert_eq!(report.migrations, ["V4__notes"]);
    project.write("migrations/V5__more.sql", "create table more (user_id text);\n");
    let report = project.migrate().await.unwrap();
    assert_eq!(report.migrations, ["V5__more"]);
    // The grants file did not change, but what it says now covers another table.
    assert!(super::may(&project.database.owner().await, "anonymous", "more", "select").await);
    assert!(project.migrate().await.unwrap().is_unchanged());
}

#[tokio::test]
async fn a_failing_migration_names_its_line_and_leaves_no_trace() {
    let project = Project::migrated().await;
    project.write("migrations/V4__good.sql", "create table good (a int);");
    project.write(
        "migrations/V5__bad.sql",
        "create table bad (a int);\n\ninsert into bad\n  values ('x');\n",
    );
    let error = project.migrate().await.unwrap_err();
    let PolicyError::Statement(refused) = &error else { panic!("{error}") };
    assert_eq!(refused.path, project.path("migrations/V5__bad.sql"));
    assert_eq!((refused.line, refused.sqlstate.as_str()), (4, "22P02"), "{error}");
    let owner = project.database.owner().await;
    let row = owner.query_one("select to_regclass('good') is null", &[]).await.unwrap();
    assert!(row.get::<_, bool>(0));
    project.write("migrations/V5__bad.sql", "create table bad (a int);");
    assert_eq!(project.migrate().await.unwrap().migrations, ["V4__good", "V5__bad"]);
}

#[tokio::test]
async fn an_edited_migration_is_refused_by_name() {
    let project = Project::migrated().await;
    project.append("migrations/V1__todos.sql", "-- changed\n");
    let error = project.migrate().await.unwrap_err();
    let path = project.path("migrations/V1__todos.sql");
    assert!(matches!(&error, PolicyError::Divergent { path: p } if *p == path), "{error}");
}

#[tokio::test]
async fn a_missing_or_renamed_migration_is_refused_by_name() {
    let project = Project::migrated().await;
    std::fs::rename(
        project.path("migrations/V2__user_messages.sql"),
        project.path("migrations/V2__messages.sql"),
    )
    .unwrap();
    let error = project.migrate().await.unwrap_err();
    assert!(
        matches!(&error, PolicyError::Missing { name, .. } if name == "V2__user_messages"),
        "{error}"
    );
    project.remove("migrations/V2__messages.sql");
    let error = project.migrate().await.unwrap_err();
    assert!(
        matches!(&error, PolicyError::Missing { name, .. } if name == "V2__user_messages"),
        "{error}"
    );
}

#[tokio::test]
async fn a_migration_older_than_the_newest_applied_one_is_refused() {
    let project = Project::migrated().await;
    project.write("migrations/V5__later.sql", "select 1;");
    project.migrate().await.unwrap();
    project.write("migrations/V4__earlier.sql", "select 1;");
    let error = project.migrate().await.unwrap_err();
    let path = project.path("migrations/V4__earlier.sql");
    assert!(matches!(&error, PolicyError::OutOfOrder { path: p } if *p == path), "{error}");
}

#[tokio::test]
async fn two_migrations_with_one_version_are_refused() {
    let project = Project::new().await;
    project.write("migrations/V02__again.sql", "select 1;");
    let error = project.migrate().await.unwrap_err();
    assert!(matches!(&error, PolicyError::SameVersion { .. }), "{error}");
}

#[tokio::test]
async fn versions_are_ordered_as_numbers() {
    let project = Project::migrated().await;
    project.write("migrations/V10__ten.sql", "drop table nine;");
    project.write("migrations/V9__nine.sql", "create table nine (a int);");
    assert_eq!(project.migrate().await.unwrap().migrations, ["V9__nine", "V10__ten"]);
}

#[tokio::test]
async fn a_schema_auth_of_somebody_else_is_refused_in_words() {
    let project = Project::new().await;
    let owner = project.database.owner().await;
    owner
        .batch_execute(
            "create schema auth; create table auth.users (id int); \
             create function auth.user_id() returns text language sql as $$ select 'x' $$",
        )
        .await
        .unwrap();
    let error = project.migrate().await.unwrap_err();
    let PolicyError::ForeignAuthSchema { objects } = &error else { panic!("{error}") };
    assert!(objects.contains("auth.user_id()") && objects.contains("auth.users"), "{objects}");
    let row = owner.query_one("select to_regnamespace('rowgate') is null", &[]).await.unwrap();
    assert!(row.get::<_, bool>(0), "nothing was made");

    owner.batch_execute("drop function auth.user_id(); drop table auth.users").await.unwrap();
    project.migrate().await.unwrap();
}

#[tokio::test]
async fn policies_need_a_migrated_database() {
    let project = Project::new().await;
    let error = project.apply().await.unwrap_err();
    assert!(matches!(error, PolicyError::NotMigrated), "{error}");
}

#[tokio::test]
async fn the_owner_needs_no_superuser_and_keeps_no_membership() {
    let project = Project::migrated().await;
    let owner = project.database.owner().await;
    let row = owner
        .query_one(
            "select rolsuper, pg_has_role(current_user, 'rowgate_sealer', 'usage') from pg_roles \
             where rolname = current_user",
            &[],
        )
        .await
        .unwrap();
    assert_eq!((row.get::<_, bool>(0), row.get::<_, bool>(1)), (false, false));
    // A superuser may migrate as well.
    let project = Project::new().await;
    let mut superuser = project.database.superuser().await;
    policy::migrate(&mut superuser, &project.source(), &policy::Options::default()).await.unwrap();
    assert!(
        policy::migrate(&mut superuser, &project.source(), &policy::Options::default())
            .await
            .unwrap()
            .is_unchanged()
    );
    policy::read_seal_key(&superuser).await.unwrap();
}

#[tokio::test]
async fn what_everybody_could_do_by_default_is_closed() {
    let project = Project::migrated().await;
    let owner = project.database.owner().await;
    owner
        .batch_execute("create function later() returns int language sql as 'select 1'")
        .await
        .unwrap();
    let sql = "select role || ' ' || what from (values ('authenticated'), ('anonymous')) as r (role), \
        lateral (values \
          ('create in public', has_schema_privilege(role, 'public', 'create')), \
          ('temporary', has_database_privilege(role, current_database(), 'temporary')), \
          ('create schemas', has_database_privilege(role, current_database(), 'create')), \
          ('functions', has_function_privilege(role, 'later()', 'execute')), \
          ('own schema', has_schema_privilege(role, 'rowgate', 'usage'))) as p (what, allowed) \
        where allowed";
    let open: Vec<String> = owner.query(sql, &[]).await.unwrap().iter().map(|r| r.get(0)).collect();
    assert_eq!(open, Vec::<String>::new());
}

#[tokio::test]
async fn login_passwords_are_set_without_being_sent() {
    let project = Project::new().await;
    let mut owner = project.database.owner().await;
    let role = format!("login \"{}\"", project.database.name);
    let quoted = format!("\"{}\"", role.replace('"', "\"\""));
    owner.batch_execute(&format!("create role {quoted}")).await.unwrap();
    policy::set_login_passwords(&mut owner, &[(&role, b"new'password")]).await.unwrap();

    let superuser = project.database.superuser().await;
    let sql = "select rolpassword from pg_authid where rolname = $1";
    let stored: String = superuser.query_one(sql, &[&role]).await.unwrap().get(0);
    assert!(stored.starts_with("SCRAM-SHA-256$"), "{stored}");
    let mut config: tokio_postgres::Config = project.database.owner_url.parse().unwrap();
    config.user(&role).password("new'password");
    config.connect(tokio_postgres::NoTls).await.map(drop).unwrap();
    config.password(TEST_PASSWORD);
    assert!(config.connect(tokio_postgres::NoTls).await.is_err());

    // One that cannot be set: none is set.
    let logins: [(&str, &[u8]); 2] = [(&role, b"third"), ("no such role", b"x")];
    policy::set_login_passwords(&mut owner, &logins).await.unwrap_err();
    config.password("new'password");
    config.connect(tokio_postgres::NoTls).await.map(drop).unwrap();
    drop(owner);
    superuser.batch_execute(&format!("drop role {quoted}")).await.unwrap();
}

#[tokio::test]
async fn the_newest_valid_key_is_the_one_that_seals() {
    let project = Project::migrated().await;
    let owner = project.database.owner().await;
    let first = policy::read_seal_key(&owner).await.unwrap();
    assert!(first.kid.len() <= 16 && first.kid.bytes().all(|b| b.is_ascii_alphanumeric()));
    assert_ne!(first.key, [0; 32]);
    let superuser = project.database.superuser().await;
    add_key(&superuser, "k2", "now() + '1 s'", 2).await;
    assert_eq!(policy::read_seal_key(&owner).await.unwrap().kid, first.kid, "not valid yet");
    superuser
        .batch_execute("update auth.seal_keys set not_before = now() where kid = 'k2'")
        .await
        .unwrap();
    let second = policy::read_seal_key(&owner).await.unwrap();
    assert_eq!((second.kid.as_str(), second.key), ("k2", [2; 32]));

    superuser
        .batch_execute("update auth.seal_keys set opad = ipad where kid = 'k2'")
        .await
        .unwrap();
    let error = policy::read_seal_key(&owner).await.unwrap_err();
    assert!(error.to_string().contains("damaged"), "{error}");
    superuser.batch_execute("delete from auth.seal_keys").await.unwrap();
    let error = policy::read_seal_key(&owner).await.unwrap_err();
    assert!(matches!(error, PolicyError::SealKey(_)), "{error}");
}

#[tokio::test]
async fn each_database_makes_a_key_of_its_own() {
    let (one, other) = (Project::migrated().await, Project::migrated().await);
    let first = policy::read_seal_key(&connect(&one.database.owner_url).await).await.unwrap();
    let second = policy::read_seal_key(&connect(&other.database.owner_url).await).await.unwrap();
    assert_ne!(first.kid, second.kid);
    assert_ne!(first.key, second.key);
}

/// A key of 32 times the byte `fill`.
async fn add_key(superuser: &Client, kid: &str, not_before: &str, fill: u8) {
    let pad = |with: u8| {
        let mut block = vec![fill; 32];
        block.resize(64, 0);
        hex::encode(block.into_iter().map(|byte| byte ^ with).collect::<Vec<u8>>())
    };
    let sql = format!(
        "insert into auth.seal_keys values ('{kid}', decode('{}', 'hex'), decode('{}', 'hex'), {not_before})",
        pad(0x36),
        pad(0x5c)
    );
    superuser.batch_execute(&sql).await.unwrap();
}
