"""Admin pages for staff: reports, occurrences and deliveries, read-only."""

from typing import Any

from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest
from unfold.admin import ModelAdmin, TabularInline
from unfold.contrib.filters.admin import AutocompleteSelectFilter
from unfold.decorators import display

from analytics.reports.models import Delivery, Occurrence, Report, Unsubscription
from tenants.admin import ReadOnly

STATE_COLORS = {
    "waiting": "warning",
    "composing": "info",
    "sending": "info",
    "done": "success",
    "failed": "danger",
    "held": "warning",
    "skipped": "default",
    "queued": "info",
    "sent": "success",
    "bounced": "danger",
    "unsubscribed": "default",
    "withheld": "default",
    "unknown": "warning",
}


class StateColumn:
    @display(description="State", label=STATE_COLORS, ordering="state")
    def shown_state(self, row: Any) -> tuple[str, str]:
        return row.state, row.get_state_display()


@admin.register(Report)
class ReportAdmin(ReadOnly, ModelAdmin):
    list_display = ["name", "tenant", "owner", "schedule", "is_paused", "removed_at"]
    list_filter = [("tenant", AutocompleteSelectFilter), "removed_at"]
    list_filter_submit = True
    list_select_related = ["tenant", "owner", "schedule__report__tenant"]
    search_fields = ["name"]

    @display(description="Paused", boolean=True)
    def is_paused(self, report: Report) -> bool:
        return report.schedule.paused_at is not None


class DeliveryInline(StateColumn, ReadOnly, TabularInline):
    model = Delivery
    fields: Any = ["address", "shown_state", "reason", "claims", "sent_at"]
    readonly_fields: Any = fields


@admin.register(Occurrence)
class OccurrenceAdmin(StateColumn, ReadOnly, ModelAdmin):
    list_display = ["due_at", "report", "tenant", "kind", "shown_state", "note", "as_of"]
    list_filter = ["state", "kind", ("report__tenant", AutocompleteSelectFilter)]
    list_filter_submit = True
    list_select_related = ["report__tenant"]
    fields: Any = [
        ("report", "kind", "shown_state"),
        ("due_at", "as_of"),
        "note",
        ("claims", "attempts"),
        ("try_at", "claimed_at"),
        "digest",
    ]
    readonly_fields: Any = ["shown_state"]
    inlines = [DeliveryInline]

    def get_queryset(self, request: HttpRequest) -> QuerySet[Occurrence]:
        """Without the figures, which are large, and private to the tenant."""
        return super().get_queryset(request).defer("content").order_by("-due_at", "-pk")

    @display(description="Tenant")
    def tenant(self, occurrence: Occurrence) -> str:
        return occurrence.report.tenant.name


@admin.register(Delivery)
class DeliveryAdmin(StateColumn, ReadOnly, ModelAdmin):
    list_display = ["address", "occurrence", "tenant", "shown_state", "reason", "sent_at"]
    list_filter = ["state", ("occurrence__report__tenant", AutocompleteSelectFilter)]
    list_filter_submit = True
    list_select_related = ["occurrence__report__tenant"]
    search_fields = ["address"]

    def get_queryset(self, request: HttpRequest) -> QuerySet[Delivery]:
        return super().get_queryset(request).defer("occurrence__content").order_by("-pk")

    @display(description="Tenant")
    def tenant(self, delivery: Delivery) -> str:
        return delivery.occurrence.report.tenant.name


@admin.register(Unsubscription)
class UnsubscriptionAdmin(ReadOnly, ModelAdmin):
    list_display = ["address", "tenant", "report", "created_at"]
    list_filter = [("tenant", AutocompleteSelectFilter)]
    list_filter_submit = True
    list_select_related = ["tenant", "report"]
    search_fields = ["address"]
