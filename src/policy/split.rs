//! Cuts the text of a SQL file into statements, so that an error can be given a line.
//!
//! Follows `PostgreSQL`'s lexical rules as far as they decide where a statement ends (quotes, dollar
//! quotes, nested comments, parentheses, `begin atomic` bodies). Must never be used to judge a
//! stranger's SQL: what it misreads, the server still reads correctly.

/// One statement of a file, without its semicolon.
#[derive(Debug, PartialEq, Eq)]
pub struct Statement<'a> {
    /// From its first word on; comments before it are left out.
    pub text: &'a str,
    /// Line of the first word, counted from 1.
    pub line: usize,
    /// The words it begins with that would begin or end a transaction, if it does.
    pub transaction_control: Option<&'static str>,
}

/// Single words that begin or end a transaction or a part of one.
const CONTROL_WORDS: [&str; 7] =
    ["abort", "begin", "commit", "end", "release", "rollback", "savepoint"];

/// The words at the start of a statement that are looked at.
const LEADING_WORDS: usize = 4;

/// The statements of `sql` in order. Empty ones are left out.
#[must_use]
pub fn statements(sql: &str) -> Vec<Statement<'_>> {
    read(sql).found
}

/// A comment from two dashes to the end of its line.
#[derive(Debug, PartialEq, Eq)]
pub struct Comment<'a> {
    /// What follows the dashes.
    pub text: &'a str,
    /// Where the dashes begin, in bytes.
    pub start: usize,
    /// Its line, counted from 1.
    pub line: usize,
}

/// The comments of `sql` that have their lines to themselves; those inside quotes are none.
#[must_use]
pub fn whole_line_comments(sql: &str) -> Vec<Comment<'_>> {
    let comments = read(sql).comments.into_iter().filter_map(|(start, end)| {
        let before = sql[..start].rsplit('\n').next().unwrap_or_default();
        let line = 1 + sql[..start].matches('\n').count();
        before.trim().is_empty().then(|| Comment { text: &sql[start + 2..end], start, line })
    });
    comments.collect()
}

fn read(sql: &str) -> Splitter<'_> {
    let mut splitter = Splitter { sql, at: 0, found: Vec::new(), comments: Vec::new() };
    while splitter.statement() {}
    splitter
}

struct Splitter<'a> {
    sql: &'a str,
    at: usize,
    found: Vec<Statement<'a>>,
    /// Where comments of one line begin and end.
    comments: Vec<(usize, usize)>,
}

/// What is known of the statement that is being read.
#[derive(Default)]
struct Progress {
    words: Vec<String>,
    /// Whether the last word was `begin`.
    after_begin: bool,
    parentheses: usize,
    /// Open `begin atomic` and `case`s of a body in SQL-standard form.
    blocks: usize,
}

impl Progress {
    /// Whether a body of the form `begin atomic …; …; end` may follow.
    fn is_routine(&self) -> bool {
        let words: Vec<&str> = self.words.iter().map(String::as_str).collect();
        matches!(
            words[..],
            ["create", "function" | "procedure", ..]
                | ["create", "or", "replace", "function" | "procedure"]
        )
    }

    fn word(&mut self, word: &str) {
        let word = word.to_ascii_lowercase();
        if self.is_routine() {
            match word.as_str() {
                "atomic" if self.after_begin => self.blocks += 1,
                "case" if self.blocks > 0 => self.blocks += 1,
                "end" => self.blocks = self.blocks.saturating_sub(1),
                _ => {}
            }
        }
        self.after_begin = word == "begin";
        if self.words.len() < LEADING_WORDS {
            self.words.push(word);
        }
    }

    fn transaction_control(&self) -> Option<&'static str> {
        let second = self.words.get(1).map_or("", String::as_str);
        match self.words.first()?.as_str() {
            "start" if second == "transaction" => Some("start transaction"),
            "prepare" if second == "transaction" => Some("prepare transaction"),
            first => CONTROL_WORDS.into_iter().find(|word| *word == first),
        }
    }
}

impl<'a> Splitter<'a> {
    /// Reads one statement; false at the end of the text.
    fn statement(&mut self) -> bool {
        self.skip_blank();
        let start = self.at;
        let mut progress = Progress::default();
        while let Some(byte) = self.peek(0) {
            if byte == b';' && progress.parentheses == 0 && progress.blocks == 0 {
                break;
            }
            self.token(byte, &mut progress);
        }
        let text =
            self.sql[start..self.at].trim_end_matches(|c| u8::try_from(c).is_ok_and(is_space));
        if !text.is_empty() {
            self.found.push(Statement {
                text,
                line: 1 + self.sql[..start].matches('\n').count(),
                transaction_control: progress.transaction_control(),
            });
        }
        let more = self.at < self.sql.len();
        self.at += usize::from(more);
        more
    }

    fn token(&mut self, byte: u8, progress: &mut Progress) {
        match byte {
            b'\'' => self.quoted(b'\'', false),
            b'"' => self.quoted(b'"', false),
            b'-' if self.peek(1) == Some(b'-') => self.line_comment(),
            b'/' if self.peek(1) == Some(b'*') => self.block_comment(),
            b'$' => self.dollar(),
            b'(' => {
                progress.parentheses += 1;
                self.at += 1;
            }
            b')' => {
                progress.parentheses = progress.parentheses.saturating_sub(1);
                self.at += 1;
            }
            _ if is_word_start(byte) => {
                let word = self.word();
                if word.eq_ignore_ascii_case("e") && self.peek(0) == Some(b'\'') {
                    self.quoted(b'\'', true);
                } else {
                    progress.word(word);
                }
            }
            _ => self.at += 1,
        }
    }

    fn peek(&self, ahead: usize) -> Option<u8> {
        self.sql.as_bytes().get(self.at + ahead).copied()
    }

    /// Skips blanks and comments.
    fn skip_blank(&mut self) {
        while let Some(byte) = self.peek(0) {
            match byte {
                b'-' if self.peek(1) == Some(b'-') => self.line_comment(),
                b'/' if self.peek(1) == Some(b'*') => self.block_comment(),
                _ if is_space(byte) => self.at += 1,
                _ => return,
            }
        }
    }

    fn word(&mut self) -> &'a str {
        let rest = &self.sql[self.at..];
        let end = rest.bytes().position(|b| !is_word_part(b) && b != b'$').unwrap_or(rest.len());
        self.at += end;
        &rest[..end]
    }

    fn line_comment(&mut self) {
        let (rest, start) = (&self.sql[self.at..], self.at);
        self.at += rest.find(['\n', '\r']).unwrap_or(rest.len());
        self.comments.push((start, self.at));
    }

    /// Comments nest.
    fn block_comment(&mut self) {
        let mut depth = 0;
        while let Some(byte) = self.peek(0) {
            match (byte, self.peek(1)) {
                (b'/', Some(b'*')) => depth += 1,
                (b'*', Some(b'/')) => depth -= 1,
                _ => {
                    self.at += 1;
                    continue;
                }
            }
            self.at += 2;
            if depth == 0 {
                return;
            }
        }
    }

    /// Where backslashes escape, they do so on both sides of a doubled quote, and in the next part of a
    /// literal that goes on after a line break.
    fn quoted(&mut self, quote: u8, backslashes: bool) {
        self.at += 1;
        while let Some(byte) = self.peek(0) {
            if byte != quote {
                let escaped = backslashes && byte == b'\\' && self.peek(1).is_some();
                self.at += if escaped { 2 } else { 1 };
                continue;
            }
            self.at += 1;
            if self.peek(0) == Some(quote) {
                self.at += 1;
            } else if !(backslashes && self.goes_on(quote)) {
                return;
            }
        }
    }

    /// Whether the literal that just ended goes on on another line (scan.l: `quotecontinue`); then moves to
    /// where it does.
    fn goes_on(&mut self, quote: u8) -> bool {
        let mut ahead =
            Splitter { at: self.at, sql: self.sql, found: Vec::new(), comments: Vec::new() };
        let mut line_ended = false;
        while let Some(byte) = ahead.peek(0) {
            match byte {
                b'-' if ahead.peek(1) == Some(b'-') => ahead.line_comment(),
                _ if is_space(byte) => {
                    line_ended |= matches!(byte, b'\n' | b'\r');
                    ahead.at += 1;
                }
                _ if byte == quote && line_ended => {
                    self.at = ahead.at + 1;
                    return true;
                }
                _ => return false,
            }
        }
        false
    }

    /// `$tag$ … $tag$`, or the dollar of a parameter.
    fn dollar(&mut self) {
        let rest = &self.sql[self.at..];
        let tag_end = rest[1..].bytes().position(|b| b == b'$' || !is_word_part(b));
        let Some(end) = tag_end.filter(|end| rest.as_bytes()[end + 1] == b'$') else {
            self.at += 1;
            return;
        };
        let tag = &rest[..end + 2];
        if tag.as_bytes()[1].is_ascii_digit() {
            self.at += 1;
            return;
        }
        self.at += rest[tag.len()..].find(tag).map_or(rest.len(), |at| at + 2 * tag.len());
    }
}

/// scan.l: `space`.
fn is_space(byte: u8) -> bool {
    byte.is_ascii_whitespace() || byte == b'\x0b'
}

fn is_word_start(byte: u8) -> bool {
    byte.is_ascii_alphabetic() || byte == b'_' || !byte.is_ascii()
}

/// What a name and the tag of a dollar quote are made of; a name may contain dollars besides.
fn is_word_part(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_' || !byte.is_ascii()
}

#[cfg(test)]
mod tests;
