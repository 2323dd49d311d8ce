//! A report for people.

use std::fmt;

use super::{Report, Verdict};

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for file in self.tests.chunk_by(|one, next| one.file == next.file) {
            writeln!(f, "{}", file[0].file)?;
            for test in file {
                match &test.verdict {
                    Verdict::Passed => writeln!(f, "  ok    {}", test.name)?,
                    Verdict::Failed { reason } => {
                        writeln!(f, "  FAIL  {}  ({}:{})", test.name, test.file, test.line)?;
                        reason.lines().try_for_each(|line| writeln!(f, "          {line}"))?;
                    }
                }
            }
        }
        let failed = self.failures().count();
        let all = self.tests.len();
        let tests = if all == 1 { "test" } else { "tests" };
        write!(
            f,
            "\n{all} {tests}: {} passed, {failed} failed ({:.2} s)",
            all - failed,
            self.seconds
        )?;
        self.write_coverage(f)?;
        self.write_mutants(f)
    }
}

impl Report {
    fn write_coverage(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some(coverage) = &self.coverage else { return Ok(()) };
        let missing: Vec<_> =
            coverage.iter().filter(|branch| branch.exercised_by.is_none()).collect();
        let all = coverage.len();
        write!(f, "\ncoverage: {} of {all} branches of policies exercised", all - missing.len())?;
        missing.iter().try_for_each(|branch| write!(f, "\n  never: {}", branch.name()))
    }

    fn write_mutants(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some(mutants) = &self.mutants else { return Ok(()) };
        let (all, survived) = (mutants.len(), self.survivors().count());
        write!(
            f,
            "\nmutants: {} of {all} noticed ({:.0} %)",
            all - survived,
            self.score().floor()
        )?;
        for mutant in self.survivors() {
            write!(f, "\n  survived: {}\n            {};", mutant.name(), mutant.sql)?;
            if let Some(error) = &mutant.error {
                write!(f, "\n            could not be tried: {error}")?;
            }
        }
        for equivalent in &self.equivalent {
            let (table, policy, what) = (&equivalent.table, &equivalent.policy, equivalent.what);
            write!(f, "\n  not tried: {table}: {policy}: {what}: {}", equivalent.reason)?;
        }
        Ok(())
    }
}
