"""Staff pages for loads, pipeline runs and integrity checks."""

from loaders.admin import integrity, jobs, pipelines

__all__ = ["integrity", "jobs", "pipelines"]
