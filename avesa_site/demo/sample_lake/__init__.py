"""Realistic sample data of three providers, from a seed: for demos, tests and benchmarks."""

from avesa_site.demo.sample_lake.lake import LakeFile, generate
from avesa_site.demo.sample_lake.tenants import SAMPLE_TENANTS, SampleTenant

__all__ = ["SAMPLE_TENANTS", "LakeFile", "SampleTenant", "generate"]
