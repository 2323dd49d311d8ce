//! Any statement before the judge of admission: a verdict, in time linear in its length, on a stack of the
//! size that the gate gives its parser.

use std::sync::LazyLock;
use std::thread;
use std::time::{Duration, Instant};

use rowgate::admit::gate::{STACK, judge};
use rowgate::admit::knowledge::Knowledge;
use rowgate::admit::residue::{Definition, Kind};
use rowgate::admit::{Admission, Refusal, Rules};
use rowgate::config::{LimitsConfig, StatementKinds};

/// Slower than any machine that runs this, whatever else it does.
const PER_BYTE: Duration = Duration::from_micros(40);
const AT_MOST: Duration = Duration::from_millis(100);
/// The quickest of so many counts: others may hold the processor now and then.
const ATTEMPTS: usize = 5;

static KNOWLEDGE: LazyLock<Knowledge> = LazyLock::new(|| {
    let definition = |kind: Kind, name: &str, code: &str| Definition {
        kind,
        name: name.to_owned(),
        language: if kind == Kind::Function { "sql" } else { "" }.to_owned(),
        volatile: true,
        extension: String::new(),
        code: code.to_owned(),
    };
    Knowledge::new(vec![
        definition(Kind::Builtin, "set_config", ""),
        definition(Kind::Builtin, "pg_sleep", ""),
        definition(Kind::Builtin, "nextval", ""),
        definition(Kind::Builtin, "random", ""),
        definition(Kind::Function, "remember", "select set_config('a', 'b', false)"),
        definition(Kind::Function, "Odd Name", "select 1"),
        definition(Kind::Relation, "todos", "remember"),
    ])
});

pub fn run(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    thread::scope(|scope| {
        let judging = thread::Builder::new().stack_size(STACK).spawn_scoped(scope, || check(text));
        judging.expect("a thread").join().expect("a verdict");
    });
}

fn check(text: &str) {
    let bound = AT_MOST + PER_BYTE * u32::try_from(text.len()).unwrap_or(u32::MAX);
    for kinds in [StatementKinds::Data, StatementKinds::All] {
        let rules = Rules::new(&LimitsConfig { statements: kinds, ..LimitsConfig::default() });
        let mut verdict = Ok(Admission::Unread);
        let quick = (0..ATTEMPTS).any(|_| {
            let began = Instant::now();
            verdict = judge(text, &rules, &KNOWLEDGE);
            began.elapsed() <= bound
        });
        assert!(quick, "{} bytes took longer than {bound:?}", text.len());
        // A verdict is about the statement, not about the blanks around it.
        let spaced = format!(" \n{text}\n ");
        let again = judge(&spaced, &rules, &KNOWLEDGE);
        let borderline = |v: &Result<_, _>| matches!(v, Err(Refusal::TooSlow | Refusal::TooDeep));
        assert!(verdict == again || borderline(&verdict) || borderline(&again));
        if kinds == StatementKinds::All {
            let runs_or_is_not_ours = matches!(
                again,
                Ok(_) | Err(Refusal::TransactionControl | Refusal::Copy | Refusal::TooSlow)
            );
            assert!(runs_or_is_not_ours, "{again:?}");
        }
    }
}
