//! What a policy's expression amounts to, read with PostgreSQL's own grammar: everybody's rows, one's own, or
//! a condition. Must say "condition" of whatever it does not understand.

use pg_query::NodeEnum;
use pg_query::protobuf::{AExprKind, Node, a_const::Val};

/// The functions that say who the caller is.
const IDENTITY: [&str; 2] = ["user_id", "uid"];

/// Which rows an expression lets through.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Meaning {
    /// None: it is `false`.
    Nothing,
    /// All: it is `true`.
    Everything,
    /// Those whose column holds the caller's id.
    Own,
    /// Anything else.
    Condition,
}

/// The meaning of an expression as `pg_get_expr` prints it.
pub(super) fn meaning(expression: &str) -> Meaning {
    let parsed = pg_query::parse(&format!("select {expression}"), 0);
    let Ok(parsed) = parsed else { return Meaning::Condition };
    let statement = parsed.protobuf.stmts.first().and_then(|raw| node(raw.stmt.as_deref()));
    let Some(NodeEnum::SelectStmt(select)) = statement else { return Meaning::Condition };
    match select.target_list.as_slice() {
        [Node { node: Some(NodeEnum::ResTarget(target)) }] => of_node(target.val.as_deref()),
        _ => Meaning::Condition,
    }
}

fn node(node: Option<&Node>) -> Option<&NodeEnum> {
    node?.node.as_ref()
}

fn of_node(expression: Option<&Node>) -> Meaning {
    match node(expression) {
        Some(NodeEnum::AConst(constant)) => match constant.val {
            Some(Val::Boolval(ref value)) if value.boolval => Meaning::Everything,
            Some(Val::Boolval(_)) => Meaning::Nothing,
            _ => Meaning::Condition,
        },
        Some(NodeEnum::AExpr(comparison)) if comparison.kind() == AExprKind::AexprOp => {
            let (left, right) = (comparison.lexpr.as_deref(), comparison.rexpr.as_deref());
            let sides =
                (is_column(left) && is_identity(right)) || (is_identity(left) && is_column(right));
            if sides && is_equals(&comparison.name) { Meaning::Own } else { Meaning::Condition }
        }
        _ => Meaning::Condition,
    }
}

fn is_equals(operator: &[Node]) -> bool {
    matches!(operator, [Node { node: Some(NodeEnum::String(name)) }] if name.sval == "=")
}

/// A column, perhaps cast to another type.
fn is_column(expression: Option<&Node>) -> bool {
    match node(expression) {
        Some(NodeEnum::ColumnRef(_)) => true,
        Some(NodeEnum::TypeCast(cast)) => is_column(cast.arg.as_deref()),
        _ => false,
    }
}

/// `auth.user_id()`, perhaps cast, perhaps as a subquery of its own.
fn is_identity(expression: Option<&Node>) -> bool {
    match node(expression) {
        Some(NodeEnum::TypeCast(cast)) => is_identity(cast.arg.as_deref()),
        Some(NodeEnum::FuncCall(call)) => {
            let parts: Vec<&str> = call
                .funcname
                .iter()
                .filter_map(|part| match &part.node {
                    Some(NodeEnum::String(name)) => Some(name.sval.as_str()),
                    _ => None,
                })
                .collect();
            matches!(parts.as_slice(), ["auth", name] if IDENTITY.contains(name))
        }
        Some(NodeEnum::SubLink(link)) => match node(link.subselect.as_deref()) {
            Some(NodeEnum::SelectStmt(select)) => {
                let plain = select.from_clause.is_empty() && select.where_clause.is_none();
                matches!(select.target_list.as_slice(),
                    [Node { node: Some(NodeEnum::ResTarget(target)) }]
                        if plain && is_identity(target.val.as_deref()))
            }
            _ => false,
        },
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn own_rows_are_recognised_in_every_form_that_the_server_prints() {
        for expression in [
            "(user_id = auth.user_id())",
            "(( SELECT auth.user_id() AS user_id) = user_id)",
            "((owner)::text = ( SELECT auth.user_id() AS user_id))",
            "(id = ( SELECT auth.uid() AS uid))",
            "(todos.user_id = (auth.user_id())::text)",
        ] {
            assert_eq!(meaning(expression), Meaning::Own, "{expression}");
        }
    }

    #[test]
    fn constants_mean_everybody_or_nobody() {
        assert_eq!(meaning("true"), Meaning::Everything);
        assert_eq!(meaning("false"), Meaning::Nothing);
    }

    #[test]
    fn whatever_else_is_a_condition() {
        for expression in [
            "(user_id <> auth.user_id())",
            "(user_id >= auth.user_id())",
            "((user_id = auth.user_id()) OR is_public)",
            "(auth.user_id() = auth.user_id())",
            "(user_id = other.user_id())",
            "(user_id = user_id())",
            "(user_id = ( SELECT auth.user_id() AS user_id FROM members))",
            "(user_id = ( SELECT auth.user_id() AS user_id WHERE false))",
            "(EXISTS ( SELECT 1))",
            "(auth.user_id() IS NOT NULL)",
            "(NOT true)",
            "not sql at all (",
            "1), (true",
        ] {
            assert_eq!(meaning(expression), Meaning::Condition, "{expression}");
        }
    }
}
