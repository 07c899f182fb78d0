"""Texts of files and errors, as rows of the application database may hold them."""

from common.logs import hide


def storable(text: object) -> str:
    """Without any secret that this process knows, nor NUL, which PostgreSQL does not take."""
    return hide(str(text)).replace("\0", "\ufffd")
