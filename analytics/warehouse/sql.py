"""How identifiers and texts are written into a statement, where they cannot be bound."""


def quote(identifier: str) -> str:
    """`identifier` as ClickHouse quotes it. Identifiers come from the catalog, values never."""
    return "`" + identifier.replace("\\", "\\\\").replace("`", "\\`") + "`"


def literal(text: str) -> str:
    """`text` as a ClickHouse string literal, for the few places that take no parameters."""
    return "'" + text.replace("\\", "\\\\").replace("'", "\\'") + "'"
