//! Which of the application's objects leave something behind on a connection when they are used.
//!
//! A function leaves something if the words of its code say that it might (it changes settings, makes
//! temporary tables, runs SQL from strings …), or if they name another object that does; a table, if its
//! policies, defaults, constraints or triggers name one. Words are enough: a call names what it calls, and the
//! code is its owner's, who has no reason to hide it. A word too many costs a cleaning, never more.

use std::collections::{HashMap, HashSet};

/// What using an object leaves on the connection, from nothing to worst.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Residue {
    /// Nothing that outlives the transaction, or that anybody could see.
    #[default]
    None,
    /// State of the session that resetting it removes.
    Session,
    /// Something in the memory of a language or library, which nothing removes.
    Process,
}

/// What kind of object a [`Definition`] describes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// A function of the server itself.
    Builtin,
    /// A function of the server that reads or prints values of a type.
    Codec,
    /// A sequence.
    Sequence,
    /// A function or procedure of the application or of an extension.
    Function,
    /// What writing into a relation sets off.
    Trigger,
    /// A table or view.
    Relation,
    /// A domain.
    Type,
    /// An operator or a cast: runs without being named.
    Implicit,
}

/// One object of the database and the code behind it; a row of `sql/internal/definitions.sql`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Definition {
    /// Its kind.
    pub kind: Kind,
    /// Its name, without a schema.
    pub name: String,
    /// The language of a function.
    pub language: String,
    /// Whether a function is declared volatile.
    pub volatile: bool,
    /// The extension that a function belongs to; empty if none.
    pub extension: String,
    /// Text in which the names of all it uses stand.
    pub code: String,
}

/// Functions of the server that are volatile and yet leave nothing on the connection, or nothing but what
/// callers have no way to see (positions of sequences).
const LEAVE_NOTHING: [&str; 23] = [
    "clock_timestamp",
    "current_query",
    "currval",
    "gen_random_uuid",
    "lastval",
    "nextval",
    "pg_advisory_xact_lock",
    "pg_advisory_xact_lock_shared",
    "pg_cancel_backend",
    "pg_current_xact_id",
    "pg_notify",
    "pg_sleep",
    "pg_sleep_for",
    "pg_sleep_until",
    "pg_terminate_backend",
    "pg_try_advisory_xact_lock",
    "pg_try_advisory_xact_lock_shared",
    "setval",
    "timeofday",
    "txid_current",
    "txid_status",
    "uuidv4",
    "uuidv7",
];

/// Extensions in C whose volatile functions only make random values from the system's generator, work on
/// the row that a trigger is called for, or do what every request begins with (`pg_session_jwt`).
const HARMLESS_EXTENSIONS: [&str; 8] = [
    "autoinc",
    "insert_username",
    "lo",
    "moddatetime",
    "pg_session_jwt",
    "pgcrypto",
    "tcn",
    "uuid-ossp",
];

/// To update a row of this view is SET in disguise, by way of the application's functions and views as well.
const SETTINGS_VIEW: &str = "pg_settings";

/// Commands inside a function that outlive its transaction, and EXECUTE, which may run any of them.
/// SET is looked at by itself, because UPDATE has the word, too.
const LASTING_COMMANDS: [&str; 12] = [
    "deallocate",
    "discard",
    "execute",
    "hold",
    "listen",
    "load",
    "prepare",
    "reset",
    "temp",
    "temporary",
    "unlisten",
    "pg_temp",
];

/// What the objects of a database leave behind, by name. Schemas are not told apart: of two objects with one
/// name the worse counts.
#[derive(Debug, Default)]
pub struct Residues {
    objects: HashMap<Box<str>, Residue>,
    /// What every statement leaves, because code that cannot be named leaves it.
    everywhere: Residue,
}

impl Residues {
    /// Finds out, for all objects of a database.
    #[must_use]
    pub fn of(definitions: &[Definition]) -> Self {
        let lasting: HashSet<&str> = definitions
            .iter()
            .filter(|d| d.kind == Kind::Builtin && leaves_by_itself(d))
            .map(|d| d.name.as_str())
            .chain([SETTINGS_VIEW])
            .collect();
        let objects: Vec<&Definition> = definitions
            .iter()
            .filter(|d| !matches!(d.kind, Kind::Builtin | Kind::Codec | Kind::Sequence))
            .collect();
        let mut found: Vec<Residue> = objects.iter().map(|d| own_residue(d, &lasting)).collect();
        spread(&objects, &mut found);

        let mut residues = Self::default();
        for (name, residue) in lasting.iter().map(|name| (*name, Residue::Session)) {
            residues.note(name, residue);
        }
        for (definition, residue) in objects.iter().zip(found) {
            match definition.kind {
                Kind::Implicit => residues.everywhere = residues.everywhere.max(residue),
                _ => residues.note(&definition.name, residue),
            }
        }
        residues
    }

    fn note(&mut self, name: &str, residue: Residue) {
        match key(name) {
            Some(key) => {
                let known = self.objects.entry(key.into()).or_default();
                *known = residue.max(*known);
            }
            // A name without a letter cannot be looked for.
            None => self.everywhere = self.everywhere.max(residue),
        }
    }

    /// What using an object of this name leaves; `None` if there is no such object.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<Residue> {
        self.objects.get(key(name)?.as_str()).copied()
    }

    /// What any statement at all leaves.
    #[must_use]
    pub fn everywhere(&self) -> Residue {
        self.everywhere
    }
}

/// Whether a volatile function of the server may leave something.
fn leaves_by_itself(builtin: &Definition) -> bool {
    // Those that turn a query into XML run any SQL, although some are declared stable.
    (builtin.volatile && !LEAVE_NOTHING.contains(&builtin.name.as_str()))
        || builtin.name.contains("_to_xml")
}

/// What an object leaves by its own words, not counting what it calls.
fn own_residue(definition: &Definition, lasting: &HashSet<&str>) -> Residue {
    let written = || {
        let names_lasting =
            words(&definition.code).any(|word| lasting.contains(fold(word).as_str()));
        let commands = definition.kind == Kind::Function && has_lasting_command(&definition.code);
        if names_lasting || commands { Residue::Session } else { Residue::None }
    };
    match definition.language.as_str() {
        "" | "sql" | "plpgsql" | "internal" => written(),
        "c" => {
            let harmless = !definition.volatile
                || HARMLESS_EXTENSIONS.contains(&definition.extension.as_str());
            if harmless { Residue::None } else { Residue::Process }
        }
        // Interpreters with variables that live as long as the process.
        _ => Residue::Process,
    }
}

/// Whether a function's code holds a command that outlives its transaction.
fn has_lasting_command(code: &str) -> bool {
    let code = without_comments(code);
    words(&code).any(|word| LASTING_COMMANDS.contains(&fold(word).as_str()))
        || has_lasting_set(&code)
}

/// Whether there is a SET that is not an UPDATE's. SET LOCAL counts: `local.x` is the name of a setting.
fn has_lasting_set(code: &str) -> bool {
    code.split(';').any(|part| {
        // `update [only] schema.table [as] alias set`: so many words at most stand between the two.
        let mut since_update = usize::MAX;
        for word in words(part).map(fold) {
            since_update = since_update.saturating_add(1);
            match word.as_str() {
                "update" => since_update = 0,
                "begin" | "then" | "else" | "loop" => since_update = usize::MAX,
                "set" if since_update <= UPDATES_TARGET => since_update = usize::MAX,
                "set" => return true,
                _ => {}
            }
        }
        false
    })
}

/// Words from UPDATE to its SET: ONLY, schema, table, AS, alias.
const UPDATES_TARGET: usize = 6;

/// The code without comments and without what stands in single quotes.
fn without_comments(code: &str) -> String {
    let mut rest = code;
    let mut plain = String::with_capacity(code.len());
    while let Some(at) = rest.find(['\'', '-', '/']) {
        let (before, found) = rest.split_at(at);
        plain.push_str(before);
        plain.push(' ');
        let end = if found.starts_with("--") {
            found.find('\n')
        } else if found.starts_with("/*") {
            found.find("*/").map(|end| end + 2)
        } else if let Some(literal) = found.strip_prefix('\'') {
            literal.find('\'').map(|end| end + 2)
        } else {
            Some(1)
        };
        rest = &found[end.unwrap_or(found.len())..];
    }
    plain.push_str(rest);
    plain
}

/// Whatever names an object that leaves something leaves it as well.
fn spread(objects: &[&Definition], found: &mut [Residue]) {
    let names: HashSet<String> = objects.iter().filter_map(|d| key(&d.name)).collect();
    let mut users: HashMap<String, Vec<usize>> = HashMap::new();
    for (index, definition) in objects.iter().enumerate() {
        let used: HashSet<String> =
            words(&definition.code).map(fold).filter(|word| names.contains(word)).collect();
        for name in used {
            users.entry(name).or_default().push(index);
        }
    }
    let mut changed: Vec<usize> =
        (0..objects.len()).filter(|i| found[*i] > Residue::None).collect();
    while let Some(index) = changed.pop() {
        let Some(name) = key(&objects[index].name) else { continue };
        for user in users.get(&name).into_iter().flatten() {
            if found[*user] < found[index] {
                found[*user] = found[index];
                changed.push(*user);
            }
        }
    }
}

/// What a name is looked up by: its first unbroken run of letters, folded, since a quoted name may hold
/// any character and code may spell it in either case. `None` if it has no letter.
fn key(name: &str) -> Option<String> {
    words(name).next().map(fold)
}

fn fold(word: &str) -> String {
    word.to_ascii_lowercase()
}

/// Every unbroken run of characters that an identifier may consist of (scan.l: `ident_cont`).
fn words(text: &str) -> impl Iterator<Item = &str> {
    text.split(|c: char| c.is_ascii() && !c.is_ascii_alphanumeric() && c != '_' && c != '$')
        .filter(|word| !word.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn object(kind: Kind, name: &str, code: &str) -> Definition {
        Definition {
            kind,
            name: name.to_owned(),
            language: if kind == Kind::Function { "plpgsql" } else { "" }.to_owned(),
            volatile: true,
            extension: String::new(),
            code: code.to_owned(),
        }
    }

    fn residue_of(code: &str) -> Residue {
        let definitions = [
            object(Kind::Builtin, "set_config", ""),
            object(Kind::Builtin, "random", ""),
            object(Kind::Builtin, "gen_random_uuid", ""),
            object(Kind::Function, "f", code),
        ];
        Residues::of(&definitions).get("f").unwrap()
    }

    #[test]
    fn functions_that_read_and_write_rows_leave_nothing() {
        for code in [
            "insert into todos (task) values (t) returning id",
            "begin update todos set done = true where id = $1; return 1; end",
            "insert into t values (1) on conflict do update set a = excluded.a",
            "select gen_random_uuid(), current_setting('app.x')",
            "begin update only public.t as x set a = 1; return 'set b = c'; end",
            "merge into t using s on true when matched then update set a = 1",
            "begin return 'reset, load and set'; -- set\n end",
        ] {
            assert_eq!(residue_of(code), Residue::None, "{code}");
        }
    }

    #[test]
    fn functions_that_change_the_session_leave_something() {
        for code in [
            "begin set role x; end",
            "begin update t set a = 1; set search_path = x; end",
            "select SET_CONFIG('a', 'b', false)",
            "begin execute 'se' || 't a = b'; end",
            "begin create temp table x (); end",
            "begin create table pg_temp.x (); end",
            "select random()",
            "begin listen x; end",
            "begin set local.x = 1; end",
            "update pg_settings set setting = 1",
            "declare c cursor with hold for select 1",
            "begin for r in select 1 from t for update loop set a = b; end loop; end",
            "begin if tg_op = 'UPDATE' then set a = b; end if; end",
            "begin -- update\n set a = b; end",
            "begin /* update */ set a = b; end",
            "begin update t set a = 1 where b in (select 'x'); set c = d; end",
        ] {
            assert_eq!(residue_of(code), Residue::Session, "{code}");
        }
    }

    #[test]
    fn what_uses_an_object_that_leaves_something_leaves_it_too() {
        let definitions = [
            object(Kind::Builtin, "set_config", ""),
            object(Kind::Function, "audit", "perform set_config('a', 'b', false)"),
            object(Kind::Trigger, "trigger$todos", "audit"),
            object(Kind::Relation, "todos", "trigger$todos"),
            object(Kind::Relation, "open_todos", "SELECT todos.id FROM todos"),
            object(Kind::Function, "add_todo", "insert into Todos (task) values (t)"),
            object(Kind::Relation, "notes", "trigger$notes"),
        ];
        let residues = Residues::of(&definitions);
        for name in ["audit", "todos", "open_todos", "add_todo"] {
            assert_eq!(residues.get(name), Some(Residue::Session), "{name}");
        }
        assert_eq!(residues.get("notes"), Some(Residue::None));
        assert_eq!(residues.get("unheard_of"), None);
        assert_eq!(residues.everywhere(), Residue::None);
    }

    #[test]
    fn interpreters_and_unknown_libraries_leave_what_nothing_removes() {
        let mut function = object(Kind::Function, "f", "return 1");
        for (language, volatile, extension, residue) in [
            ("plpython3u", false, "", Residue::Process),
            ("c", true, "", Residue::Process),
            ("c", true, "pgcrypto", Residue::None),
            ("c", false, "postgis", Residue::None),
        ] {
            function.language = language.to_owned();
            function.volatile = volatile;
            function.extension = extension.to_owned();
            let residues = Residues::of(std::slice::from_ref(&function));
            assert_eq!(residues.get("f"), Some(residue), "{language} {extension}");
        }
    }

    #[test]
    fn code_that_runs_without_being_named_counts_for_every_statement() {
        let definitions = [
            object(Kind::Builtin, "set_config", ""),
            object(Kind::Function, "f", "select set_config('a', 'b', false)"),
            object(Kind::Implicit, "", "f"),
        ];
        assert_eq!(Residues::of(&definitions).everywhere(), Residue::Session);
    }
}
