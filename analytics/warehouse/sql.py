"""Quoting of identifiers and text in statements, where they cannot be bound as parameters."""


def quote(identifier: str) -> str:
    """`identifier` in backticks. Only for names from the catalog, never for user input."""
    return "`" + identifier.replace("\\", "\\\\").replace("`", "\\`") + "`"


def literal(text: str) -> str:
    """`text` as a ClickHouse string literal, for the few places without parameters."""
    return "'" + text.replace("\\", "\\\\").replace("'", "\\'") + "'"
