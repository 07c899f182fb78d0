from allauth.account import views as account
from django.urls import path

from tenants.views import home

urlpatterns = [
    path("", home, name="home"),
    path("login/", account.login, name="account_login"),
    path("logout/", account.logout, name="account_logout"),
    path("account/inactive/", account.account_inactive, name="account_inactive"),
]
