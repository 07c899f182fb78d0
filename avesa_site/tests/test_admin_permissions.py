"""Being staff opens nothing in the admin: each page and action needs a named permission."""

import re

import pytest
from django.contrib.auth.models import Permission
from django.urls import URLResolver, get_resolver, reverse

from tenants.models import User

pytestmark = pytest.mark.django_db

# Pages of the admin's frame, which show nothing of the platform to staff without permissions.
FRAME = {
    "admin/",
    "admin/login/",
    "admin/logout/",
    "admin/password_change/",
    "admin/password_change/done/",
    "admin/autocomplete/",
    "admin/jsi18n/",
    "admin/search/",
}


@pytest.fixture
def clerk(client):
    """Staff without any permission."""
    user = User.objects.create_user("clerk", is_staff=True)
    client.force_login(user)
    return user


def admin_routes(patterns=None, prefix=""):
    for each in get_resolver().url_patterns if patterns is None else patterns:
        route = prefix + str(each.pattern)
        if isinstance(each, URLResolver):
            yield from admin_routes(each.url_patterns, route)
        elif route.startswith("admin/"):
            yield route


def test_every_admin_page_needs_a_permission(client, clerk):
    opened = []
    routes = [route for route in admin_routes() if route not in FRAME]
    assert len(routes) > 50
    for route in routes:
        path = "/" + re.sub(r"<[^>]+>", "1", route.replace("(?P<url>.*)$", "nothing"))
        for answer in (client.get(path), client.post(path)):
            if answer.status_code not in (403, 404, 405) and not _is_redirect(answer):
                opened.append((path, answer.status_code))
    assert opened == []


def _is_redirect(answer):
    """To the home page, if there is no such row, or to the new address of an object's page (`…/1/`
    to `…/1/change/`), which is tested itself."""
    return answer.status_code in (301, 302) and (
        answer.url == reverse("admin:index") or answer.url.endswith("/change/")
    )


@pytest.mark.parametrize("name", ["doctor", "query_cache"])
def test_pages_about_the_platform_need_the_permission_to_view_loads(client, clerk, name, warehouse):
    assert client.get(reverse(name)).status_code == 403
    assert reverse(name) not in client.get("/admin/").content.decode()
    clerk.user_permissions.add(Permission.objects.get(codename="view_loadjob"))
    assert client.get(reverse(name)).status_code == 200
    assert reverse(name) in client.get("/admin/").content.decode()
