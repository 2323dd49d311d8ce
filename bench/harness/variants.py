"""auth.user_id() with something changed: what was tried to make it cheaper, and what parts of it cost.

Variants are made from the function as it is installed, so that they stay what they say.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from . import floor
from .environment import Database, EnvironmentFailure
from .workloads import USER

_REST = (
    " operator(pg_catalog.||) '.' operator(pg_catalog.||) k.kid"
    " operator(pg_catalog.||) '.' operator(pg_catalog.||) pg_catalog.right(seal, 10)"
)
_PID = "case when k.bound then pg_catalog.pg_backend_pid() else 0 end"
_IF = (("select pg_catalog.sha256(", "if pg_catalog.sha256("), ("into genuine", ""), ("; if genuine then", " then"))
_EXP = (
    ("genuine pg_catalog.bool;", "genuine pg_catalog.bool; exp pg_catalog.text := pg_catalog.right(seal, 10);"),
    (_REST, " operator(pg_catalog.||) k.infix operator(pg_catalog.||) exp"),
    (
        "operator(pg_catalog.||) pg_catalog.substr(seal, 65)",
        "operator(pg_catalog.||) k.infix operator(pg_catalog.||) exp",
    ),
    ("and pg_catalog.right(seal, 10)", "and exp"),
)
_CONCAT = ((
    f"{_PID}::pg_catalog.text operator(pg_catalog.||) pg_catalog.substr(seal, 65) operator(pg_catalog.||) claims",
    f"pg_catalog.concat({_PID}, pg_catalog.substr(seal, 65), claims)",
),)
# After _EXP.
_CONCAT_EXP = ((
    f"{_PID}::pg_catalog.text operator(pg_catalog.||) k.infix operator(pg_catalog.||) exp "
    "operator(pg_catalog.||) claims",
    f"pg_catalog.concat({_PID}, k.infix, exp, claims)",
),)
_JSON = (("claims::pg_catalog.jsonb", "claims::pg_catalog.json"),)
_UNBLINDED = (
    ("select pg_catalog.sha256(pg_catalog.convert_to( pg_catalog.encode(", "select (pg_catalog.encode("),
    (
        "right(seal, 10), 'UTF8')) operator(pg_catalog.=) pg_catalog.sha256(pg_catalog.convert_to(seal, 'UTF8'))",
        "right(seal, 10)) operator(pg_catalog.=) seal",
    ),
)


@dataclass(frozen=True)
class Variant:
    """auth.user_id() with something changed: pairs of what stands in its body and what takes its place."""

    name: str
    title: str
    changes: tuple[tuple[str, str], ...]


VARIANTS = (
    Variant("same", "a copy of auth.user_id(), unchanged", ()),
    Variant("if_from", "`if … from auth.seal_keys` in place of `select … into` and `if`", _IF),
    Variant("exp", "`exp` cut off once, `.kid.` kept in a column of the key's", _EXP),
    Variant("concat", "`concat()` in place of `\\|\\|` for what is sealed", _CONCAT),
    Variant("all", "these three", _IF + _EXP + _CONCAT_EXP),
    Variant("json", "`json` in place of `jsonb` for `sub`", _JSON),
    Variant("unblinded", "*not allowed:* hmacs compared without hashing them", _UNBLINDED),
)

# What parts of the function cost. None of these verifies anything.
PARTS = {
    "settings": ("*part:* reads the settings only", "return claims;"),
    "row": (
        "*part:* and reads the key's row",
        "if k.bound from auth.seal_keys as k then return claims; end if;",
    ),
    "row_hashes": (
        "*part:* and makes four hashes",
        "if pg_catalog.sha256(pg_catalog.sha256(pg_catalog.sha256(pg_catalog.sha256(k.opad)))) "
        "operator(pg_catalog.<>) k.ipad from auth.seal_keys as k then return claims; end if;",
    ),
    "row_json": (
        "*part:* reads the settings and the key's row, and returns `sub`",
        "if k.bound from auth.seal_keys as k then "
        "return claims::pg_catalog.jsonb operator(pg_catalog.->>) 'sub'; end if;",
    ),
}
_PART = """
declare
  claims pg_catalog.text := pg_catalog.current_setting('request.jwt.claims', true);
  seal pg_catalog.text := pg_catalog.current_setting('rowgate.seal', true);
begin
  {body}
  return null;
end
"""


def make(database: Database, claims: str) -> None:
    """Makes them all in the schema `bench`; raises EnvironmentFailure if one does not decide as the original does."""
    body = database.psql("select prosrc from pg_proc where oid = 'auth.user_id()'::regprocedure")
    functions = [(variant.name, changed(flat(body), variant)) for variant in VARIANTS]
    functions += [(name, _PART.format(body=part)) for name, (_, part) in PARTS.items()]
    for name, source in functions:
        # Owned by the role that may read the key, like the original.
        database.psql(
            f"create function bench.{name}() returns text language plpgsql stable parallel restricted security definer "
            f"as $variant${source}$variant$; alter function bench.{name}() owner to rowgate_sealer; "
            f"grant execute on function bench.{name}() to authenticated;"
        )
    for variant in VARIANTS:
        check(database, variant, claims)


def flat(body: str) -> str:
    """A function's body on one line, without its comments."""
    return " ".join(re.sub(r"--[^\n]*", "", body).split())


def changed(body: str, variant: Variant) -> str:
    """The body with a variant's changes; raises EnvironmentFailure if one of them does not fit it any more."""
    for old, new in variant.changes:
        if old not in body:
            raise EnvironmentFailure(f"auth.user_id() reads otherwise than the variant {variant.name} expects: {old}")
        body = body.replace(old, new)
    return body


def check(database: Database, variant: Variant, claims: str) -> None:
    """Asks a variant with a good seal, and with a seal of other claims."""
    def ask(claimed: str) -> str:
        return database.psql(
            f"""
begin;
select bench.seal({floor.quote(claims)}) as seal \\gset
\\o /dev/null
select set_config('request.jwt.claims', {floor.quote(claimed)}, true), set_config('rowgate.seal', :'seal', true);
\\o
select bench.{variant.name}();
""",
            database.authenticated,
        )

    if ask(claims) != USER:
        raise EnvironmentFailure(f"the variant {variant.name} does not know who is asking")
    try:
        ask(claims.replace(USER, "user2"))
    except EnvironmentFailure as failure:
        if "not sealed" in str(failure):
            return
    raise EnvironmentFailure(f"the variant {variant.name} believes forged claims")
