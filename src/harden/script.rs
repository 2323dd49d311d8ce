//! What is still to be done, as SQL that people can read, check and run.

use std::fmt;

use super::Found;

const HEAD: &str = "\
-- What `rowgate harden` would change in this database. It may run any number of times.
-- To keep something that is listed here, and have it no longer listed:
--   a table, view, sequence or function of yours   comment on view … is 'rowgate: exposed, <why>';
--   a function of PostgreSQL or of an extension    grant it to the role by name, after revoking it from public
-- What the files in grants/ grant comes back with the next `rowgate policies apply`: change it there, too.
";

const OWNER_PART: &str = "\n-- Part 1: what this login may run.\n";
const SUPERUSER_PART: &str = "\n-- Part 2: what only a superuser, or the owner of the object, may run. Anybody else is only warned, and \
nothing is changed.\n-- Whoever had these through PUBLIC alone, besides the roles named below, must be granted them by name.\n";
const BEGIN: &str =
    "begin;\nset local search_path to pg_catalog, pg_temp;\nset local lock_timeout = '5s';\n";

/// The statements that are left, in two parts, each with what it stops.
#[derive(Debug)]
pub struct Script<'a> {
    /// What was found.
    pub found: &'a [Found],
    /// Whether the part that this login may not run is left out.
    pub own_part_only: bool,
}

impl Script<'_> {
    /// How many things are to be done: by this login, and by another.
    #[must_use]
    pub fn left(&self) -> (usize, usize) {
        let tasks = || self.found.iter().flat_map(|found| &found.tasks);
        let own = tasks().filter(|task| task.may).count();
        (own, if self.own_part_only { 0 } else { tasks().count() - own })
    }

    fn part(&self, f: &mut fmt::Formatter<'_>, title: &str, own: bool) -> fmt::Result {
        write!(f, "{title}{BEGIN}")?;
        for found in self.found {
            let mut tasks = found.tasks.iter().filter(|task| task.may == own).peekable();
            if tasks.peek().is_none() {
                continue;
            }
            let measure = found.measure;
            writeln!(f, "\n-- Stops: {}. Without it: {}.", measure.protection, measure.risk)?;
            for task in tasks {
                writeln!(f, "-- {}", task.object.replace('\n', " "))?;
                writeln!(f, "{};", task.statement)?;
            }
        }
        f.write_str("\ncommit;\n")
    }
}

impl fmt::Display for Script<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (own, others) = self.left();
        if own + others == 0 {
            f.write_str("-- Nothing is left to be done.\n")?;
        } else {
            f.write_str(HEAD)?;
        }
        if own > 0 {
            self.part(f, OWNER_PART, true)?;
        }
        if others > 0 {
            self.part(f, SUPERUSER_PART, false)?;
        }
        let mut kept = self.found.iter().flat_map(|found| &found.kept).peekable();
        if kept.peek().is_some() {
            f.write_str("\n-- Left as it is:\n")?;
        }
        for (object, reason) in kept {
            writeln!(f, "--   {}: {}", object.replace('\n', " "), reason.replace('\n', " "))?;
        }
        Ok(())
    }
}
