"""Celery tasks."""

from datetime import datetime

from celery import shared_task
from django.conf import settings
from django.core.mail import send_mail
from django.template.loader import render_to_string

from common.messages import EXPIRES
from tenants import alerting
from tenants.models import User


@shared_task(expires=EXPIRES)
def tell_alerts() -> int:
    return alerting.send_pending()


@shared_task
def mail_new_login(user_id: int, when: str, address: str, browser: str) -> bool:
    """Notify a person of a login from a new browser. False if there is no address."""
    user = User.objects.filter(pk=user_id, is_active=True).first()
    if user is None or not user.email:
        return False
    context = {
        "user": user,
        "timestamp": datetime.fromisoformat(when),
        "ip": address,
        "user_agent": browser,
        "site_url": settings.SITE_URL,
    }
    text = render_to_string("account/email/new_login_message.txt", context)
    send_mail(f"{settings.EMAIL_SUBJECT_PREFIX}New login", text, None, [user.email])
    return True
