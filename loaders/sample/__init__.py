"""A believable lake of three providers, made up from a seed: for demos, tests and benchmarks."""

from loaders.sample.lake import LakeFile, generate
from loaders.sample.tenants import SAMPLE_TENANTS, SampleTenant

__all__ = ["SAMPLE_TENANTS", "LakeFile", "SampleTenant", "generate"]
