"""The web process's entry. Servers run no system checks by themselves, so this does."""

import os

from django.core.management import call_command
from django.core.wsgi import get_wsgi_application

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "avesa_site.settings")

application = get_wsgi_application()
call_command("check")
