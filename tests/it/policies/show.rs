//! The matrix says what PostgreSQL does: each cell is compared with a statement that is really run.

use rowgate::show::{self, Access, Command, Matrix, Terminal};

use super::Project;

/// One table for each kind of cell; alice has one row in each, and so has bob.
const TABLES: &str = "
create table own (user_id text, note text);
alter table own enable row level security;
create policy own_all on own to authenticated using (user_id = (select auth.user_id()));

create table unguarded (user_id text, note text);

create table closed (user_id text, note text);
alter table closed enable row level security;

create table shared (user_id text, note text);
alter table shared enable row level security;
create policy shared_own on shared to authenticated using (user_id = auth.user_id());
create policy shared_marked on shared for select using (note = 'public');

create table narrowed (user_id text, note text);
alter table narrowed enable row level security;
create policy everybody on narrowed to public using (true);
create policy narrowed_own on narrowed as restrictive for select to public using (user_id = auth.user_id());

create view owners_view as select * from closed;
create view callers_view with (security_invoker = true) as select * from own;
create materialized view kept as select 1 as one;
create table some_columns (user_id text, note text);
create function as_owner() returns int language sql security definer begin atomic select 1; end;
grant select, insert, update, delete on own, unguarded, closed, shared, narrowed, owners_view, callers_view
  to authenticated;
grant select on shared, narrowed, kept to anonymous;
grant select (note) on some_columns to authenticated;
grant truncate on unguarded to authenticated;
grant execute on function as_owner() to authenticated;
insert into own values ('alice', 'a'), ('bob', 'b');
insert into unguarded values ('alice', 'a'), ('bob', 'b');
insert into closed values ('alice', 'a'), ('bob', 'b');
insert into shared values ('alice', 'a'), ('bob', 'b');
insert into narrowed values ('alice', 'a'), ('bob', 'b');";

async fn matrix(project: &Project) -> Matrix {
    let roles = ["authenticated", "anonymous", "no such role"].map(str::to_owned);
    let schemas = ["public".to_owned()];
    show::read(&mut project.database.owner().await, &roles, Some(&schemas)).await.unwrap()
}

/// As in `own own own own / nobody …`: the cells of a table, role by role.
fn cells(matrix: &Matrix, table: &str) -> String {
    let relation = matrix.relations.iter().find(|relation| relation.name == table).unwrap();
    let roles = relation.cells.chunks(Command::ALL.len());
    let line = |cells: &[show::Cell]| {
        cells.iter().map(|cell| cell.access.name()).collect::<Vec<_>>().join(", ")
    };
    roles.map(line).collect::<Vec<_>>().join(" / ")
}

#[tokio::test]
async fn each_kind_of_access_has_its_name() {
    const NOBODY: &str = "nobody, nobody, nobody, nobody";
    const EVERYBODY: &str = "everybody, everybody, everybody, everybody";
    let project = Project::migrated().await;
    project.database.owner().await.batch_execute(TABLES).await.unwrap();

    let matrix = matrix(&project).await;

    assert_eq!(matrix.roles, ["authenticated", "anonymous"]);
    let own = "own rows, own rows, own rows, own rows";
    for (table, expected) in [
        ("todos", format!("{own} / {NOBODY}")),
        ("own", format!("{own} / {NOBODY}")),
        ("unguarded", format!("{EVERYBODY} / {NOBODY}")),
        ("closed", format!("{NOBODY} / {NOBODY}")),
        (
            "shared",
            "condition, own rows, own rows, own rows / condition, nobody, nobody, nobody".into(),
        ),
        (
            "narrowed",
            "own rows, everybody, everybody, everybody / own rows, nobody, nobody, nobody".into(),
        ),
        ("owners_view", format!("{EVERYBODY} / {NOBODY}")),
        ("callers_view", format!("condition, condition, condition, condition / {NOBODY}")),
        ("kept", format!("{NOBODY} / everybody, nobody, nobody, nobody")),
        ("some_columns", format!("everybody, nobody, nobody, nobody / {NOBODY}")),
    ] {
        assert_eq!(cells(&matrix, table), expected, "{table}");
    }
    let columns = matrix.relations.iter().find(|relation| relation.name == "some_columns").unwrap();
    assert_eq!(columns.cells[0].columns, ["note"]);
    let ways: Vec<String> =
        matrix.ways_around.iter().map(|way| format!("{} {}", way.role, way.what)).collect();
    assert!(ways.contains(
        &"authenticated may empty unguarded with TRUNCATE, whatever the policies say".into()
    ));
    assert!(
        ways.iter().any(|way| way.starts_with("authenticated may call as_owner()")),
        "{ways:?}"
    );
}

/// What the matrix says of SELECT, against what alice gets to see.
#[tokio::test]
async fn the_matrix_agrees_with_what_statements_see() {
    let project = Project::migrated().await;
    project.database.superuser().await.batch_execute(TABLES).await.unwrap();
    let matrix = matrix(&project).await;
    let owner = project.database.superuser().await;
    // Sealed claims are not the subject here: the role is, and its policies.
    let identity = "create or replace function auth.user_id() returns text language sql stable \
                    begin atomic select 'alice'::text; end";
    owner.batch_execute(identity).await.unwrap();
    for relation in &matrix.relations {
        let cell = &relation.cells[0];
        if !["own", "unguarded", "closed", "narrowed"].contains(&relation.name.as_str()) {
            continue;
        }
        let sql = format!("set role authenticated; select count(*) from {}", relation.name);
        let rows = owner.simple_query(&sql).await.unwrap();
        let count = rows.iter().find_map(|row| match row {
            tokio_postgres::SimpleQueryMessage::Row(row) => row.get(0)?.parse::<i32>().ok(),
            _ => None,
        });
        owner.batch_execute("reset role").await.unwrap();
        let expected = match cell.access {
            Access::Nobody => 0,
            Access::OwnRows => 1,
            Access::Everybody => 2,
            Access::Condition => panic!("{}: not in this test", relation.name),
        };
        assert_eq!(count, Some(expected), "{}", relation.name);
    }
}

#[tokio::test]
async fn every_form_shows_the_same_and_lets_no_name_become_markup() {
    let project = Project::migrated().await;
    let hostile = r#"create table "<script>alert(1)</script>|*x*" (id int);
                     alter table "<script>alert(1)</script>|*x*" enable row level security;
                     create policy "<img src=x>" on "<script>alert(1)</script>|*x*" using ('<b>' <> '');
                     grant select on "<script>alert(1)</script>|*x*" to authenticated"#;
    project.database.owner().await.batch_execute(hostile).await.unwrap();
    let matrix = matrix(&project).await;

    let page = show::html(&matrix);
    assert_eq!(page.matches("<script").count(), 1, "the page's own");
    assert!(!page.contains("<img") && page.contains("&lt;img src=x&gt;"));
    assert!(!page.contains("http://") && !page.contains("https://"), "nothing is fetched");
    assert!(page.contains("todos_select") && page.contains("own rows"));

    let markdown = show::markdown(&matrix);
    assert!(!markdown.contains("<script") && markdown.contains("&lt;script>"));
    let row = markdown.lines().find(|line| line.contains("public.todos")).unwrap();
    assert_eq!(row, "| public.todos |  | own rows | own rows | own rows | own rows |");

    let text = Terminal(&matrix).to_string();
    let row = text.lines().find(|line| line.starts_with("public.todos")).unwrap();
    let words: Vec<&str> = row.split_whitespace().collect();
    assert_eq!(words, ["public.todos", "own", "own", "own", "own", "-", "-", "-", "-"]);
    let json = serde_json::to_value(&matrix).unwrap();
    assert_eq!(json["relations"].as_array().unwrap().len(), matrix.relations.len());
    assert_eq!(json["relations"][1]["cells"][0]["access"], "own_rows");
}

#[tokio::test]
async fn the_command_writes_a_page_and_names_unknown_roles() {
    let project = Project::migrated().await;
    let page = project.dir.path().join("matrix.html");
    let written = project.command(&["policies", "show", "--html", "-o", page.to_str().unwrap()]);
    assert_eq!(written.status.code(), Some(0));
    assert!(std::fs::read_to_string(&page).unwrap().starts_with("<!DOCTYPE html>"));
    let unknown = project.command(&["policies", "show", "--role", "nosuch"]);
    assert_eq!(unknown.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&unknown.stderr).contains("no role nosuch"));
}
