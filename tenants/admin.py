"""Admin pages for tenants, users, memberships, tokens and alerts."""

from typing import Any, ClassVar

from allauth.account.admin import EmailAddress
from allauth.mfa.admin import Authenticator
from allauth.usersessions.admin import UserSession
from django import forms
from django.contrib import admin, messages
from django.contrib.admin import EmptyFieldListFilter
from django.contrib.auth.admin import GroupAdmin as DjangoGroupAdmin
from django.contrib.auth.admin import UserAdmin as DjangoUserAdmin
from django.contrib.auth.models import Group
from django.db.models import ForeignKey, ManyToManyField
from django.http import HttpRequest, HttpResponse
from django.template.response import TemplateResponse
from django.utils import timezone
from django.utils.cache import add_never_cache_headers
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
from tenants.privileges import (
    grantable_groups,
    may_manage,
    permissions_of,
    tenants_for_tokens,
)

# GroupAdmin below replaces the first. People manage the others themselves.
admin.site.unregister([Group, EmailAddress, Authenticator, UserSession])


class ReadOnly:
    """Rows that only AVESA writes."""

    def has_add_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False


def _staff(request: HttpRequest) -> User:
    assert isinstance(request.user, User)  # the admin site lets no one else in
    return request.user


@admin.register(Group)
class GroupAdmin(DjangoGroupAdmin, ModelAdmin):
    """Staff change and delete only groups whose permissions they hold, and add no others."""

    def has_change_permission(self, request: HttpRequest, obj: Group | None = None) -> bool:
        return super().has_change_permission(request, obj) and _holds(request, obj)

    def has_delete_permission(self, request: HttpRequest, obj: Group | None = None) -> bool:
        return super().has_delete_permission(request, obj) and _holds(request, obj)

    def formfield_for_manytomany(
        self,
        db_field: "ManyToManyField[Any, Any]",
        request: HttpRequest | None = None,
        **kwargs: Any,
    ) -> Any:
        assert request is not None
        if db_field.name == "permissions":
            kwargs["queryset"] = permissions_of(_staff(request))
        return super().formfield_for_manytomany(db_field, request, **kwargs)


def _holds(request: HttpRequest, group: Group | None) -> bool:
    return group is None or grantable_groups(_staff(request)).filter(pk=group.pk).exists()


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
    actions = ["remove_second_factors"]
    list_display = ["username", "email", "is_active", "is_staff", "last_login"]

    # Rights that staff do not hold cannot be granted, and accounts that have them are closed. The
    # password form asks for the change permission, too.

    def has_view_permission(self, request: HttpRequest, obj: User | None = None) -> bool:
        may_view = super().has_view_permission(request, obj)
        return may_view and (
            request.user.has_perm("tenants.view_user") or self._may_manage(request, obj)
        )

    def has_change_permission(self, request: HttpRequest, obj: User | None = None) -> bool:
        return super().has_change_permission(request, obj) and self._may_manage(request, obj)

    def has_delete_permission(self, request: HttpRequest, obj: User | None = None) -> bool:
        return super().has_delete_permission(request, obj) and self._may_manage(request, obj)

    def _may_manage(self, request: HttpRequest, account: User | None) -> bool:
        return account is None or may_manage(_staff(request), account)

    def save_model(self, request: HttpRequest, obj: User, form: Any, change: bool) -> None:
        """An address that staff replaced can no longer reset the password."""
        super().save_model(request, obj, form, change)
        EmailAddress.objects.filter(user=obj).exclude(email__iexact=obj.email).delete()

    @admin.action(
        description="Remove the second factors of the selected users", permissions=["change"]
    )
    def remove_second_factors(self, request: HttpRequest, queryset: Any) -> None:
        """For people who lost their phone and their recovery codes."""
        count = 0
        for user in queryset:
            if self.has_change_permission(request, user):
                found = Authenticator.objects.filter(user=user)
                if found.delete()[0]:
                    self.log_change(request, user, "Second factors removed.")
                    count += 1
        messages.success(request, f"{count} users can log in with their password alone.")

    def get_readonly_fields(self, request: HttpRequest, obj: User | None = None) -> list[str]:
        return [] if _staff(request).is_superuser else ["is_staff", "is_superuser"]

    def formfield_for_manytomany(
        self, db_field: "ManyToManyField[Any, Any]", request: HttpRequest, **kwargs: Any
    ) -> Any:
        if db_field.name == "groups":
            kwargs["queryset"] = grantable_groups(_staff(request))
        if db_field.name == "user_permissions":
            kwargs["queryset"] = permissions_of(_staff(request))
        return super().formfield_for_manytomany(db_field, request, **kwargs)


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
        ("Access", {"fields": ["demands_second_factor"]}),
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

    def formfield_for_foreignkey(
        self, db_field: "ForeignKey[Any, Any]", request: HttpRequest, **kwargs: Any
    ) -> Any:
        if db_field.name == "tenant":
            kwargs["queryset"] = tenants_for_tokens(_staff(request))
        return super().formfield_for_foreignkey(db_field, request, **kwargs)

    def save_model(self, request: HttpRequest, obj: ApiToken, form: Any, change: bool) -> None:
        if not change:
            obj.secret = obj.set_new_secret()
        super().save_model(request, obj, form, change)

    def response_add(
        self, request: HttpRequest, obj: ApiToken, post_url_continue: str | None = None
    ) -> HttpResponse:
        """The secret, once: in this response, and in no message, which a cookie would keep."""
        context = self.admin_site.each_context(request) | {
            "title": "Copy the token now",
            "token": obj,
            "opts": self.opts,
        }
        response = TemplateResponse(request, "tenants/admin/token_issued.html", context)
        add_never_cache_headers(response)
        return response

    @admin.action(description="Revoke the selected tokens", permissions=["change"])
    def revoke(self, request: HttpRequest, queryset: Any) -> None:
        count = 0
        for token in queryset:
            valid = ApiToken.objects.filter(pk=token.pk, revoked_at__isnull=True)
            if valid.update(revoked_at=timezone.now()):
                self.log_change(request, token, "Revoked.")
                count += 1
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
