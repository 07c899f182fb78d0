"""Staff's pages for loads, and for the soundness of what they made."""

from . import integrity, jobs

__all__ = ["integrity", "jobs"]
