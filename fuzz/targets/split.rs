//! Files of SQL, cut into statements: where PostgreSQL's own grammar understands the file, it finds the same.

use rowgate::policy::split;

pub fn run(data: &[u8]) {
    let Ok(sql) = std::str::from_utf8(data) else { return };
    let found = split::statements(sql);
    let mut rest = sql;
    for statement in &found {
        let at = rest.find(statement.text).expect("a part of the file, in its order");
        rest = &rest[at + statement.text.len()..];
    }
    // Its C reads up to the first NUL. And in a body of the form `begin atomic …; end`, a word `end` that is
    // the name of a column ends the body here, as it does for psql.
    if sql.contains('\0') || sql.to_ascii_lowercase().contains("atomic") {
        return;
    }
    let Ok(theirs) = pg_query::split_with_parser(sql) else { return };
    assert_eq!(found.len(), theirs.len(), "{found:?} {theirs:?}");
    for (ours, theirs) in found.iter().zip(theirs) {
        // Comments before and after a statement belong to it for one and not for the other.
        assert!(
            theirs.contains(ours.text) || ours.text.contains(theirs.trim()),
            "{ours:?} {theirs}"
        );
    }
}
