"""The emails: one function for each, which returns it ready to send."""

from collections.abc import Iterator
from dataclasses import dataclass
from email.message import Message
from email.mime.image import MIMEImage
from email.mime.multipart import MIMEMultipart
from email.utils import formataddr, parseaddr
from io import BytesIO
from typing import Any

from django.conf import settings
from django.core.mail import EmailMessage, EmailMultiAlternatives
from django.template.loader import render_to_string
from PIL import Image

from analytics.charts import render as drawing
from analytics.reports import documents, links, sheets
from analytics.reports.content import Content, TileContent
from analytics.reports.models import FAILURES_THAT_PAUSE, Delivery, Report, Schedule
from common.renderers import render
from common.texts import one_line, printable
from tenants.models import Tenant

MAX_BYTES = 1_000_000
MAX_BREAKDOWN_ROWS = 10
CHART_WIDTH = 420  # scaled up on desktops and down on phones, legible on both
LOGO_HEIGHT = 48
FIGURES_PER_ROW = 2
XLSX = "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet"
_BASE64 = 4 / 3 * 78 / 76  # with its line ends


@dataclass(frozen=True)
class Attachment:
    name: str
    content: bytes
    content_type: str


@dataclass(frozen=True)
class ComposedMail:
    """The parts of a report's email that are the same for all recipients."""

    content: Content
    tenant: Tenant
    pictures: dict[int, bytes]  # PNG, by the number of the tile
    attachments: tuple[Attachment, ...]
    omitted: tuple[str, ...]  # a sentence for each attachment that is too large


@dataclass(frozen=True)
class Links:
    report: str
    unsubscribe: str
    preferences: str

    @classmethod
    def of(cls, delivery: Delivery) -> "Links":
        return cls(
            links.report_url(delivery),
            links.unsubscribe_url(delivery),
            links.preferences_url(delivery),
        )


def composed_mail(report: Report, content: Content) -> ComposedMail:
    """Charts and attachments. Attachments that are too large are omitted, with a note."""
    pictures = {
        number: drawing.png(tile.spec, width=CHART_WIDTH)
        for number, tile in enumerate(content.tiles)
        if tile.spec
    }
    room = (
        MAX_BYTES - sum(map(_sent_size, pictures.values())) - _sent_size(bytes(report.tenant.logo))
    )
    attached, omitted = [], []
    room -= 100_000  # for the text
    for each in _attachments(report, content):
        room -= _sent_size(each.content)
        if room < 0:
            room += _sent_size(each.content)
            omitted.append(f"{each.name} is too large to attach. Download it from the full report.")
        else:
            attached.append(each)
    return ComposedMail(content, report.tenant, pictures, tuple(attached), tuple(omitted))


def _sent_size(content: bytes) -> int:
    return int(len(content) * _BASE64)


def _attachments(report: Report, content: Content) -> Iterator[Attachment]:
    name = file_name(content)
    if report.as_pdf:
        yield Attachment(f"{name}.pdf", documents.pdf(content, report.tenant), "application/pdf")
    if report.as_csv:
        yield Attachment(f"{name}.csv", sheets.csv(content), "text/csv")
    if report.as_xlsx:
        yield Attachment(f"{name}.xlsx", sheets.xlsx(content), XLSX)


def file_name(content: Content) -> str:
    """Only letters, digits and hyphens, which are safe in all file systems and email clients."""
    words = f"{content.tenant} {content.report} {content.as_of[:10]}"
    plain = "".join(each if each.isascii() and each.isalnum() else " " for each in words)
    return "-".join(plain.split())[:100].lower()


def subject_of(content: Content) -> str:
    """Tenant, report and period, always on one line."""
    return one_line(f"{content.tenant} – {content.report} – {content.period}")


def report_mail(composed: ComposedMail, delivery: Delivery) -> EmailMultiAlternatives:
    """The email of a report to one recipient, with links signed for this delivery.

    Every attempt has the same Message-ID, so that email clients recognize duplicates. Unsubscribing
    takes one click (RFC 8058).
    """
    content = composed.content
    to_follow = Links.of(delivery)
    text, html = rendered(composed, to_follow)
    mail = _InlineMail(
        subject_of(content),
        text,
        _sender(content.tenant),
        [delivery.address],
        headers={
            "Message-ID": delivery.message_id,
            "List-Unsubscribe": f"<{to_follow.unsubscribe}>",
            "List-Unsubscribe-Post": "List-Unsubscribe=One-Click",
            "Auto-Submitted": "auto-generated",
        },
    )
    mail.attach_alternative(html, "text/html")
    for cid, picture in inline_pictures(composed).items():
        mail.attach(_inline(cid, picture))
    for each in composed.attachments:
        mail.attach(each.name, each.content, each.content_type)
    # The provider's webhook returns this; other backends ignore it.
    mail.metadata = {"delivery": str(delivery.pk)}  # type: ignore[attr-defined]
    return mail


def schedule_paused_mail(schedule: Schedule, address: str) -> EmailMessage:
    """To the owner of a report whose schedule was paused."""
    report = schedule.report
    page = links.absolute("report", report.tenant_id, report.pk)
    text = printable(
        f"Your report “{report.name}” ({report.tenant.name}) is paused: "
        f"{schedule.pause_reason}\n\n"
        f"It will not be sent until you resume it. See what went wrong, fix it and resume the "
        f"report here:\n{page}\n"
    )
    subject = one_line(f"{report.tenant.name} – {report.name} is paused")
    return EmailMessage(subject, text, _sender(report.tenant.name), [address])


def pause_reason() -> str:
    return f"it failed {FAILURES_THAT_PAUSE} times in a row."


def _sender(name: str) -> str:
    return formataddr((one_line(name), parseaddr(settings.DEFAULT_FROM_EMAIL)[1]))


# --- Rendering


def rendered(composed: ComposedMail, to_follow: Links) -> tuple[str, str]:
    """The email as plain text and as HTML, whose images are cid: URLs."""
    content, tenant = composed.content, composed.tenant
    context = {
        "content": content,
        "tenant": tenant,
        "subject": subject_of(content),
        "preview": _preview(content),
        "rows": list(_rows(composed)),
        "links": to_follow,
        "omitted": composed.omitted,
        "as_of": documents.as_of_text(content),
        "freshness": documents.freshness_text(content),
        "logo": _LOGO if tenant.logo else "",
        "logo_width": _logo_width(tenant),
        "on_color": _readable_on(tenant.color),
    }
    text = printable(render_to_string("reports/report.txt", context))
    [html] = render("mail", mjml=printable(render_to_string("reports/report.mjml", context)))
    return text, html.decode()


def inline_pictures(composed: ComposedMail) -> dict[str, bytes]:
    """{content id: PNG}."""
    logo = {_LOGO: bytes(composed.tenant.logo)} if composed.tenant.logo else {}
    return logo | {_cid(number): picture for number, picture in composed.pictures.items()}


_LOGO = "logo@avesa"


def _cid(number: int) -> str:
    return f"chart-{number}@avesa"


def _preview(content: Content) -> str:
    """The preview text that email clients show after the subject."""
    figures = [f"{each.title} {each.figure}" for each in content.tiles if each.type == "figure"]
    return ", ".join(figures[:3])


def _rows(composed: ComposedMail) -> Iterator[dict[str, Any]]:
    """Figures in rows of two; every other tile has its own row."""
    content = composed.content
    side_by_side: list[tuple[TileContent, str]] = []
    for number, tile in enumerate(content.tiles):
        aside = documents.aside(tile, content)
        if tile.type == "figure":
            side_by_side.append((tile, aside))
        if side_by_side and (len(side_by_side) == FIGURES_PER_ROW or tile.type != "figure"):
            yield {"type": "figure", "tiles": side_by_side}
            side_by_side = []
        if tile.type != "figure":
            is_parts = tile.type == "parts"
            yield {
                "type": tile.type,
                "tile": tile,
                "aside": aside,
                "picture": _cid(number) if number in composed.pictures else "",
                "parts": tile.rows[:MAX_BREAKDOWN_ROWS] if is_parts else [],
                "columns": tile.heading[1:],
                "more": max(0, len(tile.rows) - MAX_BREAKDOWN_ROWS) if is_parts else 0,
            }
    if side_by_side:
        yield {"type": "figure", "tiles": side_by_side}


def _logo_width(tenant: Tenant) -> int:
    if not tenant.logo:
        return 0
    with Image.open(BytesIO(bytes(tenant.logo))) as picture:
        return min(240, round(picture.width * LOGO_HEIGHT / picture.height))


def _readable_on(color: str) -> str:
    """Black or white, whichever has more contrast (relative luminance of WCAG 2.2)."""
    channels = [int(color[start : start + 2], 16) / 255 for start in (1, 3, 5)]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
    luminance = 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]
    return "#000000" if luminance > 0.179 else "#ffffff"


# --- Structure


class _InlineMail(EmailMultiAlternatives):
    """An email with its images next to its HTML (multipart/related), not among the attachments.

    Django puts all attachments into one multipart/mixed, so email clients would list the images as
    files. Backends of django-anymail read `attachments` and do not call `message`.
    """

    def message(self, *arguments: Any, **options: Any) -> Any:
        mail = super().message(*arguments, **options)
        parts: list[Message] = mail.get_payload()  # type: ignore[assignment] # it is multipart
        pictures = [part for part in parts if part.get("Content-ID")]
        if not pictures:
            return mail
        alternative = next(p for p in parts if p.get_content_type() == "multipart/alternative")
        versions: list[Message] = alternative.get_payload()  # type: ignore[assignment]
        related = MIMEMultipart("related", type="text/html")
        for part in (versions[-1], *pictures):
            related.attach(part)
        alternative.set_payload([*versions[:-1], related])
        mail.set_payload([part for part in parts if part not in pictures])
        return mail


def _inline(cid: str, picture: bytes) -> MIMEImage:
    image = MIMEImage(picture, "png")
    image.add_header("Content-ID", f"<{cid}>")
    image.add_header("Content-Disposition", "inline", filename=f"{cid.partition('@')[0]}.png")
    return image
