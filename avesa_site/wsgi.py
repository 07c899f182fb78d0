"""Entry point of the web process. WSGI servers run no system checks, so this module does."""

import os

from django.core.management import call_command
from django.core.wsgi import get_wsgi_application

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "avesa_site.settings")

application = get_wsgi_application()
call_command("check")
