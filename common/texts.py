"""Text from files and errors, made safe to store in the application database."""

from common.logs import redact


def storable(text: object) -> str:
    """Redact known secrets, and replace NUL characters, which PostgreSQL cannot store."""
    return redact(str(text)).replace("\0", "\ufffd")
