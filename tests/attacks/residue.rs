//! The proof that connections are clean: the whole state of every pooled session, seen from inside,
//! compared with that of a session which nobody has used.

use std::collections::BTreeMap;
use std::time::Duration;

use postgres_protocol::message::frontend;
use rowgate::pg::frame::tag;
use rowgate::pg::pool::{Lease, Pool};
use serde_json::Value;
use tokio::time::timeout;
use tokio_postgres::Client;

/// Connections that are being closed count as open until they are gone.
const PATIENCE: Duration = Duration::from_millis(500);

/// Answers everything that a session can carry from one transaction to the next. Belongs to the superuser,
/// so that it sees all of it whatever a hardened database hides from the login roles.
///
/// What it cannot answer: `request.…` and `rowgate.seal` read '' rather than null once they were set
/// locally, which tells no more than that there was a request; so null and '' count as equal.
pub const PROBE: &str = r#"
create schema session_probe;
create function session_probe.session_state(own_prefix text, custom_settings text[])
returns jsonb language plpgsql volatile security definer
set search_path = pg_catalog, pg_temp set statement_timeout = '5s' as $probe$
declare
  state jsonb;
  positions jsonb := '{}';
  item record;
begin
  select jsonb_object_agg('setting ' || name, setting) into state
    from pg_settings where name not in ('search_path', 'statement_timeout');
  select state || coalesce(jsonb_object_agg('setting ' || name, current_setting(name, true)), '{}') into state
    from unnest(custom_settings) as name where current_setting(name, true) <> '';
  state := state || jsonb_build_object(
    'session_user', session_user,
    'role', current_setting('role'),
    'prepared statements', (select coalesce(jsonb_agg(name || ': ' || statement order by name), '[]')
        from pg_prepared_statements where not starts_with(name, own_prefix)),
    'cursors', (select coalesce(jsonb_agg(name order by name), '[]') from pg_cursors where name <> ''),
    'listens', (select coalesce(jsonb_agg(c order by c), '[]') from pg_listening_channels() as c),
    'temporary relations', (select coalesce(jsonb_agg(relname order by relname), '[]') from pg_class
        where relnamespace = pg_my_temp_schema() and relnamespace <> 0),
    'temporary functions', (select coalesce(jsonb_agg(proname order by proname), '[]') from pg_proc
        where pronamespace = pg_my_temp_schema() and pronamespace <> 0),
    'temporary types', (select coalesce(jsonb_agg(typname order by typname), '[]') from pg_type
        where typnamespace = pg_my_temp_schema() and typnamespace <> 0),
    'locks', (select coalesce(jsonb_agg(locktype || ' ' || mode order by 1), '[]') from pg_locks
        where pid = pg_backend_pid() and (locktype = 'advisory' or mode <> 'AccessShareLock')
          -- Kept for as long as others that overlapped run; they block nobody.
          and locktype not in ('virtualxid') and mode <> 'SIReadLock'),
    'remote connections', coalesce(to_jsonb(public.dblink_get_connections()), '[]'));
  begin
    positions := positions || jsonb_build_object('lastval()', lastval());
  exception when object_not_in_prerequisite_state then null;
  end;
  for item in select c.oid, c.relname from pg_class as c where c.relkind = 'S' loop
    begin
      positions := positions || jsonb_build_object(item.relname, currval(item.oid));
    exception when object_not_in_prerequisite_state then null;
    end;
  end loop;
  return state || jsonb_build_object('sequence positions', positions, 'next random()', random()::text);
end
$probe$;
revoke all on schema session_probe from public;
grant usage on schema session_probe to authenticated, anonymous;
revoke all on function session_probe.session_state from public;
grant execute on function session_probe.session_state to authenticated, anonymous;
-- So that hardening leaves it.
comment on function session_probe.session_state is 'rowgate: exposed, the runner compares sessions with it';
"#;

/// `search_path` and `statement_timeout` are seen from outside of the function, which has its own.
const STATE: &str = "select session_probe.session_state('$prefix', '$names') || pg_catalog.jsonb_build_object(\
    'setting search_path', pg_catalog.current_setting('search_path'), \
    'setting statement_timeout', pg_catalog.current_setting('statement_timeout'), \
    'current_user', current_user)";

/// Settings of the application that attacks of the corpus use; `set_config` may invent more.
const KNOWN_CUSTOM: [&str; 4] = ["request.jwt.claims", "rowgate.seal", "app.note", "my.before"];

/// Numbers that `random()` gives after a seed that an attack chose.
const PREDICTED: usize = 40;

/// The state of a session, by what it is called.
pub type State = BTreeMap<String, Value>;

/// Looks into sessions of one attack.
pub struct Inspector {
    names: String,
    seeds: Vec<String>,
    clean: BTreeMap<&'static str, State>,
}

/// What one look at all sessions found.
#[derive(Debug, Default)]
pub struct Finding {
    /// Differences from a clean session.
    pub residue: Vec<String>,
    /// Whether positions of sequences were left: fine as long as nobody can ask for them.
    pub sequence_positions: bool,
    /// Sessions looked at.
    pub sessions: usize,
}

impl Inspector {
    /// Learns what a clean session of each pool looks like, and what to look for in particular. Leaves two
    /// idle connections in the first pool, so that an attacker has neighbours.
    pub async fn prepare(pools: [(&'static str, &Pool); 2], attack_text: &str) -> Self {
        let custom = regex::Regex::new(
            r"(?i)(?:set_config\s*\(\s*'|set\s+(?:local\s+|session\s+)?)([a-z_]+\.[a-z_.]+)",
        )
        .unwrap();
        let mut names: Vec<&str> =
            custom.captures_iter(attack_text).map(|found| found.get(1).unwrap().as_str()).collect();
        names.extend(KNOWN_CUSTOM);
        let seed = regex::Regex::new(r"(?i)setseed\s*\(\s*(-?[0-9.]+)\s*\)").unwrap();
        let mut inspector = Self {
            names: format!("{{{}}}", names.join(",")),
            seeds: seed.captures_iter(attack_text).map(|found| found[1].to_owned()).collect(),
            clean: BTreeMap::new(),
        };
        for (name, pool) in pools {
            let mut first = pool.acquire().await.unwrap();
            let second = pool.acquire().await.unwrap();
            let state = inspector.state(&mut first).await.unwrap();
            drop(second);
            inspector.clean.insert(name, state);
        }
        inspector
    }

    /// Compares every session of a pool with a clean one. The order in which the pool will hand them out
    /// stays as it was.
    pub async fn look(&self, name: &str, pool: &Pool, superuser: &Client) -> Finding {
        let clean = &self.clean[name];
        let mut leases = Vec::new();
        for _ in 0..pool.load().0 {
            match timeout(PATIENCE, pool.acquire()).await {
                Ok(Ok(lease)) => leases.push(lease),
                _ => break,
            }
        }
        let mut finding = Finding { sessions: leases.len(), ..Finding::default() };
        for lease in &mut leases {
            self.compare_one(lease, clean, superuser, &mut finding).await;
        }
        // The last one returned is the first one handed out.
        while let Some(lease) = leases.pop() {
            drop(lease);
        }
        finding
    }

    /// Compares one session that somebody holds already.
    pub async fn compare_lease(
        &self,
        lease: &mut Lease,
        name: &str,
        superuser: &Client,
    ) -> Finding {
        let mut finding = Finding { sessions: 1, ..Finding::default() };
        self.compare_one(lease, &self.clean[name], superuser, &mut finding).await;
        finding
    }

    async fn compare_one(
        &self,
        lease: &mut Lease,
        clean: &State,
        superuser: &Client,
        finding: &mut Finding,
    ) {
        finding.residue.extend(held_from_outside(lease.connection().pid(), superuser).await);
        match self.state(lease).await {
            Err(error) => finding.residue.push(format!("the session does not answer: {error}")),
            Ok(state) => self.compare(clean, &state, superuser, finding).await,
        }
    }

    async fn compare(
        &self,
        clean: &State,
        state: &State,
        superuser: &Client,
        finding: &mut Finding,
    ) {
        for name in clean.keys().chain(state.keys()).collect::<std::collections::BTreeSet<_>>() {
            let (before, after) = (clean.get(name), state.get(name));
            match name.as_str() {
                "next random()" => {
                    let number = after.and_then(Value::as_str).unwrap_or_default();
                    if self.is_predicted(number, superuser).await {
                        finding.residue.push(format!("random() is seeded by the attack: {number}"));
                    }
                }
                "sequence positions" => finding.sequence_positions |= before != after,
                _ if before == after => {}
                _ => finding.residue.push(format!(
                    "{name}: {} instead of {}",
                    shown(after),
                    shown(before)
                )),
            }
        }
    }

    async fn is_predicted(&self, number: &str, superuser: &Client) -> bool {
        for seed in &self.seeds {
            let sql = format!(
                "select setseed({seed}); select random() from generate_series(1, {PREDICTED})"
            );
            let messages = superuser.simple_query(&sql).await.unwrap();
            let hit = messages.iter().any(|message| match message {
                tokio_postgres::SimpleQueryMessage::Row(row) => row.get(0) == Some(number),
                _ => false,
            });
            if hit {
                return true;
            }
        }
        false
    }

    async fn state(&self, lease: &mut Lease) -> Result<State, String> {
        let prefix = lease.connection().statements().prefix().to_owned();
        let sql = STATE.replace("$prefix", &prefix).replace("$names", &self.names);
        let cell = raw(lease, &sql).await?.ok_or("no row")?;
        serde_json::from_slice(&cell).map_err(|e| e.to_string())
    }
}

/// Runs SQL on a pooled connection itself, past the gateway; answers the last row's only cell.
pub async fn raw(lease: &mut Lease, sql: &str) -> Result<Option<Vec<u8>>, String> {
    let connection = lease.connection();
    frontend::query(sql, connection.outbox()).map_err(|e| e.to_string())?;
    connection.flush(1).await.map_err(|e| e.to_string())?;
    let mut answer = Ok(None);
    loop {
        let frame = connection.next().await.map_err(|e| e.to_string())?;
        match frame.tag {
            tag::READY => return answer,
            tag::ERROR => answer = Err(String::from_utf8_lossy(frame.body).replace('\0', " ")),
            // Two bytes of count, four of length: there is one column.
            tag::DATA_ROW if answer.is_ok() => answer = Ok(Some(frame.body[6..].to_vec())),
            _ => {}
        }
    }
}

/// What an idle session holds, as others see it: it must be nothing.
async fn held_from_outside(pid: i32, superuser: &Client) -> Option<String> {
    let sql = "select coalesce((select string_agg(locktype || ' ' || mode, ', ') from pg_locks where pid = $1 and mode <> 'SIReadLock'), '') \
               || coalesce((select ' ' || state from pg_stat_activity where pid = $1 and (state <> 'idle' or backend_xmin is not null)), '')";
    let held: String = superuser.query_one(sql, &[&pid]).await.unwrap().get(0);
    (!held.trim().is_empty()).then(|| format!("held while idle: {held}"))
}

fn shown(value: Option<&Value>) -> String {
    value.map_or("nothing".to_owned(), |value| crate::answer::shortened(&value.to_string()))
}
