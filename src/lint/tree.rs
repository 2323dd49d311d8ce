//! The condition of a policy as a tree, by `PostgreSQL`'s own grammar, and what can be said of it.
//!
//! `pg_get_expr` prints a condition with every cast and, under an empty search path, every name spelled
//! out; `libpg_query` reads that again. What a rule does not know of is kept as [`Expr::Other`] with its
//! parts, so that nothing inside it is overlooked.

use pg_query::ParserOptions;
use serde_json::Value;

/// Where something stands in the parsed text, in bytes. Says nothing about equality.
#[derive(Clone, Copy, Debug)]
pub struct At(pub usize);

impl PartialEq for At {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

/// How an operator takes its operands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum How {
    /// As it is; also LIKE and so on.
    Plain,
    /// With any element of the right one (`= any`, IN).
    Any,
    /// DISTINCT FROM and others that are not strict.
    Other,
}

/// A part of a condition.
#[derive(Clone, Debug, PartialEq)]
pub enum Expr {
    /// A column, with its qualification.
    Column(Vec<String>),
    /// A constant that is written as a string.
    Text(String),
    /// TRUE or FALSE.
    Bool(bool),
    /// NULL.
    Null,
    /// Another constant, as it is written.
    Constant(String),
    /// A function's call; the schema is empty if none is written.
    Call {
        /// The function's schema.
        schema: String,
        /// The function's name.
        name: String,
        /// What it is called with.
        arguments: Vec<Expr>,
        /// Where its name begins.
        at: At,
    },
    /// An operator with its operands.
    Operator {
        /// As in `=`.
        name: String,
        /// How.
        how: How,
        /// The operands; one of a prefix operator.
        operands: Vec<Expr>,
    },
    /// All of these.
    And(Vec<Expr>),
    /// One of these.
    Or(Vec<Expr>),
    /// Not this.
    Not(Box<Expr>),
    /// Whether it is null (or is not).
    IsNull(Box<Expr>, bool),
    /// The session's role: `current_user`, `session_user` and so on.
    SessionRole,
    /// A query.
    Query(Query),
    /// A cast to the type with this name.
    Cast(Box<Expr>, String),
    /// Anything else, with its parts.
    Other(Vec<Expr>),
}

/// A query inside a condition.
#[derive(Clone, Debug, PartialEq)]
pub struct Query {
    /// Whether it stands in EXISTS.
    pub is_exists: bool,
    /// What is compared with its rows (`x in (select …)`).
    pub test: Option<Box<Expr>>,
    /// What it reads: schema, name and the name by which it goes.
    pub relations: Vec<(String, String, String)>,
    /// Every expression in it.
    pub parts: Vec<Expr>,
}

impl Query {
    /// Whether it depends on nothing but itself, so that it is evaluated once for a statement.
    #[must_use]
    pub fn stands_alone(&self) -> bool {
        let mut known: Vec<&str> = self.relations.iter().map(|r| r.2.as_str()).collect();
        for part in &self.parts {
            part.visit(&mut |expr| {
                if let Expr::Query(query) = expr {
                    known.extend(query.relations.iter().map(|r| r.2.as_str()));
                }
            });
        }
        let mut alone = true;
        for part in &self.parts {
            part.visit(&mut |expr| {
                if let Expr::Column(path) = expr {
                    let qualifier = path.iter().rev().nth(1);
                    alone &= match qualifier {
                        Some(qualifier) => known.contains(&qualifier.as_str()),
                        // PostgreSQL qualifies whatever could belong to two tables.
                        None => !self.relations.is_empty(),
                    };
                }
            });
        }
        alone
    }
}

/// What a condition comes to, in SQL's three-valued logic and beyond.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Truth {
    /// For every row.
    True,
    /// For every row.
    False,
    /// For every row.
    Null,
    /// It depends.
    Open,
}

/// What `PostgreSQL` printed of a condition, as a tree; none if it cannot be read, as may be with syntax
/// of a server that is newer than the grammar.
#[must_use]
pub fn condition(text: &str) -> Option<Expr> {
    const PREFIX: &str = "select ";
    let tree = pg_query::parse(&format!("{PREFIX}{text}"), ParserOptions::default()).ok()?;
    let statement = serde_json::to_value(tree.protobuf.stmts.first()?.stmt.as_ref()?).ok()?;
    let mut parts = parts(&statement["node"]["SelectStmt"]["target_list"]);
    let mut expr = if parts.len() == 1 { parts.pop()? } else { return None };
    expr.shift(PREFIX.len());
    Some(expr)
}

/// Every expression at or below `value`, not those inside of others.
pub(super) fn parts(value: &Value) -> Vec<Expr> {
    match value {
        Value::Array(items) => items.iter().flat_map(parts).collect(),
        Value::Object(fields) => match fields.get("node").and_then(Value::as_object) {
            Some(node) => node.iter().flat_map(|(kind, fields)| node_parts(kind, fields)).collect(),
            None => fields.values().flat_map(parts).collect(),
        },
        _ => Vec::new(),
    }
}

/// A node that is an expression, or those in it.
fn node_parts(kind: &str, fields: &Value) -> Vec<Expr> {
    let one = |key: &str| Box::new(only(parts(&fields[key])));
    let expr = match kind {
        "ColumnRef" => Expr::Column(strings(&fields["fields"])),
        "AConst" => constant(fields),
        "FuncCall" => call(fields),
        "AExpr" => operator(fields),
        "BoolExpr" => match fields["boolop"].as_i64() {
            Some(1) => Expr::And(parts(&fields["args"])),
            Some(2) => Expr::Or(parts(&fields["args"])),
            _ => Expr::Not(one("args")),
        },
        "NullTest" => Expr::IsNull(one("arg"), fields["nulltesttype"].as_i64() == Some(1)),
        // pg_query: SqlValueFunctionOp, from SVFOP_CURRENT_ROLE to SVFOP_SESSION_USER.
        "SqlvalueFunction" if (10..=13).contains(&fields["op"].as_i64().unwrap_or_default()) => {
            Expr::SessionRole
        }
        "SubLink" => Expr::Query(query(fields)),
        "TypeCast" => {
            let name = strings(&fields["type_name"]["names"]).pop().unwrap_or_default();
            let array =
                fields["type_name"]["array_bounds"].as_array().is_some_and(|b| !b.is_empty());
            Expr::Cast(one("arg"), if array { format!("{name}[]") } else { name })
        }
        "ResTarget" => return parts(&fields["val"]),
        // Containers, not expressions.
        "SelectStmt" | "RangeSubselect" | "JoinExpr" | "List" | "SortBy" | "CommonTableExpr"
        | "RangeFunction" | "RangeVar" | "String" | "TypeName" => return parts(fields),
        _ => Expr::Other(parts(fields)),
    };
    vec![expr]
}

/// Several expressions where one is expected are kept together.
fn only(mut parts: Vec<Expr>) -> Expr {
    if parts.len() == 1 { parts.remove(0) } else { Expr::Other(parts) }
}

fn constant(fields: &Value) -> Expr {
    let value = &fields["val"];
    if let Some(text) = value["Sval"]["sval"].as_str() {
        return Expr::Text(text.to_owned());
    }
    if let Some(value) = value.get("Boolval") {
        return Expr::Bool(value["boolval"].as_bool().unwrap_or_default());
    }
    if fields["isnull"].as_bool() == Some(true) {
        return Expr::Null;
    }
    Expr::Constant(value.to_string())
}

fn call(fields: &Value) -> Expr {
    let mut names = strings(&fields["funcname"]);
    let name = names.pop().unwrap_or_default();
    let at = usize::try_from(fields["location"].as_i64().unwrap_or_default()).unwrap_or_default();
    let schema = names.pop().unwrap_or_default();
    Expr::Call { schema, name, arguments: parts(&fields["args"]), at: At(at) }
}

fn operator(fields: &Value) -> Expr {
    // pg_query: AExprKind.
    let how = match fields["kind"].as_i64() {
        Some(1 | 8 | 9 | 10) => How::Plain,
        Some(2 | 7) => How::Any,
        _ => How::Other,
    };
    let mut operands = parts(&fields["lexpr"]);
    operands.extend(parts(&fields["rexpr"]));
    let name = strings(&fields["name"]).pop().unwrap_or_default();
    Expr::Operator { name, how, operands }
}

fn query(fields: &Value) -> Query {
    let mut relations = Vec::new();
    collect_relations(&fields["subselect"], &mut relations);
    Query {
        // pg_query: SubLinkType.
        is_exists: fields["sub_link_type"].as_i64() == Some(1),
        test: parts(&fields["testexpr"]).pop().map(Box::new),
        relations,
        parts: parts(&fields["subselect"]),
    }
}

/// What stands in FROM at this level, and in queries that stand there.
fn collect_relations(value: &Value, into: &mut Vec<(String, String, String)>) {
    match value {
        Value::Array(items) => items.iter().for_each(|item| collect_relations(item, into)),
        Value::Object(fields) => {
            if fields.contains_key("SubLink") {
                return;
            }
            if let Some(relation) = fields.get("RangeVar") {
                let text = |key: &str| relation[key].as_str().unwrap_or_default().to_owned();
                let alias = relation["alias"]["aliasname"].as_str().map(str::to_owned);
                let alias = alias.unwrap_or_else(|| text("relname"));
                into.push((text("schemaname"), text("relname"), alias));
                return;
            }
            // Names that a query, a function or WITH gives in FROM.
            if let Some(alias) = fields.get("alias").and_then(|alias| alias["aliasname"].as_str()) {
                into.push((String::new(), String::new(), alias.to_owned()));
            }
            fields.values().for_each(|field| collect_relations(field, into));
        }
        _ => {}
    }
}

/// The strings of a list of `String` nodes.
pub(super) fn strings(value: &Value) -> Vec<String> {
    let text = |item: &Value| item["node"]["String"]["sval"].as_str().map(str::to_owned);
    value.as_array().map(|items| items.iter().filter_map(text).collect()).unwrap_or_default()
}

impl Expr {
    /// The parts of this expression, one level down.
    #[must_use]
    pub fn children(&self) -> Vec<&Expr> {
        match self {
            Self::Call { arguments: parts, .. }
            | Self::Operator { operands: parts, .. }
            | Self::And(parts)
            | Self::Or(parts)
            | Self::Other(parts) => parts.iter().collect(),
            Self::Not(part) | Self::IsNull(part, _) | Self::Cast(part, _) => vec![part],
            Self::Query(query) => query.test.iter().map(|t| &**t).chain(&query.parts).collect(),
            _ => Vec::new(),
        }
    }

    /// Calls `visitor` with this expression and all below it, those in queries as well.
    pub fn visit<'e>(&'e self, visitor: &mut impl FnMut(&'e Expr)) {
        visitor(self);
        for child in self.children() {
            child.visit(visitor);
        }
    }

    /// As [`Self::visit`], but not into queries that read something.
    pub fn visit_outside_queries<'e>(&'e self, visitor: &mut impl FnMut(&'e Expr)) {
        visitor(self);
        if matches!(self, Self::Query(query) if !query.relations.is_empty()) {
            return;
        }
        for child in self.children() {
            child.visit_outside_queries(visitor);
        }
    }

    /// Whether any part of it is so.
    pub fn any(&self, mut test: impl FnMut(&Expr) -> bool) -> bool {
        let mut found = false;
        self.visit(&mut |expr| found |= test(expr));
        found
    }

    fn shift(&mut self, by: usize) {
        if let Self::Call { at, .. } = self {
            at.0 = at.0.saturating_sub(by);
        }
        match self {
            Self::Call { arguments: parts, .. }
            | Self::Operator { operands: parts, .. }
            | Self::And(parts)
            | Self::Or(parts)
            | Self::Other(parts) => parts.iter_mut().for_each(|part| part.shift(by)),
            Self::Not(part) | Self::IsNull(part, _) | Self::Cast(part, _) => part.shift(by),
            Self::Query(query) => {
                query.test.iter_mut().for_each(|test| test.shift(by));
                query.parts.iter_mut().for_each(|part| part.shift(by));
            }
            _ => {}
        }
    }

    /// Whether this very node asks who the caller is.
    #[must_use]
    pub fn is_identity(&self) -> bool {
        match self {
            Self::Call { schema, name, .. } => schema == "auth" || name == "current_setting",
            Self::SessionRole => true,
            _ => false,
        }
    }

    /// Whether it asks who the caller is, anywhere.
    #[must_use]
    pub fn has_identity(&self) -> bool {
        self.any(Self::is_identity)
    }

    /// Without casts, and without queries that only hold one expression.
    #[must_use]
    pub fn bare(&self) -> &Expr {
        match self {
            Self::Cast(inner, _) => inner.bare(),
            Self::Query(query) if query.is_wrapper() => query.parts[0].bare(),
            other => other,
        }
    }

    /// The conditions that must hold together.
    pub fn conjuncts(&self) -> Vec<&Expr> {
        match self {
            Self::And(parts) => parts.iter().flat_map(Self::conjuncts).collect(),
            other => vec![other],
        }
    }

    /// What it comes to without looking at a row. `anonymous`: for a request without a token, for which
    /// every function of `auth` returns null.
    #[must_use]
    pub fn truth(&self, anonymous: bool) -> Truth {
        let all =
            |parts: &[Expr]| parts.iter().map(|part| part.truth(anonymous)).collect::<Vec<_>>();
        match self {
            Self::Bool(true) => Truth::True,
            Self::Bool(false) => Truth::False,
            Self::And(parts) => combine(&all(parts), Truth::False, Truth::True),
            Self::Or(parts) => combine(&all(parts), Truth::True, Truth::False),
            Self::Not(part) => match part.truth(anonymous) {
                Truth::True => Truth::False,
                Truth::False => Truth::True,
                other => other,
            },
            Self::IsNull(part, wanted) => match part.nullness(anonymous) {
                Some(null) if null == *wanted => Truth::True,
                Some(_) => Truth::False,
                None => Truth::Open,
            },
            Self::Cast(part, _) => part.truth(anonymous),
            Self::Query(query) if query.is_wrapper() => query.parts[0].truth(anonymous),
            Self::Operator { name, how: How::Plain, operands } if name == "=" => {
                match operands.as_slice() {
                    [left, right] if left.is_constant() && left.bare() == right.bare() => {
                        Truth::True
                    }
                    _ if self.nullness(anonymous) == Some(true) => Truth::Null,
                    _ => Truth::Open,
                }
            }
            _ if self.nullness(anonymous) == Some(true) => Truth::Null,
            _ => Truth::Open,
        }
    }

    /// Whether its value is a constant.
    #[must_use]
    pub fn is_constant(&self) -> bool {
        matches!(self.bare(), Self::Text(_) | Self::Bool(_) | Self::Constant(_))
    }

    /// Whether it is null for every row, or for none; none: it depends.
    fn nullness(&self, anonymous: bool) -> Option<bool> {
        match self {
            Self::Null => Some(true),
            Self::Text(_) | Self::Bool(_) | Self::Constant(_) | Self::SessionRole => Some(false),
            Self::Call { schema, .. } if schema == "auth" && anonymous => Some(true),
            Self::Cast(part, _) => part.nullness(anonymous),
            Self::Query(query) if query.is_wrapper() => query.parts[0].nullness(anonymous),
            // Nearly every operator is strict, and those in conditions of policies are.
            Self::Operator { how: How::Plain, operands, .. }
                if operands.iter().any(|operand| operand.nullness(anonymous) == Some(true)) =>
            {
                Some(true)
            }
            _ => None,
        }
    }
}

impl Query {
    /// Whether it is there only to be evaluated once: `(select auth.user_id())`.
    #[must_use]
    pub fn is_wrapper(&self) -> bool {
        !self.is_exists && self.test.is_none() && self.relations.is_empty() && self.parts.len() == 1
    }
}

/// AND and OR: one part may decide alone, all together may be neutral.
fn combine(parts: &[Truth], decisive: Truth, neutral: Truth) -> Truth {
    if parts.contains(&decisive) {
        decisive
    } else if parts.contains(&Truth::Open) {
        Truth::Open
    } else if parts.contains(&Truth::Null) {
        Truth::Null
    } else {
        neutral
    }
}

/// Where the call that begins at `start` ends: behind its last parenthesis.
#[must_use]
pub fn call_end(text: &str, start: usize) -> Option<usize> {
    let mut depth = 0_usize;
    let mut quote = None;
    for (at, character) in text.get(start..)?.char_indices() {
        if let Some(open) = quote {
            quote = (open != character).then_some(open);
            continue;
        }
        match character {
            '\'' | '"' => quote = Some(character),
            '(' => depth += 1,
            ')' => {
                depth = depth.checked_sub(1)?;
                if depth == 0 {
                    return Some(start + at + 1);
                }
            }
            _ => {}
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn truth(text: &str, anonymous: bool) -> Truth {
        condition(text).unwrap().truth(anonymous)
    }

    #[test]
    fn conditions_that_no_row_decides_are_recognised() {
        for (text, always, without_token) in [
            ("true", Truth::True, Truth::True),
            ("(1 = 1)", Truth::True, Truth::True),
            ("((user_id = 'a'::text) OR true)", Truth::True, Truth::True),
            ("(NOT false)", Truth::True, Truth::True),
            ("(( SELECT true AS bool) AND true)", Truth::True, Truth::True),
            ("(auth.user_id() IS NULL)", Truth::Open, Truth::True),
            ("((auth.user_id() IS NULL) OR (user_id = auth.user_id()))", Truth::Open, Truth::True),
            ("(NOT (( SELECT auth.user_id() AS u) IS NOT NULL))", Truth::Open, Truth::True),
            ("(((auth.session() ->> 'a'::text))::uuid IS NULL)", Truth::Open, Truth::True),
            ("(user_id = auth.user_id())", Truth::Open, Truth::Null),
            ("((user_id = auth.user_id()) OR is_complete)", Truth::Open, Truth::Open),
            ("(is_complete AND false)", Truth::False, Truth::False),
        ] {
            assert_eq!(truth(text, false), always, "{text}");
            assert_eq!(truth(text, true), without_token, "{text}");
        }
    }

    #[test]
    fn queries_are_told_apart_by_what_they_depend_on() {
        let alone = |text: &str| match condition(text).unwrap() {
            Expr::Query(query) => query.stands_alone(),
            other => panic!("{other:?}"),
        };
        assert!(alone("( SELECT auth.user_id() AS user_id)"));
        assert!(alone("(EXISTS ( SELECT 1 FROM public.m WHERE (m.user_id = auth.user_id())))"));
        assert!(alone("(EXISTS ( SELECT 1 FROM public.m WHERE (user_id = auth.user_id())))"));
        assert!(!alone("(EXISTS ( SELECT 1 FROM public.m WHERE (m.team = todos.team)))"));
        assert!(alone("(EXISTS ( SELECT 1 FROM (public.m a JOIN public.n b ON ((a.x = b.x)))))"));
    }

    #[test]
    fn the_end_of_a_call_is_found_behind_quotes_and_parentheses() {
        let text = "current_setting('a)', (true)) = b";
        assert_eq!(call_end(text, 0), Some("current_setting('a)', (true))".len()));
        assert_eq!(call_end("f(", 0), None);
    }
}
