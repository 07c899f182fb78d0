"""Staff's pages for loads: start them, watch them, see files, rejects and errors."""

from typing import Any

from django import forms
from django.contrib import admin, messages
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.shortcuts import get_object_or_404
from django.template.response import TemplateResponse
from django.urls import URLPattern, path, reverse
from django.utils.html import format_html
from django.views.decorators.http import require_POST
from unfold.admin import ModelAdmin, TabularInline
from unfold.decorators import action, display
from unfold.widgets import UnfoldAdminCheckboxSelectMultipleWidget

from analytics.warehouse.catalog import TABLES
from analytics.warehouse.errors import WarehouseError
from tenants.models import Tenant, User

from . import jobs
from .models import LoadedFile, LoadJob
from .rejects import REJECTS_SHOWN, rejects_of

STATE_COLORS = {
    "queued": "info",
    "running": "warning",
    "succeeded": "success",
    "failed": "danger",
    "cancelled": "default",
    "loaded": "success",
    "set_aside": "danger",
}


class LoadForm(forms.Form):
    """Which loads to start."""

    tenants = forms.ModelMultipleChoiceField(
        Tenant.objects.filter(is_active=True), widget=UnfoldAdminCheckboxSelectMultipleWidget
    )
    tables = forms.MultipleChoiceField(
        choices=[(name, name.replace("_", " ").capitalize()) for name in TABLES],
        initial=list(TABLES),
        widget=UnfoldAdminCheckboxSelectMultipleWidget,
    )


class _ReadOnly:
    """Rows that only the product writes."""

    def has_add_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False


class LoadedFileInline(_ReadOnly, TabularInline):
    model = LoadedFile
    fields = ["key", "state", "size", "last_modified", "rows_read", "rows_rejected", "error"]
    extra = 0
    tab = True
    hide_title = True
    verbose_name_plural = "Files"
    per_page = 50


@admin.register(LoadedFile)
class LoadedFileAdmin(_ReadOnly, ModelAdmin):
    list_display = ["key", "job", "shown_state", "rows_read", "rows_rejected", "last_modified"]
    list_filter = ["state", "job__tenant", "job__table"]
    search_fields = ["key"]
    list_select_related = ["job"]

    @display(description="State", ordering="state", label=STATE_COLORS)
    def shown_state(self, file: LoadedFile) -> tuple[str, str]:
        return file.state, file.get_state_display()


@admin.register(LoadJob)
class LoadJobAdmin(_ReadOnly, ModelAdmin):
    list_display = [
        "id",
        "tenant",
        "table",
        "kind",
        "shown_state",
        "progress",
        "loaded",
        "rejected",
        "requested_at",
        "took",
    ]
    list_filter = ["state", "tenant", "table"]
    list_select_related = ["tenant"]
    search_fields = ["tenant__name", "tenant__id", "error"]
    date_hierarchy = "requested_at"
    inlines = [LoadedFileInline]
    actions_list = ["start_loads"]
    actions = ["cancel_selected"]
    change_list_template = "loaders/admin/job_list.html"
    change_form_template = "loaders/admin/job.html"
    fieldsets = [
        (
            None,
            {
                "fields": [
                    ("tenant", "table", "kind"),
                    ("state", "step", "attempt"),
                    "error",
                    ("read", "loaded", "rejected"),
                    "ignored_columns",
                ]
            },
        ),
        (
            "Times",
            {
                "fields": [
                    ("requested_by", "requested_at", "not_before"),
                    ("started_at", "finished_at", "took"),
                    "heartbeat_at",
                ]
            },
        ),
    ]
    readonly_fields = ["read", "loaded", "rejected", "took", "ignored_columns"]

    @display(description="State", ordering="state", label=STATE_COLORS)
    def shown_state(self, job: LoadJob) -> tuple[str, str]:
        return job.state, job.get_state_display()

    @display(description="Now")
    def progress(self, job: LoadJob) -> str:
        return job.step or job.error[:80] or "–"

    @display(description="Rows read")
    def read(self, job: LoadJob) -> str:
        return f"{job.rows_read:,}"

    @display(description="Rows loaded", ordering="rows_loaded")
    def loaded(self, job: LoadJob) -> str:
        return f"{job.rows_loaded:,}"

    @display(description="Rows rejected", ordering="rows_rejected")
    def rejected(self, job: LoadJob) -> str:
        return f"{job.rows_rejected:,}"

    @display(description="Took")
    def took(self, job: LoadJob) -> str:
        return f"{job.duration.total_seconds():,.1f} s" if job.duration else "–"

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

    def changelist_view(
        self, request: HttpRequest, extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        active = LoadJob.objects.filter(state__in=LoadJob.ACTIVE).exists()
        return super().changelist_view(request, {**(extra_context or {}), "watching": active})

    def change_view(
        self,
        request: HttpRequest,
        object_id: str,
        form_url: str = "",
        extra_context: dict[str, Any] | None = None,
    ) -> HttpResponse:
        job = self.get_object(request, object_id)
        context = {
            **(extra_context or {}),
            "watching": job is not None and job.is_active,
            "may_run": self.has_run_permission(request),
        }
        return super().change_view(request, object_id, form_url, context)

    # --- Buttons

    @action(description="Load", url_path="start-loads", icon="cloud_download", permissions=["run"])
    def start_loads(self, request: HttpRequest) -> HttpResponse:
        return HttpResponseRedirect(reverse("admin:loaders_start"))

    def has_run_permission(self, request: HttpRequest) -> bool:
        """Starting and cancelling loads is a right of its own, not the same as being staff."""
        return request.user.has_perm("loaders.run_loadjob")

    def _must(self, allowed: bool) -> None:
        if not allowed:
            raise PermissionDenied

    @admin.action(description="Cancel the selected loads", permissions=["run"])
    def cancel_selected(self, request: HttpRequest, queryset: Any) -> None:
        for job in queryset:
            self._cancel(request, job)

    def _cancel(self, request: HttpRequest, job: LoadJob) -> None:
        if jobs.cancel(job):
            messages.success(request, f"{job} was cancelled.")
        else:
            messages.warning(request, f"{job} cannot be cancelled any more.")

    def _request(self, request: HttpRequest, tenant: Tenant, table: str) -> None:
        user = request.user if isinstance(request.user, User) else None
        try:
            job = jobs.request_load(tenant, TABLES[table], requested_by=user)
        except jobs.LoadRefused as error:
            messages.warning(request, str(error))
        else:
            url = reverse("admin:loaders_loadjob_change", args=[job.pk])
            messages.success(request, format_html('<a href="{}">{}</a> is queued.', url, job))

    # --- Pages of their own

    def start_view(self, request: HttpRequest) -> HttpResponse:
        self._must(self.has_run_permission(request))
        form = LoadForm(request.POST or None)
        if request.method == "POST" and form.is_valid():
            for tenant in form.cleaned_data["tenants"]:
                for table in form.cleaned_data["tables"]:
                    self._request(request, tenant, table)
            return HttpResponseRedirect(reverse("admin:loaders_loadjob_changelist"))
        context = {
            **self.admin_site.each_context(request),
            "title": "Load from the lake",
            "form": form,
            "opts": LoadJob._meta,
        }
        return TemplateResponse(request, "loaders/admin/start.html", context)

    def again_view(self, request: HttpRequest, job_id: int) -> HttpResponse:
        self._must(self.has_run_permission(request))
        job = get_object_or_404(LoadJob.objects.select_related("tenant"), pk=job_id)
        self._request(request, job.tenant, job.table)
        return HttpResponseRedirect(reverse("admin:loaders_loadjob_changelist"))

    def cancel_view(self, request: HttpRequest, job_id: int) -> HttpResponse:
        self._must(self.has_run_permission(request))
        self._cancel(request, get_object_or_404(LoadJob, pk=job_id))
        return HttpResponseRedirect(reverse("admin:loaders_loadjob_change", args=[job_id]))

    def rejects_view(self, request: HttpRequest, job_id: int) -> HttpResponse:
        self._must(self.has_view_permission(request))
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
