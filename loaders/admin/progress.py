"""The progress of loads and runs, as staff see it."""

from collections.abc import Sequence
from datetime import timedelta
from typing import Any

from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.template.defaultfilters import filesizeformat
from django.urls import reverse
from django.utils.html import format_html
from django.utils.text import Truncator
from unfold.admin import ModelAdmin
from unfold.decorators import display

from loaders.models import LoadJob, Work

STATE_COLORS = {
    "queued": "info",
    "running": "warning",
    "succeeded": "success",
    "failed": "danger",
    "canceled": "default",
    "loaded": "success",
    "quarantined": "danger",
    "refused": "danger",
}
MAX_ERROR_CHARS = 80  # characters of an error in a list
MAX_LISTED = 5


class AutoRefresh(ModelAdmin):
    """Lists and pages that refresh themselves while work is active (see auto_refresh.html)."""

    @display(description="State", ordering="state", label=STATE_COLORS)
    def shown_state(self, work: Any) -> tuple[str, str]:
        return work.state, work.get_state_display()

    @display(description="Rows loaded", ordering="rows_loaded")
    def loaded(self, work: Any) -> str:
        return f"{work.rows_loaded:,}"

    @display(description="Rejected", ordering="rows_rejected")
    def rejected(self, work: Any) -> str:
        return f"{work.rows_rejected:,}"

    @display(description="Took")
    def took(self, work: Any) -> str:
        return f"{work.duration.total_seconds():,.1f} s" if work.duration else "–"

    def page_context(self, work: Any) -> dict[str, Any]:
        """Template variables for the page of one load or run."""
        raise NotImplementedError

    def changelist_view(
        self, request: HttpRequest, extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        active = self.model._default_manager.filter(state__in=self.model.ACTIVE).exists()
        return super().changelist_view(request, {**(extra_context or {}), "is_live": active})

    def change_view(
        self,
        request: HttpRequest,
        object_id: str,
        form_url: str = "",
        extra_context: dict[str, Any] | None = None,
    ) -> HttpResponse:
        work = self.get_object(request, object_id)
        is_active = work is not None and work.is_active
        context = {
            **(extra_context or {}),
            **(self.page_context(work) if work else {}),
            "is_live": is_active,
            "may_run": self.has_run_permission(request),
        }
        response = super().change_view(request, object_id, form_url, context)
        if "HX-Request" in request.headers and not is_active:
            response["HX-Refresh"] = "true"  # the work has ended: the whole page is stale
        return response


def bar(job: LoadJob) -> str:
    """A progress bar with figures if the load is running; else its step, error or outcome."""
    if job.state != LoadJob.State.RUNNING:
        return job.step or Truncator(job.error).chars(MAX_ERROR_CHARS) or outcome(job)
    figures = [f"{job.percent} %", job.step]
    if job.rows_read:
        figures.append(f"{job.rows_read:,} rows read")
    if job.bytes_found:
        done, found = filesizeformat(job.bytes_done), filesizeformat(job.bytes_found)
        files = "file" if job.files_found == 1 else "files"
        figures.append(f"{done} of {found} in {job.files_found:,} {files}")
    if job.time_left is not None:
        figures.append(f"about {in_words(job.time_left)} left")
    return format_html(
        '<progress class="avesa-progress" max="100" value="{}" aria-label="Progress"></progress>'
        '<span class="text-xs">{}</span>',
        job.percent,
        " · ".join(filter(None, figures)),
    )


def outcome(job: LoadJob) -> str:
    """How many rows and keys the load handled in which way."""
    counts = {
        "new": job.rows_new,
        "changed": job.rows_changed,
        "late": job.rows_late,
        "unchanged": job.rows_unchanged,
        "duplicate": job.rows_duplicate,
        "keys closed": job.keys_closed,
        "keys reopened": job.keys_reopened,
    }
    return ", ".join(f"{count:,} {name}" for name, count in counts.items() if count) or "–"


def report_queued(request: HttpRequest, queued: Sequence[Work], refused: Sequence[str]) -> None:
    """Show the first few queued jobs (with links) and refusals, and how many more there are."""
    for work in queued[:MAX_LISTED]:
        url = reverse(f"admin:loaders_{work._meta.model_name}_change", args=[work.pk])
        messages.success(
            request, format_html('<a class="underline" href="{}">{}</a> is queued.', url, work)
        )
    if more := len(queued[MAX_LISTED:]):
        messages.success(request, f"{more:,} more are queued.")
    for reason in refused[:MAX_LISTED]:
        messages.warning(request, reason)
    if more := len(refused[MAX_LISTED:]):
        messages.warning(request, f"{more:,} more were refused.")


def in_words(span: timedelta) -> str:
    seconds = span.total_seconds()
    if seconds < 90:
        return f"{max(1, round(seconds))} s"
    if seconds < 90 * 60:
        return f"{round(seconds / 60)} min"
    return f"{seconds / 3600:.1f} h"
