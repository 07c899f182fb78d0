"""Names, texts and tenants' rows in statements, where they cannot be bound as parameters."""

import re
from collections.abc import Iterable


def quote(identifier: str) -> str:
    """`identifier` in backticks. Only for names from the catalog, never for user input."""
    return "`" + identifier.replace("\\", "\\\\").replace("`", "\\`") + "`"


def literal(text: str) -> str:
    """`text` as a ClickHouse string literal, for the few places without parameters."""
    return "'" + text.replace("\\", "\\\\").replace("'", "\\'") + "'"


# Every name of a shared table must be followed by this, perhaps after FINAL.
SCOPE = " WHERE tenant_id = {tenant_id:String} AND ("
_FINAL = " FINAL"


def tenant_rows(
    table: str, columns: str, where: str, more: str = "", *, is_final: bool = False
) -> str:
    """A subquery of a tenant's rows of a shared table; the only form in which one may be named.

    `more` follows the condition, such as a QUALIFY clause. `is_final`: only the last of the rows
    with the same key, as logs need it.
    """
    return f"(SELECT {columns} FROM {table}{_FINAL if is_final else ''}{SCOPE}{where}){more})"


def is_scoped(sql: str, tables: Iterable[str]) -> bool:
    """Whether `sql` names shared `tables` only in the form of `tenant_rows`.

    The condition in parentheses must end the WHERE clause: an OR after it would lift the scope.
    """
    for found in re.finditer(rf"\b(?:{'|'.join(map(re.escape, tables))})\b", sql):
        rest = sql[found.end() :].removeprefix(_FINAL)
        if not rest.startswith(SCOPE):
            return False
        after = rest[_closing(rest, len(SCOPE)) :].lstrip()
        if not (after.startswith(")") or after[:7].upper() == "QUALIFY"):
            return False
    return True


def _closing(text: str, start: int) -> int:
    """The position after the parenthesis that closes the one before `start`."""
    depth = 1
    for token in re.finditer(r"'(?:[^'\\]|\\.)*'|[()]", text[start:]):
        depth += {"(": 1, ")": -1}.get(token.group(), 0)
        if not depth:
            return start + token.end()
    return len(text)
