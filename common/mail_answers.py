"""What a mail server's answer, or its silence, means for a mail that was handed over."""

import logging
import smtplib

from anymail.exceptions import AnymailError
from django.core.mail.backends.base import BaseEmailBackend

log = logging.getLogger(__name__)

FIRST_PERMANENT_CODE = 500  # RFC 5321, 4.2.1
MAX_CHARACTERS = 1000
_TOO_MANY_REQUESTS = 429


def is_refusal(error: Exception) -> bool:
    """Whether the mail certainly did not go out: an answer is certain, silence is not."""
    if isinstance(error, smtplib.SMTPServerDisconnected):
        return False
    if isinstance(error, AnymailError):
        return getattr(error, "status_code", None) is not None
    return isinstance(error, smtplib.SMTPException) or not isinstance(error, OSError)


def is_permanent(error: Exception) -> bool:
    """Whether another try would get the same answer."""
    if isinstance(error, smtplib.SMTPRecipientsRefused):
        codes = [code for code, _ in error.recipients.values()]
        return min(codes) >= FIRST_PERMANENT_CODE
    if isinstance(error, smtplib.SMTPResponseException):
        return error.smtp_code >= FIRST_PERMANENT_CODE
    if isinstance(error, AnymailError):
        code = getattr(error, "status_code", None) or 0
        return 400 <= code < FIRST_PERMANENT_CODE and code != _TOO_MANY_REQUESTS
    return not isinstance(error, OSError)


def text_of(error: Exception) -> str:
    """What the server answered, in its own words."""
    if isinstance(error, smtplib.SMTPRecipientsRefused):
        answers = error.recipients.values()
        return "; ".join(f"{code} {_text(answer)}" for code, answer in answers)
    if isinstance(error, smtplib.SMTPResponseException):
        return f"{error.smtp_code} {_text(error.smtp_error)}"
    return f"{type(error).__name__}: {error}"[:MAX_CHARACTERS]


def _text(answer: bytes | str) -> str:
    text = answer.decode(errors="replace") if isinstance(answer, bytes) else answer
    return text[:MAX_CHARACTERS]


def close(connection: BaseEmailBackend) -> None:
    try:
        connection.close()
    except (smtplib.SMTPException, OSError) as error:
        log.info("the connection to the mail server was not closed properly: %s", error)
