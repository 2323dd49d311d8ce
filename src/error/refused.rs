//! Statements that are not run → status, code and what to do about it.

use hyper::StatusCode;

use super::ApiError;
use crate::admit::Refusal;
use crate::pg::ServerError;

impl ApiError {
    /// Refused before it ran.
    pub(super) fn refused(refusal: &Refusal) -> Self {
        let (code, hint) = match refusal {
            Refusal::TransactionControl => {
                return Self::in_the_databases_words(
                    "2D000",
                    refusal,
                    "send several statements as one batch: {\"queries\": […]}",
                );
            }
            Refusal::Copy => {
                return Self::in_the_databases_words(
                    "0A000",
                    refusal,
                    "use SELECT to read, and INSERT … SELECT from unnest($1) to write",
                );
            }
            Refusal::Kind | Refusal::SelectInto => (
                "RG4030",
                "change tables and settings with migrations; limits.allow_statements admits more kinds, \
                 limits.statements = \"all\" all of them",
            ),
            Refusal::Function(_) => (
                "RG4031",
                "it shows or changes what is not yours; if callers need it, the operator can name it in \
                 limits.allow_functions, or wrap it in a function of the application",
            ),
            Refusal::Relation(_) => (
                "RG4032",
                "it shows what is not yours; if callers need it, the operator can name it in \
                 limits.allow_relations, or show a part of it in a view",
            ),
            Refusal::Type(_) => ("RG4033", "compare names as text instead"),
            Refusal::Explain => (
                "RG4034",
                "write EXPLAIN (COSTS OFF) …; estimates and counts are made of rows that policies hide. \
                 limits.allow_statements = [\"explain\"] admits all of it",
            ),
            Refusal::TooLong(_) => (
                "RG4035",
                "send values as parameters, or in several statements; the operator can raise \
                 limits.statement_bytes",
            ),
            Refusal::TooDeep => {
                ("RG4036", "write lists as arrays, and long chains in several steps")
            }
            Refusal::TooSlow => ("RG4036", "put spaces between operators, and between comments"),
            Refusal::Unreadable => (
                "RG4037",
                "this gateway reads SQL as PostgreSQL 18 does; write it in a form that all versions know",
            ),
        };
        Self::new(StatusCode::FORBIDDEN, code, refusal.to_string(), hint)
    }

    /// Refused as the database would, with its code and in its shape.
    fn in_the_databases_words(
        sqlstate: &'static str,
        refusal: &Refusal,
        hint: &'static str,
    ) -> Self {
        Self::server(Box::new(ServerError::raised(sqlstate, &refusal.to_string(), hint)))
    }
}
