"""Staff pages for loads: start and follow them, see their files, rejects and errors."""

from collections.abc import Iterable
from itertools import product
from typing import Any

from django import forms
from django.contrib import admin, messages
from django.contrib.admin.options import VERTICAL
from django.core.exceptions import PermissionDenied
from django.http import FileResponse, HttpRequest, HttpResponse, HttpResponseRedirect
from django.http.response import HttpResponseBase
from django.shortcuts import get_object_or_404
from django.template.defaultfilters import filesizeformat
from django.template.response import TemplateResponse
from django.urls import URLPattern, path, reverse
from django.utils.text import Truncator
from django.views.decorators.http import require_POST, require_safe
from unfold.admin import ModelAdmin, TabularInline
from unfold.contrib.filters.admin import AutocompleteSelectFilter
from unfold.decorators import action, display
from unfold.widgets import (
    UnfoldAdminCheckboxSelectMultipleWidget,
    UnfoldAdminIntegerFieldWidget,
    UnfoldAdminRadioSelectWidget,
    UnfoldAdminSelectWidget,
)

from analytics.warehouse.catalog import TABLES
from analytics.warehouse.errors import WarehouseError
from analytics.warehouse.exports import ExportRefused
from common.texts import words
from loaders.admin.progress import (
    MAX_ERROR_CHARS,
    STATE_COLORS,
    AutoRefresh,
    bar,
    outcome,
    report_queued,
)
from loaders.jobs import queue
from loaders.models import LoadedFile, LoadJob
from loaders.staging.reject_listing import REJECTS_SHOWN, rejects_file, rejects_of
from tenants.admin import ReadOnly
from tenants.models import Tenant, User


class LoadForm(forms.Form):
    """Which loads to start."""

    tenants = forms.ModelMultipleChoiceField(
        Tenant.objects.filter(is_active=True), widget=UnfoldAdminCheckboxSelectMultipleWidget
    )
    tables = forms.MultipleChoiceField(
        choices=[(name, words(name)) for name in TABLES],
        initial=list(TABLES),
        widget=UnfoldAdminCheckboxSelectMultipleWidget,
    )
    kind = forms.ChoiceField(
        choices=[
            ("incremental", "Incremental: new and changed files; keeps history"),
            ("refresh", "Full refresh: all files, and closes keys that are gone; keeps history"),
            ("bulk", "Bulk: replaces the history with what the files hold now"),
        ],
        widget=UnfoldAdminRadioSelectWidget(radio_style=VERTICAL),
        initial="incremental",
    )
    vanished = forms.ChoiceField(
        label="Keys that are gone from the files",
        help_text="Applies to a full refresh.",
        choices=LoadJob.Vanished,
        widget=UnfoldAdminSelectWidget,
    )
    vanished_limit = forms.IntegerField(
        label="“Few” means less than this percentage of the keys",
        help_text="Applies to a full refresh that closes keys if they are few.",
        min_value=1,
        max_value=100,
        initial=LoadJob.VANISHED_LIMIT,
        widget=UnfoldAdminIntegerFieldWidget,
    )


class FileSize:
    @display(description="Size", ordering="size")
    def shown_size(self, file: LoadedFile) -> str:
        return filesizeformat(file.size)


class LoadedFileInline(FileSize, ReadOnly, TabularInline):
    model = LoadedFile
    fields = ["key", "state", "shown_size", "last_modified", "rows_read", "rows_rejected", "error"]
    readonly_fields = ["shown_size"]
    extra = 0
    tab = True
    hide_title = True
    verbose_name_plural = "Files"
    per_page = 50


@admin.register(LoadedFile)
class LoadedFileAdmin(FileSize, ReadOnly, ModelAdmin):
    list_display = [
        "key",
        "job",
        "shown_state",
        "reason",
        "rows_read",
        "rows_rejected",
        "shown_size",
        "last_modified",
    ]
    list_filter = ["state", ("job__tenant", AutocompleteSelectFilter), "job__table"]
    list_filter_submit = True
    search_fields = ["key"]
    list_select_related = ["job"]

    @display(description="State", ordering="state", label=STATE_COLORS)
    def shown_state(self, file: LoadedFile) -> tuple[str, str]:
        return file.state, file.get_state_display()

    @display(description="Reason")
    def reason(self, file: LoadedFile) -> str:
        return Truncator(file.error).chars(MAX_ERROR_CHARS) or "–"


@admin.register(LoadJob)
class LoadJobAdmin(ReadOnly, AutoRefresh):
    list_display = [
        "id",
        "tenant",
        "table",
        "shown_kind",
        "shown_state",
        "progress",
        "rejected",
        "requested_at",
        "took",
    ]
    list_filter = ["state", "kind", ("tenant", AutocompleteSelectFilter), "table"]
    list_filter_submit = True
    list_select_related = ["tenant"]
    search_fields = ["tenant__name", "tenant__id", "table", "error"]
    date_hierarchy = "requested_at"
    inlines = [LoadedFileInline]
    actions_list = ["start_loads"]
    actions = ["cancel_selected", "repeat_selected"]
    change_list_template = "loaders/admin/job_list.html"
    change_form_template = "loaders/admin/job.html"
    fieldsets = [
        (
            None,
            {
                "fields": [
                    ("tenant", "table"),
                    ("kind", "pipeline"),
                    ("state", "claims"),
                    "shown_needs_person",
                    "error",
                    "shown_notes",
                    ("read", "loaded", "rejected"),
                    "shown_outcome",
                    "ignored_columns",
                ]
            },
        ),
        (
            "Times",
            {
                "fields": [
                    ("requested_at", "requested_by"),
                    "try_at",
                    ("started_at", "finished_at"),
                    ("claimed_at", "took"),
                ]
            },
        ),
    ]
    readonly_fields = [
        "shown_needs_person",
        "read",
        "loaded",
        "rejected",
        "took",
        "ignored_columns",
        "shown_notes",
        "shown_outcome",
    ]

    @display(description="Kind", ordering="kind")
    def shown_kind(self, job: LoadJob) -> str:
        return f"{job.get_kind_display()}{' (test)' if job.dry_run else ''}"

    @display(description="Progress")
    def progress(self, job: LoadJob) -> str:
        return bar(job)

    @display(description="Needs attention")
    def shown_needs_person(self, job: LoadJob) -> str:
        if not job.needs_person:
            return "No"
        return "Yes: scheduled runs skip this table until its files change or you load it again."

    @display(description="Rows read")
    def read(self, job: LoadJob) -> str:
        return f"{job.rows_read:,}"

    @display(description="Outcome")
    def shown_outcome(self, job: LoadJob) -> str:
        return outcome(job)

    @display(description="Notes")
    def shown_notes(self, job: LoadJob) -> str:
        return "\n".join(job.notes) or "–"

    @display(description="Columns not loaded")
    def ignored_columns(self, job: LoadJob) -> str:
        return ", ".join(job.unknown_columns) or "–"

    def get_urls(self) -> list[URLPattern]:
        own = [
            path("start/", self.admin_site.admin_view(self.start_view), name="loaders_start"),
            path(
                "<int:job_id>/rejects/",
                self.admin_site.admin_view(self.rejects_view),
                name="loaders_rejects",
            ),
            path(
                "<int:job_id>/rejects.csv",
                self.admin_site.admin_view(require_safe(self.rejects_file)),
                name="loaders_rejects_file",
            ),
            path(
                "<int:job_id>/again/",
                self.admin_site.admin_view(require_POST(self.again_view)),
                name="loaders_again",
            ),
            path(
                "<int:job_id>/cancel/",
                self.admin_site.admin_view(require_POST(self.cancel_view)),
                name="loaders_cancel",
            ),
        ]
        return [*own, *super().get_urls()]

    def page_context(self, work: LoadJob) -> dict[str, Any]:
        return {"bar": bar(work)}

    # --- Buttons

    @action(description="Load", url_path="start-loads", icon="cloud_download", permissions=["run"])
    def start_loads(self, request: HttpRequest) -> HttpResponse:
        return HttpResponseRedirect(reverse("admin:loaders_start"))

    def has_run_permission(self, request: HttpRequest) -> bool:
        """Starting and canceling loads needs a permission of its own: being staff is not enough."""
        return request.user.has_perm("loaders.run_loadjob")

    def _require(self, allowed: bool) -> None:
        if not allowed:
            raise PermissionDenied

    @admin.action(description="Cancel the selected loads", permissions=["run"])
    def cancel_selected(self, request: HttpRequest, queryset: Any) -> None:
        for job in queryset:
            self._cancel(request, job)

    @admin.action(description="Load the selected tables again", permissions=["run"])
    def repeat_selected(self, request: HttpRequest, queryset: Any) -> None:
        self._start(
            request, [self._again(request, job) for job in queryset.select_related("tenant")]
        )

    def _cancel(self, request: HttpRequest, job: LoadJob) -> None:
        if queue.cancel(job, f"Canceled by {request.user}."):
            self.log_change(request, job, "Canceled.")
            messages.success(request, f"{job} was canceled.")
        else:
            messages.warning(request, f"{job} can no longer be canceled.")

    def _again(self, request: HttpRequest, job: LoadJob) -> dict[str, Any]:
        """The options of a load that repeats `job`."""
        if job.kind == LoadJob.Kind.REPAIR:
            self._require(request.user.has_perm("loaders.repair_history"))
        names = ("tenant", "kind", "vanished", "vanished_limit", "dry_run")
        return {"table": TABLES[job.table]} | {name: getattr(job, name) for name in names}

    def _start(self, request: HttpRequest, wanted: Iterable[dict[str, Any]]) -> list[LoadJob]:
        """Queue loads, and report which were queued and why others were refused."""
        user = request.user if isinstance(request.user, User) else None
        queued, refused = [], []
        for options in wanted:
            try:
                job = queue.request_load(requested_by=user, **options)
            except queue.LoadRefused as error:
                refused.append(str(error))
            else:
                self.log_addition(request, job, "Requested.")
                queued.append(job)
        report_queued(request, queued, refused)
        return queued

    # --- Other pages

    def start_view(self, request: HttpRequest) -> HttpResponse:
        self._require(self.has_run_permission(request))
        form = LoadForm(request.POST or None)
        if request.method == "POST" and form.is_valid():
            options = form.cleaned_data
            tenants, tables = options.pop("tenants"), options.pop("tables")
            pairs = product(tenants, tables)
            self._start(request, ({"tenant": t, "table": TABLES[n]} | options for t, n in pairs))
            return HttpResponseRedirect(reverse("admin:loaders_loadjob_changelist"))
        context = {
            **self.admin_site.each_context(request),
            "title": "Load from the lake",
            "explanation": "Users see the current data until a load finishes, then all of the new "
            "data at once.",
            "button": "Load",
            "form": form,
            "opts": LoadJob._meta,
        }
        return TemplateResponse(request, "loaders/admin/start.html", context)

    def again_view(self, request: HttpRequest, job_id: int) -> HttpResponse:
        self._require(self.has_run_permission(request))
        old = get_object_or_404(LoadJob.objects.select_related("tenant"), pk=job_id)
        shown, *_ = [*self._start(request, [self._again(request, old)]), old]
        return HttpResponseRedirect(reverse("admin:loaders_loadjob_change", args=[shown.pk]))

    def cancel_view(self, request: HttpRequest, job_id: int) -> HttpResponse:
        self._require(self.has_run_permission(request))
        self._cancel(request, get_object_or_404(LoadJob, pk=job_id))
        return HttpResponseRedirect(reverse("admin:loaders_loadjob_change", args=[job_id]))

    def rejects_file(self, request: HttpRequest, job_id: int) -> HttpResponseBase:
        """All rejects as CSV, safe to open in a spreadsheet."""
        self._require(self.has_view_permission(request))
        job = get_object_or_404(LoadJob.objects.select_related("tenant"), pk=job_id)
        try:
            file = rejects_file(job)
        except (ExportRefused, WarehouseError) as error:
            messages.error(request, str(error))
            return HttpResponseRedirect(reverse("admin:loaders_loadjob_change", args=[job_id]))
        name = f"rejects-{job.tenant_id}-{job.table}-{job.pk}.csv"
        return FileResponse(
            file, as_attachment=True, filename=name, content_type="text/csv; charset=utf-8"
        )

    def rejects_view(self, request: HttpRequest, job_id: int) -> HttpResponse:
        self._require(self.has_view_permission(request))
        job = get_object_or_404(LoadJob.objects.select_related("tenant"), pk=job_id)
        rejects, error = [], ""
        try:
            rejects = rejects_of(job)
        except WarehouseError as problem:
            error = str(problem)
        context = {
            **self.admin_site.each_context(request),
            "title": f"Rejected rows of {job}",
            "job": job,
            "rejects": rejects,
            "shown": REJECTS_SHOWN,
            "error": error,
            "opts": LoadJob._meta,
        }
        return TemplateResponse(request, "loaders/admin/rejects.html", context)
