"""Admin pages for tenants, users, memberships, tokens and alerts."""

from typing import Any, ClassVar

from django import forms
from django.contrib import admin, messages
from django.contrib.admin import EmptyFieldListFilter
from django.contrib.auth.admin import GroupAdmin as DjangoGroupAdmin
from django.contrib.auth.admin import UserAdmin as DjangoUserAdmin
from django.contrib.auth.models import Group
from django.http import HttpRequest
from django.utils import timezone
from django.utils.html import format_html
from django.utils.text import Truncator
from unfold.admin import ModelAdmin, TabularInline
from unfold.contrib.filters.admin import AutocompleteSelectFilter
from unfold.decorators import display
from unfold.forms import AdminPasswordChangeForm, UserChangeForm, UserCreationForm
from unfold.widgets import (
    UnfoldAdminColorInputWidget,
    UnfoldAdminImageFieldWidget,
    UnfoldAdminTextareaWidget,
)

from tenants import logos
from tenants.alerting import NO_CHANNEL, channels_set_up
from tenants.models import Alert, ApiToken, Membership, SlaTarget, Tenant, User

admin.site.unregister(Group)


class ReadOnly:
    """Rows that only AVESA writes."""

    def has_add_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False


@admin.register(Group)
class GroupAdmin(DjangoGroupAdmin, ModelAdmin):
    pass


class MembershipInline(TabularInline):
    model = Membership
    extra = 0
    autocomplete_fields = ["user", "tenant"]


class SlaTargetInline(TabularInline):
    model = SlaTarget
    extra = 0


@admin.register(User)
class UserAdmin(DjangoUserAdmin, ModelAdmin):  # type: ignore[type-arg] # not generic at run time
    form = UserChangeForm
    add_form = UserCreationForm
    change_password_form = AdminPasswordChangeForm
    inlines = [MembershipInline]
    list_display = ["username", "email", "is_active", "is_staff", "last_login"]


class TenantForm(forms.ModelForm):  # type: ignore[type-arg] # not generic at run time
    new_logo = forms.FileField(  # an ImageField would open any format, of any size
        label="Logo",
        required=False,
        widget=UnfoldAdminImageFieldWidget(attrs={"accept": "image/*"}),
        help_text="PNG, JPEG, GIF or WebP; shown at the top of this tenant's mails and documents.",
    )

    class Meta:
        widgets: ClassVar = {
            "color": UnfoldAdminColorInputWidget,
            "report_domains": UnfoldAdminTextareaWidget(attrs={"rows": 3}),
        }

    def clean_new_logo(self) -> bytes | bool | None:
        upload = self.cleaned_data["new_logo"]
        return logos.as_png(upload) if upload else upload

    def save(self, commit: bool = True) -> Any:
        new = self.cleaned_data.get("new_logo")
        if new is not None:
            self.instance.logo = new or b""
        return super().save(commit)


@admin.register(Tenant)
class TenantAdmin(ModelAdmin):
    form = TenantForm
    list_display = ["name", "id", "time_zone", "is_active", "created_at"]
    list_filter = ["is_active"]
    search_fields = ["name", "id"]
    inlines = [MembershipInline, SlaTargetInline]
    actions = ["suspend", "resume"]
    fieldsets = [
        (None, {"fields": ["id", "name", "time_zone", "is_active", "created_at"]}),
        ("Loads", {"fields": ["load_minutes", "refresh_at"]}),
        ("Figures", {"fields": ["opens_at", "closes_at", "capacity_hours"]}),
        ("Mails and documents", {"fields": ["color", "new_logo", "report_domains"]}),
    ]

    @admin.action(description="Suspend the selected tenants", permissions=["change"])
    def suspend(self, request: HttpRequest, queryset: Any) -> None:
        count = self._switch(request, queryset, "Suspended.", is_active=False)
        text = (
            f"{count} suspended: no login, no loads, no reports. Running work is canceled within "
        )
        messages.success(request, text + "half a minute. Their data is kept.")

    @admin.action(description="End the suspension of the selected tenants", permissions=["change"])
    def resume(self, request: HttpRequest, queryset: Any) -> None:
        now = timezone.now()
        text = "Suspension ended."
        count = self._switch(request, queryset, text, is_active=True, scheduled_since=now)
        messages.success(request, f"{count} active again.")

    def _switch(
        self, request: HttpRequest, queryset: Any, text: str, *, is_active: bool, **values: Any
    ) -> int:
        """Suspend tenants or end it, with an entry in their history. Returns how many changed."""
        tenants = list(queryset.exclude(is_active=is_active))
        for tenant in tenants:
            Tenant.objects.filter(pk=tenant.pk).update(is_active=is_active, **values)
            self.log_change(request, tenant, text)
        return len(tenants)

    def save_model(self, request: HttpRequest, obj: Tenant, form: Any, change: bool) -> None:
        if {"is_active", "load_minutes"} & set(form.changed_data):
            obj.scheduled_since = timezone.now()
        super().save_model(request, obj, form, change)

    def get_readonly_fields(self, request: HttpRequest, obj: Tenant | None = None) -> list[str]:
        return ["id", "created_at"] if obj else ["created_at"]

    def has_delete_permission(self, request: HttpRequest, obj: Tenant | None = None) -> bool:
        """Tenants are suspended, never deleted: their rows would remain in the warehouse."""
        return False


@admin.register(Membership)
class MembershipAdmin(ModelAdmin):
    list_display = ["user", "tenant", "role", "created_at"]
    list_filter = [("tenant", AutocompleteSelectFilter), "role"]
    list_filter_submit = True
    autocomplete_fields = ["user", "tenant"]
    search_fields = ["user__username", "tenant__name"]


@admin.register(ApiToken)
class ApiTokenAdmin(ModelAdmin):
    list_display = ["name", "tenant", "hint", "created_at", "revoked_at"]
    list_filter = [("tenant", AutocompleteSelectFilter)]
    list_filter_submit = True
    actions = ["revoke"]

    def get_readonly_fields(self, request: HttpRequest, obj: ApiToken | None = None) -> list[str]:
        shown = ["hint", "created_at", "revoked_at"]
        return ["tenant", *shown] if obj else shown

    def save_model(self, request: HttpRequest, obj: ApiToken, form: Any, change: bool) -> None:
        secret = None if change else obj.set_new_secret()
        super().save_model(request, obj, form, change)
        if secret:
            text = "Copy the token now. It is not shown again: <code>{}</code>"
            messages.warning(request, format_html(text, secret))

    @admin.action(description="Revoke the selected tokens", permissions=["change"])
    def revoke(self, request: HttpRequest, queryset: Any) -> None:
        count = queryset.filter(revoked_at__isnull=True).update(revoked_at=timezone.now())
        messages.success(request, f"{count} tokens revoked.")


@admin.register(Alert)
class AlertAdmin(ReadOnly, ModelAdmin):
    list_display = ["raised_at", "kind", "tenant", "subject", "state", "short_text", "over_at"]
    list_filter = [
        ("over_at", EmptyFieldListFilter),
        "kind",
        ("tenant", AutocompleteSelectFilter),
        "subject",
    ]
    list_filter_submit = True
    list_select_related = ["tenant"]
    fields: Any = [("kind", "tenant", "subject"), ("raised_at", "over_at"), "text", "notified"]
    readonly_fields = ["notified"]

    @display(description="Notified")
    def notified(self, alert: Alert) -> str:
        if not channels_set_up():
            return f"Alerts {NO_CHANNEL}"
        if not alert.pending_channels:
            return "On every configured channel"
        return f"Not yet by {', '.join(alert.pending_channels)}; it is tried again."

    @display(description="State", label={"open": "danger", "over": "success"})
    def state(self, alert: Alert) -> tuple[str, str]:
        return ("over", "Over") if alert.over_at else ("open", "Open")

    @display(description="Text")
    def short_text(self, alert: Alert) -> str:
        return Truncator(alert.text).chars(120)
