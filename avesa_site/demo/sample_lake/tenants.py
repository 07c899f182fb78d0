"""The three sample providers: three sizes, three time zones, three styles of files."""

from dataclasses import dataclass

PARQUET_ONLY = (".parquet",)
MIXED_FORMATS = (".parquet", ".jsonl", ".csv.gz", ".jsonl.gz")


@dataclass(frozen=True, slots=True)
class SampleTenant:
    """One provider and how its upstream writes files.

    ``size`` is relative to the largest tenant. ``growth`` is the change of the ticket volume over
    24 months. ``aliased``: the files use the other column names of the data contract.
    """

    tenant_id: str
    name: str
    time_zone: str
    size: float
    technicians: int
    growth: float
    region: str
    aliased: bool = False
    prefixed_keys: bool = False
    formats: tuple[str, ...] = PARQUET_ONLY


SAMPLE_TENANTS: tuple[SampleTenant, ...] = (
    SampleTenant(
        tenant_id="northwind-it",
        name="Northwind IT Services GmbH",
        time_zone="Europe/Berlin",
        size=1.0,
        technicians=10,
        growth=0.20,
        region="de",
        prefixed_keys=True,
    ),
    SampleTenant(
        tenant_id="bluepeak",
        name="Bluepeak Managed IT",
        time_zone="America/New_York",
        size=0.5,
        technicians=6,
        growth=0.35,
        region="us",
        aliased=True,
    ),
    SampleTenant(
        tenant_id="harbor",
        name="Harbor Technology Partners",
        time_zone="Australia/Sydney",
        size=0.1,
        technicians=3,
        growth=0.05,
        region="au",
        formats=MIXED_FORMATS,
    ),
)
