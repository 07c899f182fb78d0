"""Staff's pages for loads, and for the soundness of what they made."""

from loaders.admin import integrity, jobs, pipelines

__all__ = ["integrity", "jobs", "pipelines"]
