"""Planning a merge: what becomes of each staged version, next to those that history holds.

Nothing is written to the target here: `publishing` does that with the plan.
"""

from dataclasses import dataclass, replace

from analytics.warehouse.sql import quote
from loaders.history import version_order
from loaders.history.vanished_keys import Snapshot, close_vanished, open_returned
from loaders.lake.results import LoadFailed, VersionCounts
from loaders.staging.progress import Progress
from loaders.staging.scratch_tables import ScratchTables


@dataclass(frozen=True)
class Plan:
    """What a load makes of the staged rows, before anything is written to the target.

    `added` versions are new, and `moved` ones get another validity; new ones are among them. A
    `plain` plan has no row in `scratch.plan`: the staged rows are history as they stand. `stored`
    is how many rows history had.
    """

    versions: VersionCounts
    moved: int
    added: int
    stored: int
    is_plain: bool = False
    notes: tuple[str, ...] = ()

    @property
    def are_distinct(self) -> bool:
        """Whether no version was staged twice."""
        return not self.versions.rows_duplicate


def plan(
    scratch: ScratchTables, stored: int, snapshot: Snapshot | None, progress: Progress
) -> Plan:
    """Decide what becomes of each staged version. Raises LoadFailed if one is not accounted for.

    `stored` is how many rows the tenant has, or 0 where history begins anew.
    """
    if not stored and _are_keys_unique(scratch):
        rows = scratch.filled(scratch.staged)
        return Plan(VersionCounts(rows_new=rows), rows, rows, 0, is_plain=True)
    progress.step("Comparing with history")
    reopened = closed = 0
    notes: tuple[str, ...] = ()
    if stored and snapshot:
        reopened = open_returned(scratch, snapshot)
    _compare(scratch, stored)
    if stored and snapshot:
        closed, notes = close_vanished(scratch, snapshot)
    made = _account(scratch, stored)
    versions = replace(
        made.versions,
        rows_changed=made.versions.rows_changed - reopened,
        keys_closed=closed,
        keys_reopened=reopened,
    )
    return replace(made, versions=versions, notes=notes)


def _are_keys_unique(scratch: ScratchTables) -> bool:
    rows, keys = scratch.rows(
        f"SELECT count(), uniqExact(cityHash64({quote(scratch.table.key)})) FROM {scratch.staged}"
    )[0]
    return bool(rows == keys)


def _compare(scratch: ScratchTables, stored: int) -> None:
    """Fill `scratch.plan`; with a history to build on, `scratch.stored` and `touched` as well."""
    table, recalled, touched = scratch.table, "", ""
    if stored:
        recalled, touched = scratch.stored, scratch.touched
        scratch.create(recalled, version_order.STORED_COLUMNS)
        scratch.fill(
            recalled, version_order.copy_stored(table, scratch.target, scratch.staged, recalled)
        )
        scratch.create(touched, version_order.TOUCHED_COLUMNS)
        scratch.fill(touched, version_order.keys_to_plan(table, scratch.staged, recalled, touched))
    scratch.create(scratch.plan, version_order.PLAN_COLUMNS, version_order.PLAN_ORDER)
    scratch.fill(
        scratch.plan,
        version_order.plan(table, scratch.staged, recalled, touched, scratch.plan),
        **version_order.spill(),
    )


def _account(scratch: ScratchTables, stored: int) -> Plan:
    """Reconcile: every staged row is new, changed, late, unchanged or a duplicate."""
    planned = scratch.rows(
        "SELECT outcome, count(), countIf(moves), countIf(is_new) "
        f"FROM {scratch.plan} GROUP BY outcome"
    )
    counts = {outcome: count for outcome, count, _, _ in planned}
    key = quote(scratch.table.key)
    touched = f"{key} IN (SELECT entity FROM {scratch.touched})" if stored else "true"
    version = f"{key}, effective_date, record_hash"
    staged, versions, untouched = scratch.rows(
        f"SELECT count(), uniqExactIf({version}, {touched}), "
        f"uniqExactIf({version}, NOT ({touched})) FROM {scratch.staged}"
    )[0]
    accounted = sum(counts.get(outcome, 0) for outcome in version_order.OUTCOMES)
    if accounted != versions:
        scratch.check_intact()
        raise LoadFailed(
            f"Of {versions} distinct versions that were staged {accounted} are accounted for. "
            "Nothing was changed. Check the table's integrity and repair it; if that does not "
            "help, please report this."
        )
    return Plan(
        VersionCounts(
            rows_new=counts.get("new", 0),
            rows_changed=counts.get("changed", 0),
            rows_late=counts.get("late", 0),
            rows_unchanged=counts.get("unchanged", 0) + untouched,
            rows_duplicate=staged - versions - untouched,
        ),
        moved=sum(moves for _, _, moves, _ in planned),
        added=sum(added for _, _, _, added in planned),
        stored=stored,
    )
