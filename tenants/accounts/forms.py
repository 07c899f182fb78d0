"""The forms of account pages, where they differ from django-allauth's."""

from typing import Any

from allauth.account import forms


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
