"""The email about the end of a download. It has a link, never the file."""

from email.utils import formataddr, parseaddr

from django.conf import settings
from django.core.mail import EmailMessage
from django.urls import reverse

from analytics.downloads.models import Download
from common.texts import one_line, printable


def download_ended(download: Download) -> EmailMessage:
    """To the one who asked for it. Every attempt has the same Message-ID."""
    tenant = download.tenant
    name = f"{download.title} ({download.kind.upper()})"
    page = f"{settings.SITE_URL.rstrip('/')}{reverse('downloads', args=[tenant.id])}"
    sender = parseaddr(settings.DEFAULT_FROM_EMAIL)[1]
    if download.state == Download.State.READY:
        outcome = "is ready"
        text = (
            f"Your download of {name} of {tenant.name} is ready. "
            f"Get it here within {settings.DOWNLOAD_DAYS} days:\n{page}\n"
        )
    else:
        outcome = "failed"
        text = f"Your download of {name} of {tenant.name} failed. {download.note}\n{page}\n"
    return EmailMessage(
        one_line(f"{tenant.name} – {name} {outcome}"),
        printable(text),
        formataddr((one_line(tenant.name), sender)),
        [download.user.email],
        headers={
            "Message-ID": f"<download-{download.pk}@{sender.rpartition('@')[2] or 'avesa'}>",
            "Auto-Submitted": "auto-generated",
        },
    )
