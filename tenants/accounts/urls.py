"""The pages of accounts. No one signs up: staff create accounts."""

from allauth.account import views
from django.urls import include, path, re_path
from django.views.decorators.http import require_POST

from tenants.accounts.views import (
    MailAddress,
    SecondFactor,
    end_other_sessions,
    end_session,
    profile,
    sessions,
)

urlpatterns = [
    path("login/", views.login, name="account_login"),
    path("logout/", require_POST(views.logout), name="account_logout"),
    path("account/", profile, name="profile"),
    path("account/inactive/", views.account_inactive, name="account_inactive"),
    path("account/confirm/", views.reauthenticate, name="account_reauthenticate"),
    path("account/sessions/", sessions, name="sessions"),
    path("account/sessions/end-others/", end_other_sessions, name="sessions_end_others"),
    path("account/sessions/<int:number>/end/", end_session, name="sessions_end"),
    path("account/password/", views.password_change, name="account_change_password"),
    path("account/password/set/", views.password_set, name="account_set_password"),
    path("account/forgotten/", views.password_reset, name="account_reset_password"),
    path("account/forgotten/sent/", views.password_reset_done, name="account_reset_password_done"),
    path(
        "account/forgotten/done/",
        views.password_reset_from_key_done,
        name="account_reset_password_from_key_done",
    ),
    re_path(
        r"^account/forgotten/(?P<uidb36>[0-9A-Za-z]+)-(?P<key>.+)/$",
        views.password_reset_from_key,
        name="account_reset_password_from_key",
    ),
    path("account/mail/", MailAddress.as_view(), name="account_email"),
    path(
        "account/mail/sent/", views.email_verification_sent, name="account_email_verification_sent"
    ),
    re_path(r"^account/mail/(?P<key>[-:\w]+)/$", views.confirm_email, name="account_confirm_email"),
    path("account/second-factor/", SecondFactor.as_view(), name="mfa_index"),
    path("account/second-factor/", include("allauth.mfa.urls")),
]
