//! Any statement before the judge of admission: a verdict, in time linear in its length.

use std::sync::LazyLock;
use std::time::{Duration, Instant};

use rowgate::admit::Vocabulary;
use rowgate::config::StatementKinds;
use rowgate::pg::sql::CallerSql;

/// Slower than any machine that runs this, whatever else it does.
const PER_BYTE: Duration = Duration::from_micros(20);
const AT_MOST: Duration = Duration::from_millis(5);
/// The quickest of so many counts: others may hold the processor now and then.
const ATTEMPTS: usize = 20;

static VOCABULARY: LazyLock<Vocabulary> = LazyLock::new(|| {
    Vocabulary::new(
        ["set_config", "pg_sleep", "nextval", "setval", "current_setting", "Odd Name"],
        ["select", "insert", "set", "reset", "copy", "do", "call", "create", "explain", "with"],
    )
});

pub fn run(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let Ok(sql) = CallerSql::new(text) else { return };
    let bound = AT_MOST + PER_BYTE * u32::try_from(text.len()).unwrap_or(u32::MAX);
    for kinds in [StatementKinds::Data, StatementKinds::All] {
        let quick = (0..ATTEMPTS).any(|_| {
            let began = Instant::now();
            let _ = VOCABULARY.judge(sql, kinds);
            began.elapsed() <= bound
        });
        assert!(quick, "{} bytes took longer than {bound:?}", text.len());
        // A verdict is about the statement, not about the blanks after it.
        let spaced = format!("{text}\n ");
        let again = VOCABULARY.judge(CallerSql::new(&spaced).unwrap(), kinds);
        assert_eq!(VOCABULARY.judge(sql, kinds), again);
    }
}
