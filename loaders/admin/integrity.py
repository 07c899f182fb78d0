"""Staff pages for integrity checks: what they found, and repairs."""

from django.contrib import admin, messages
from django.db.models import QuerySet
from django.http import HttpRequest
from django.urls import reverse
from django.utils.html import format_html, format_html_join
from kombu.exceptions import OperationalError
from unfold.admin import ModelAdmin
from unfold.contrib.filters.admin import AutocompleteSelectFilter
from unfold.decorators import display

from analytics.warehouse.catalog import TABLES
from loaders import tasks
from loaders.history.integrity import Fault
from loaders.jobs import queue
from loaders.models import IntegrityCheck, LoadJob
from tenants.admin import ReadOnly
from tenants.models import User

_COLORS = {"sound": "success", "faulty": "danger"}


@admin.register(IntegrityCheck)
class IntegrityCheckAdmin(ReadOnly, ModelAdmin):
    list_display = [
        "tenant",
        "table",
        "state",
        "faults_found",
        "shown_versions",
        "shown_keys",
        "checked_at",
    ]
    list_display_links = ["tenant", "table"]
    list_filter = [("tenant", AutocompleteSelectFilter), "table"]
    list_filter_submit = True
    list_select_related = ["tenant"]
    actions = ["check_selected", "preview_repair", "repair"]
    fieldsets = [(None, {"fields": [("tenant", "table"), "checked_at", "report"]})]
    readonly_fields = ["report"]

    @display(description="State", label=_COLORS)
    def state(self, found: IntegrityCheck) -> tuple[str, str]:
        return ("sound", "Sound") if found.is_sound else ("faulty", "Faulty")

    @display(description="Versions", ordering="versions")
    def shown_versions(self, found: IntegrityCheck) -> str:
        return f"{found.versions:,}"

    @display(description="Keys", ordering="keys")
    def shown_keys(self, found: IntegrityCheck) -> str:
        return f"{found.keys:,}"

    @display(description="Faults")
    def faults_found(self, found: IntegrityCheck) -> str:
        if found.error:
            return "not checked"
        return ", ".join(f"{fault['count']:,} {fault['check']}" for fault in found.faults) or "–"

    @display(description="Findings")
    def report(self, found: IntegrityCheck) -> str:
        if found.error:
            return found.error
        lines = [str(Fault(**fault)) for fault in found.faults]
        if not lines:
            lines = [f"{found.versions:,} versions of {found.keys:,} keys, no faults."]
        lines += found.notes
        items = format_html_join("", "<li>{}</li>", ((line,) for line in lines))
        return format_html("<ul>{}</ul>", items)

    # --- Buttons

    def has_repair_permission(self, request: HttpRequest) -> bool:
        """Rewriting history needs a permission of its own."""
        return request.user.has_perm("loaders.repair_history")

    def has_check_permission(self, request: HttpRequest) -> bool:
        """A check takes as much of the warehouse as a load, so it needs the same permission."""
        return request.user.has_perm("loaders.run_loadjob")

    @admin.action(description="Check the selected tables now", permissions=["check"])
    def check_selected(self, request: HttpRequest, queryset: QuerySet[IntegrityCheck]) -> None:
        checks = list(queryset)
        try:
            for each in checks:
                tasks.check_table.delay(each.tenant_id, each.table)
                self.log_change(request, each, "Check requested.")
        except (OperationalError, OSError) as error:
            messages.error(request, f"Not queued: the message broker cannot be reached ({error}).")
            return
        tables = "table" if len(checks) == 1 else "tables"
        messages.success(
            request, f"Checking {len(checks):,} {tables}. Reload this page to see the results."
        )

    @admin.action(description="Preview a repair of the selected tables", permissions=["repair"])
    def preview_repair(self, request: HttpRequest, queryset: QuerySet[IntegrityCheck]) -> None:
        self._queue_repairs(request, queryset, dry_run=True)

    @admin.action(description="Repair the selected tables", permissions=["repair"])
    def repair(self, request: HttpRequest, queryset: QuerySet[IntegrityCheck]) -> None:
        self._queue_repairs(request, queryset, dry_run=False)

    def _queue_repairs(
        self, request: HttpRequest, queryset: QuerySet[IntegrityCheck], *, dry_run: bool
    ) -> None:
        user = request.user if isinstance(request.user, User) else None
        for each in queryset.select_related("tenant"):
            try:
                job = queue.request_load(
                    each.tenant,
                    TABLES[each.table],
                    LoadJob.Kind.REPAIR,
                    requested_by=user,
                    dry_run=dry_run,
                )
            except queue.LoadRefused as error:
                messages.warning(request, str(error))
            else:
                self.log_addition(request, job, "Requested.")
                url = reverse("admin:loaders_loadjob_change", args=[job.pk])
                messages.success(request, format_html('<a href="{}">{}</a> is queued.', url, job))
