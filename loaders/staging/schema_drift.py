"""Schema drift: how the columns of a load's files differ from those of the loads before it."""

from collections.abc import Mapping

from loaders.models import LoadJob

Columns = Mapping[str, Mapping[str, str]]

_FORMATS = {"parquet": "Parquet", "csv": "CSV", "jsonl": "JSON lines"}


def columns_before(job: LoadJob) -> Columns:
    """The columns of the last load of the same tenant and table that succeeded, by format."""
    earlier = LoadJob.objects.filter(
        tenant_id=job.tenant_id,
        table=job.table,
        state=LoadJob.State.SUCCEEDED,
        dry_run=False,
        pk__lt=job.pk,
    )
    return earlier.order_by("-pk").values_list("columns", flat=True).first() or {}


def notes(before: Columns, now: Columns) -> list[str]:
    """What staff should know: columns that vanished, appeared or changed their type."""
    found = []
    for form in sorted(before.keys() & now.keys()):
        old, new = before[form], now[form]
        name = _FORMATS.get(form, form)
        found += [
            f"Column {column} is no longer in the {name} files. New versions have no value there; "
            "older ones keep theirs."
            for column in sorted(old.keys() - new.keys())
        ]
        found += [
            f"Column {column} is new in the {name} files."
            for column in sorted(new.keys() - old.keys())
        ]
        found += [
            f"Column {column} of the {name} files was {old[column]} and is {new[column]} now."
            for column in sorted(old.keys() & new.keys())
            if old[column] != new[column]
        ]
    return found
