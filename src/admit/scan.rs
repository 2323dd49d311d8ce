//! How long PostgreSQL's scanner would take over a text, before it is asked to.
//!
//! The scanner (`scan.l`) takes the longest run of operator characters, and then gives back all but the part
//! that it uses: two characters of `/*/*/*…`, one of `+-+-+-…`. So it goes over such a run once for every
//! token in it. In 100 kB that is seconds, in megabytes hours, during which neither this program nor a
//! backend looks up: a backend in its parser cannot even be terminated.

/// Steps beyond a single pass that scanning may take: some ten milliseconds.
const STEPS: usize = 8 * 1024 * 1024;

/// Whether scanning takes more than a reasonable time. One pass over the text.
#[must_use]
pub fn takes_too_long(text: &str) -> bool {
    let mut steps: usize = 0;
    let mut run: usize = 0;
    for byte in text.bytes() {
        if is_operator_character(byte) {
            run += 1;
            // A run of n characters takes n²/2 steps at most.
            steps = steps.saturating_add(run);
        } else {
            run = 0;
        }
        if steps > STEPS + text.len() {
            return true;
        }
    }
    false
}

/// `op_chars` of `scan.l`.
fn is_operator_character(byte: u8) -> bool {
    b"~!@#^&|`?+-*/%<>=".contains(&byte)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_people_write_is_scanned() {
        for text in [
            format!("/*{}*/ select 1", "*".repeat(2000)),
            "-- ====================================================================\n"
                .repeat(1000),
            format!("select '{}'", "x+/=".repeat(100_000)),
            "/**/ ".repeat(20_000),
            format!("select '{}'", "-".repeat(3000)),
        ] {
            assert!(!takes_too_long(&text), "{}", &text[..40]);
        }
    }

    #[test]
    fn what_keeps_a_scanner_busy_is_not() {
        for text in [
            format!("select 1{}", "/**/".repeat(5000)),
            format!("select 1{}{}", "/*".repeat(5000), "*/".repeat(5000)),
            format!("select {}1", "+-".repeat(5000)),
            format!("select {}", "1 @@@@".repeat(10) + &"<>".repeat(5000)),
        ] {
            assert!(takes_too_long(&text), "{}", &text[..40]);
        }
    }
}
