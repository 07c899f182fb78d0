"""The forms of account pages, where they differ from django-allauth's."""

from typing import Any, ClassVar

from allauth.account import forms
from allauth.account.adapter import get_adapter
from django.http import HttpRequest


class LoginForm(forms.LoginForm):  # type: ignore[misc] # allauth is untyped
    """A user name or a mail address, and the password. The backend decides which it is."""

    def add_prefix(self, field_name: str) -> str:
        """The field is called `username`, as password managers expect."""
        return "username" if field_name == "login" else str(super().add_prefix(field_name))

    def user_credentials(self) -> dict[str, Any]:
        return {
            "username": self.cleaned_data["login"],
            "password": self.cleaned_data["password"],
        }


class InOurWords:
    """Labels of fields as on the other pages."""

    labels: ClassVar = {
        "email": "Mail address",
        "oldpassword": "Current password",
        "password1": "New password",
        "password2": "New password, again",
    }

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        for name, field in self.fields.items():  # type: ignore[attr-defined] # of forms
            field.label = self.labels[name]


class ResetPasswordKeyForm(InOurWords, forms.ResetPasswordKeyForm):  # type: ignore[misc]
    pass


class ChangePasswordForm(InOurWords, forms.ChangePasswordForm):  # type: ignore[misc]
    pass


class SetPasswordForm(InOurWords, forms.SetPasswordForm):  # type: ignore[misc]
    pass


class ResetPasswordForm(InOurWords, forms.ResetPasswordForm):  # type: ignore[misc] # allauth is untyped
    """Mails known and unknown addresses, so that the answer takes the same time."""

    def save(self, request: HttpRequest, **kwargs: Any) -> str:
        if self.users:
            return str(super().save(request, **kwargs))
        address = str(self.cleaned_data["email"])
        get_adapter().send_mail("account/email/unknown_account", address, {})
        return address
