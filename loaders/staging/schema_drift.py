"""Schema drift: how the columns of a load's files differ from those of the loads before it.

Of each format, a job keeps the columns that the catalog knows, and the first others by name, up to
MAX_OTHERS: each job carries them on, and files may have a thousand.
"""

from collections.abc import Mapping

from analytics.warehouse.catalog import TENANT_COLUMN, Table
from loaders.models import LoadJob

Columns = Mapping[str, Mapping[str, str]]

MAX_OTHERS = 100
MAX_NOTES = 20
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


def kept(columns: Columns, table: Table) -> Columns:
    """The columns that a job keeps."""
    return {
        form: {name: each[name] for name in [*sorted(each.keys() & _known(table)), *first]}
        for form, each in columns.items()
        for first in [_others(each, table)[:MAX_OTHERS]]
    }


def notes(before: Columns, now: Columns, table: Table) -> list[str]:
    """What staff should know: columns that vanished, appeared or changed their type.

    Of kept columns: those that may have been left out of either are not compared.
    """
    found = []
    for form in sorted(before.keys() & now.keys()):
        old, new = before[form], now[form]
        name = _FORMATS.get(form, form)
        found += [
            f"Column {column} is no longer in the {name} files. New versions have no value there; "
            "older ones keep theirs."
            for column in sorted(old.keys() - new.keys())
            if not _may_be_left_out(column, new, table)
        ]
        found += [
            f"Column {column} is new in the {name} files."
            for column in sorted(new.keys() - old.keys())
            if not _may_be_left_out(column, old, table)
        ]
        found += [
            f"Column {column} of the {name} files was {old[column]} and is {new[column]} now."
            for column in sorted(old.keys() & new.keys())
            if old[column] != new[column]
        ]
    if len(found) > MAX_NOTES:
        found[MAX_NOTES:] = [f"{len(found) - MAX_NOTES:,} more columns differ."]
    return found


def _may_be_left_out(column: str, columns: Mapping[str, str], table: Table) -> bool:
    others = _others(columns, table)
    is_full = len(others) >= MAX_OTHERS
    return is_full and column not in _known(table) and column > others[-1]


def _others(columns: Mapping[str, str], table: Table) -> list[str]:
    return sorted(columns.keys() - _known(table))


def _known(table: Table) -> set[str]:
    return {*table.source_names, TENANT_COLUMN.name}
