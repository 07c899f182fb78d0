"""The pages of a person's own account that django-allauth does not have."""

from typing import Any

from allauth.account.models import EmailAddress
from allauth.account.views import EmailView
from allauth.mfa.base.views import IndexView
from allauth.usersessions.models import UserSession
from django import forms
from django.contrib.auth.decorators import login_required
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_POST

from tenants.accounts import second_factor
from tenants.accounts.browsers import browser_name
from tenants.models import User


class ProfileForm(forms.ModelForm):  # type: ignore[type-arg] # not generic at run time
    class Meta:
        model = User
        fields = ["first_name", "last_name"]


@login_required
@never_cache
def profile(request: HttpRequest) -> HttpResponse:
    """The name, and where everything else is changed."""
    user = _user(request)
    form = ProfileForm(request.POST or None, instance=user)
    if request.method == "POST" and form.is_valid():
        form.save()
        return redirect("profile")
    context = {"form": form, "has_second_factor": second_factor.has_second_factor(user)}
    return render(request, "account/profile.html", context)


class MailAddress(EmailView):  # type: ignore[misc] # allauth is untyped
    """A change of the mail address, which counts once the new one is confirmed."""

    def dispatch(self, request: HttpRequest, *args: Any, **kwargs: Any) -> Any:
        if isinstance(request.user, User):
            _record_address(request.user)
        return super().dispatch(request, *args, **kwargs)


def _record_address(user: User) -> None:
    """The address that staff entered is in use, so django-allauth must not ask for proof."""
    address = user.email.lower()
    own = EmailAddress.objects.filter(user=user)
    if not address or own.filter(verified=True).exists():
        return
    if not EmailAddress.objects.filter(email=address, verified=True).exists():
        own.filter(email=address).delete()
        EmailAddress.objects.create(user=user, email=address, verified=True, primary=True)


class SecondFactor(IndexView):  # type: ignore[misc] # allauth is untyped
    """The second factors of the person, and whether one is demanded."""

    def get_context_data(self, **kwargs: Any) -> dict[str, Any]:
        user = _user(self.request)
        is_missing = second_factor.is_demanded(user) and not second_factor.has_second_factor(user)
        return {**super().get_context_data(**kwargs), "must_have_second_factor": is_missing}


@login_required
@never_cache
def sessions(request: HttpRequest) -> HttpResponse:
    """Where the person is logged in, the newest first."""
    found = UserSession.objects.purge_and_list(_user(request))
    found.sort(key=lambda session: session.created_at, reverse=True)
    context = {
        "sessions": [(session, browser_name(session.user_agent)) for session in found],
        "current": request.session.session_key,
    }
    return render(request, "account/sessions.html", context)


@login_required
@require_POST
def end_session(request: HttpRequest, number: int) -> HttpResponse:
    """End one of the person's own sessions, now."""
    get_object_or_404(UserSession, pk=number, user=_user(request)).end()
    return redirect("sessions")


@login_required
@require_POST
def end_other_sessions(request: HttpRequest) -> HttpResponse:
    others = UserSession.objects.filter(user=_user(request))
    for session in others.exclude(session_key=request.session.session_key):
        session.end()
    return redirect("sessions")


def _user(request: HttpRequest) -> User:
    assert isinstance(request.user, User)
    return request.user
