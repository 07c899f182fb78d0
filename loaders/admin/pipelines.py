"""Staff pages for pipeline runs: start and follow them, see their steps and loads."""

from datetime import datetime
from typing import Any

from django import forms
from django.contrib import admin, messages
from django.contrib.admin.options import VERTICAL
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.shortcuts import get_object_or_404
from django.template.response import TemplateResponse
from django.urls import URLPattern, path, reverse
from django.utils.text import Truncator
from django.views.decorators.http import require_POST
from unfold.contrib.filters.admin import AutocompleteSelectFilter
from unfold.decorators import action, display
from unfold.widgets import (
    UnfoldAdminCheckboxSelectMultipleWidget,
    UnfoldAdminRadioSelectWidget,
    UnfoldBooleanSwitchWidget,
)

from loaders.admin.progress import MAX_ERROR_CHARS, AutoRefresh, bar, report_queued
from loaders.models import PipelineRun
from loaders.pipelines import runs
from tenants.admin import ReadOnly
from tenants.models import Tenant, User


class RunForm(forms.Form):
    """Which pipelines to run."""

    tenants = forms.ModelMultipleChoiceField(
        Tenant.objects.filter(is_active=True), widget=UnfoldAdminCheckboxSelectMultipleWidget
    )
    kind = forms.ChoiceField(
        choices=[
            ("incremental", "Incremental: new and changed files"),
            ("refresh", "Full refresh: all files, and closes keys that are gone, if they are few"),
        ],
        widget=UnfoldAdminRadioSelectWidget(radio_style=VERTICAL),
        initial="incremental",
    )
    dry_run = forms.BooleanField(
        label="Test mode",
        help_text="Runs every step but writes nothing. Use it to see whether a new tenant's files "
        "can be loaded.",
        required=False,
        widget=UnfoldBooleanSwitchWidget,
    )


@admin.register(PipelineRun)
class PipelineRunAdmin(ReadOnly, AutoRefresh):
    list_display = [
        "id",
        "tenant",
        "shown_kind",
        "trigger",
        "shown_state",
        "progress",
        "rejected",
        "requested_at",
        "took",
    ]
    list_filter = ["state", "kind", "trigger", "dry_run", ("tenant", AutocompleteSelectFilter)]
    list_filter_submit = True
    list_select_related = ["tenant"]
    search_fields = ["tenant__name", "tenant__id", "error"]
    date_hierarchy = "requested_at"
    actions_list = ["start_runs"]
    actions = ["cancel_selected"]
    change_list_template = "loaders/admin/job_list.html"
    change_form_template = "loaders/admin/run.html"
    fieldsets = [
        (
            None,
            {
                "fields": [
                    ("tenant", "kind"),
                    ("state", "took"),
                    ("trigger", "mode"),
                    "error",
                    ("loaded", "rejected", "faults"),
                    ("requested_at", "requested_by"),
                    ("planned_for", "try_at"),
                ]
            },
        )
    ]
    readonly_fields = ["mode", "loaded", "rejected", "took"]

    @display(description="Mode")
    def mode(self, run: PipelineRun) -> str:
        return "Test: runs every step, writes nothing" if run.dry_run else "Normal"

    @display(description="Kind", ordering="kind")
    def shown_kind(self, run: PipelineRun) -> str:
        return f"{run.get_kind_display()}{' (test)' if run.dry_run else ''}"

    @display(description="Progress")
    def progress(self, run: PipelineRun) -> str:
        if run.is_active:
            return run.get_step_display()
        loads = run.steps.get(PipelineRun.Step.LOAD, {}).get("message", "–")
        return Truncator(run.error).chars(MAX_ERROR_CHARS) or loads

    def get_urls(self) -> list[URLPattern]:
        own = [
            path("start/", self.admin_site.admin_view(self.start_view), name="loaders_run"),
            path(
                "<int:run_id>/cancel/",
                self.admin_site.admin_view(require_POST(self.cancel_view)),
                name="loaders_cancel_run",
            ),
        ]
        return [*own, *super().get_urls()]

    def page_context(self, work: PipelineRun) -> dict[str, Any]:
        loads = work.jobs.order_by("table")
        return {"steps": _steps(work), "loads": [(job, bar(job)) for job in loads]}

    # --- Buttons

    @action(
        description="Run pipelines", url_path="start-runs", icon="play_arrow", permissions=["run"]
    )
    def start_runs(self, request: HttpRequest) -> HttpResponse:
        return HttpResponseRedirect(reverse("admin:loaders_run"))

    def has_run_permission(self, request: HttpRequest) -> bool:
        return request.user.has_perm("loaders.run_pipelinerun")

    def _require_permission(self, request: HttpRequest) -> None:
        if not self.has_run_permission(request):
            raise PermissionDenied

    @admin.action(description="Cancel the selected runs", permissions=["run"])
    def cancel_selected(self, request: HttpRequest, queryset: Any) -> None:
        for run in queryset.select_related("tenant"):
            self._cancel(request, run)

    def _cancel(self, request: HttpRequest, run: PipelineRun) -> None:
        if runs.cancel(run, f"Canceled by {request.user}."):
            self.log_change(request, run, "Canceled.")
            messages.success(request, f"{run} was canceled.")
        else:
            messages.warning(request, f"{run} has already ended.")

    # --- Other pages

    def start_view(self, request: HttpRequest) -> HttpResponse:
        self._require_permission(request)
        form = RunForm(request.POST or None)
        if request.method == "POST" and form.is_valid():
            self._start(request, form.cleaned_data)
            return HttpResponseRedirect(reverse("admin:loaders_pipelinerun_changelist"))
        context = {
            **self.admin_site.each_context(request),
            "title": "Run pipelines",
            "explanation": "A run checks the schema, loads new and changed files, checks the "
            "result and releases the reports that wait for new data.",
            "button": "Run",
            "form": form,
            "opts": PipelineRun._meta,
        }
        return TemplateResponse(request, "loaders/admin/start.html", context)

    def _start(self, request: HttpRequest, chosen: dict[str, Any]) -> None:
        queued, refused = [], []
        for tenant in chosen["tenants"]:
            try:
                run = runs.request_run(
                    tenant,
                    PipelineRun.Trigger.PERSON,
                    PipelineRun.Kind(chosen["kind"]),
                    dry_run=chosen["dry_run"],
                    requested_by=request.user if isinstance(request.user, User) else None,
                )
            except runs.RunRefused as error:
                refused.append(str(error))
            else:
                self.log_addition(request, run, "Requested.")
                queued.append(run)
        report_queued(request, queued, refused)

    def cancel_view(self, request: HttpRequest, run_id: int) -> HttpResponse:
        self._require_permission(request)
        self._cancel(request, get_object_or_404(PipelineRun.objects, pk=run_id))
        return HttpResponseRedirect(reverse("admin:loaders_pipelinerun_change", args=[run_id]))


def _steps(run: PipelineRun) -> list[dict[str, Any]]:
    """Each step: when it started, how long it took, and its message."""
    shown = []
    for step in PipelineRun.Step:
        note = run.steps.get(step, {})
        began, ended = _instant(note.get("began")), _instant(note.get("ended"))
        took = f"{(ended - began).total_seconds():,.1f} s" if began and ended else ""
        is_now = run.is_active and run.step == step
        state = "Waiting for a worker" if run.state == PipelineRun.State.QUEUED else "In progress"
        message = note.get("message", "") or (state if is_now else "")
        shown.append({"label": step.label, "began": began, "took": took, "message": message})
    return shown


def _instant(text: str | None) -> datetime | None:
    return datetime.fromisoformat(text) if text else None
