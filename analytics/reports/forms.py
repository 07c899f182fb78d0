"""Composing a report: what it shows, who gets it, when."""

from collections.abc import Iterable, Sequence
from typing import Any, ClassVar

from django import forms
from django.core.exceptions import ValidationError
from django.core.validators import validate_email
from django.db import transaction
from django.utils import timezone

from analytics.dashboards.boards import DASHBOARDS, TileType
from analytics.dashboards.choices import Choice
from analytics.metrics import FILTERS, METRICS
from analytics.periods import PRESETS
from analytics.reports.content import Ask, asks_of, titled
from analytics.reports.models import Recipient, Report, ReportTile, Schedule
from tenants.models import Tenant, User

MAX_TILES = 24
BLANK_TILES = 4
MAX_ADDRESSES = 50
Offered = dict[str, list[Choice]]


class ScheduleForm(forms.ModelForm):  # type: ignore[type-arg] # not generic at run time
    class Meta:
        model = Schedule
        fields: ClassVar = ["frequency", "weekday", "day", "at"]
        widgets: ClassVar = {"at": forms.TimeInput(attrs={"type": "time"}, format="%H:%M")}


class ReportForm(forms.ModelForm):  # type: ignore[type-arg] # not generic at run time
    """`offered` are the choices of `analytics.choices`."""

    members = forms.ModelMultipleChoiceField(
        User.objects.none(), required=False, widget=forms.CheckboxSelectMultiple
    )
    addresses = forms.CharField(
        label="Other addresses",
        required=False,
        widget=forms.Textarea(attrs={"rows": 3}),
    )

    class Meta:
        model = Report
        fields: ClassVar = [
            "name",
            "dashboard",
            "period",
            "as_pdf",
            "as_csv",
            "as_xlsx",
            "freshness_hours",
            "wait_minutes",
            "when_stale",
        ]

    def __init__(self, *arguments: Any, tenant: Tenant, offered: Offered, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.tenant = tenant
        self.instance.tenant = tenant
        people = User.objects.filter(memberships__tenant=tenant, is_active=True)
        members: Any = self.fields["members"]
        members.queryset = people.exclude(email="").order_by("username")
        members.label_from_instance = _person
        dashboard: Any = self.fields["dashboard"]
        dashboard.choices = [*((s, b.title) for s, b in DASHBOARDS.items()), ("", "Tiles I choose")]
        for name in FILTERS:
            self.fields[name] = forms.ChoiceField(
                required=False, choices=_with_kept(offered.get(name, []), self.instance, name)
            )
            self.initial.setdefault(name, self.instance.filters.get(name, ""))
        if self.instance.pk:
            recipients = self.instance.recipients.select_related("user")
            self.initial.setdefault("members", [each.user for each in recipients if each.user])
            outside = [each.address for each in recipients if not each.user]
            self.initial.setdefault("addresses", "\n".join(outside))

    @property
    def filters(self) -> list[forms.BoundField]:
        return [self[name] for name in FILTERS]

    def clean_addresses(self) -> list[str]:
        found = self.cleaned_data["addresses"].replace(",", " ").replace(";", " ").split()
        if len(found) > MAX_ADDRESSES:
            raise ValidationError(f"A report goes to at most {MAX_ADDRESSES} other addresses.")
        for address in found:
            validate_email(address)
            if not self.tenant.allows_address(address):
                allowed = ", ".join(self.tenant.report_domains.split()) or "none so far"
                raise ValidationError(
                    f"{address} is at no domain that reports may go to ({allowed}). Your "
                    "provider's administrator can add one."
                )
        return list({address.lower(): address for address in found}.values())

    def clean(self) -> dict[str, Any]:
        cleaned: dict[str, Any] = super().clean() or {}
        self.instance.filters = {name: cleaned[name] for name in FILTERS if cleaned.get(name)}
        return cleaned


class TileForm(forms.Form):
    """One row of a report's own tiles."""

    tile = forms.ChoiceField(required=False)
    period = forms.ChoiceField(required=False, choices=[("", "As the report"), *PRESETS.items()])
    by = forms.ChoiceField(
        label="Only",
        required=False,
        choices=[("", "No filter"), *((name, name.capitalize()) for name in FILTERS)],
    )
    value = forms.CharField(required=False, max_length=300)

    def __init__(self, *arguments: Any, offered: Offered, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.offered = offered
        tile: Any = self.fields["tile"]
        tile.choices = tile_choices()

    def clean(self) -> dict[str, Any]:
        cleaned: dict[str, Any] = super().clean() or {}
        by, value = cleaned.get("by", ""), cleaned.get("value", "").strip()
        if bool(by) != bool(value):
            raise ValidationError("A filter needs both, what it looks at and a value.")
        if by:
            cleaned["value"] = self._known(by, value)
        return cleaned

    def _known(self, by: str, value: str) -> str:
        """The value as the records have it; a company is also found by its name."""
        wanted = value.casefold()
        for kept, shown in self.offered.get(by, []):
            if wanted in (str(kept).casefold(), str(shown).casefold()):
                return kept
        raise ValidationError(f"There is no {by} “{value}”.")

    def tile_asked(self) -> ReportTile | None:
        """The tile of this row, not saved; None for an empty row."""
        if not self.cleaned_data.get("tile"):
            return None
        type, _, names = self.cleaned_data["tile"].partition(":")
        by = self.cleaned_data["by"]
        return ReportTile(
            type=type,
            metrics=names.split("+"),
            period=self.cleaned_data["period"],
            filters={by: self.cleaned_data["value"]} if by else {},
        )


def tile_choices() -> list[tuple[str, Any]]:
    """Every figure, course and breakdown that a tile can show, in groups."""
    boards = {tile for board in DASHBOARDS.values() for tile in board.tiles}
    pairs = {tile.names: tile.title for tile in boards if len(tile.names) > 1}
    alone: dict[tuple[str, ...], str] = {(name,): metric.title for name, metric in METRICS.items()}
    parts = {names: title for names, title in alone.items() if METRICS[names[0]].breakdown}
    return [
        ("", "No tile"),
        ("Figures", _choices(TileType.FIGURE, alone)),
        ("Courses", _choices(TileType.CHART, pairs | alone)),
        ("Breakdowns", _choices(TileType.PARTS, parts)),
    ]


def _choices(type: TileType, titles: dict[tuple[str, ...], str]) -> list[tuple[str, str]]:
    return [
        (f"{type}:{'+'.join(names)}", title)
        for names, title in sorted(titles.items(), key=lambda pair: pair[1])
    ]


def tile_rows(report: Report) -> list[dict[str, str]]:
    """The report's own tiles as rows of the form."""
    if not report.pk:
        return []
    return [
        {
            "tile": f"{each.type}:{'+'.join(each.metrics)}",
            "period": each.period,
            "by": next(iter(each.filters), ""),
            "value": next(iter(each.filters.values()), ""),
        }
        for each in report.tiles.all()
    ]


TileFormSet = forms.formset_factory(
    TileForm, extra=BLANK_TILES, max_num=MAX_TILES, absolute_max=MAX_TILES
)


class Composer:
    """The forms of the page together: valid, previewed and saved as one."""

    def __init__(self, report: Report, offered: Offered, data: Any = None) -> None:
        schedule = getattr(report, "schedule", None) if report.pk else None
        self.report = ReportForm(data, instance=report, tenant=report.tenant, offered=offered)
        self.schedule = ScheduleForm(data, instance=schedule)
        self.tiles = TileFormSet(
            data, prefix="tiles", initial=tile_rows(report), form_kwargs={"offered": offered}
        )

    def is_valid(self) -> bool:
        """Whether it can be saved."""
        if not self.can_be_shown() or not self.schedule.is_valid():
            return False
        cleaned = self.report.cleaned_data
        if not cleaned["members"] and not cleaned["addresses"]:
            self.report.add_error(None, "Choose at least one recipient.")
        return self.report.is_valid()

    def can_be_shown(self) -> bool:
        """Whether there is enough for a preview."""
        if not (self.report.is_valid() and self.tiles.is_valid()):
            return False
        if not self.report.cleaned_data["dashboard"] and not self._own_tiles():
            self.report.add_error("dashboard", "Choose at least one tile, or a dashboard.")
            return False
        return True

    def asks(self) -> list[Ask]:
        """What the draft asks for."""
        draft: Report = self.report.instance
        return asks_of(draft) if draft.dashboard else titled(draft, self._own_tiles())

    def _own_tiles(self) -> list[ReportTile]:
        rows: Iterable[TileForm] = self.tiles.forms
        return [tile for row in rows if (tile := row.tile_asked()) is not None]

    @transaction.atomic
    def save(self, owner: User) -> Report:
        """Whoever saves a report owns it from then on: it is sent by their rights."""
        report: Report = self.report.instance
        report.owner = owner
        report.save()
        report.tiles.all().delete()
        for position, tile in enumerate(self._own_tiles() if not report.dashboard else []):
            tile.report, tile.position = report, position
            tile.save()
        self._save_recipients(report)
        self._save_schedule(report)
        return report

    def _save_recipients(self, report: Report) -> None:
        cleaned = self.report.cleaned_data
        members: Sequence[User] = cleaned["members"]
        report.recipients.all().delete()
        Recipient.objects.bulk_create(
            [Recipient(report=report, user=each) for each in members]
            + [Recipient(report=report, address=each) for each in cleaned["addresses"]]
        )

    def _save_schedule(self, report: Report) -> None:
        schedule: Schedule = self.schedule.instance
        if self.schedule.has_changed() or not schedule.pk:
            # What a new time would have meant for the past is nobody's business.
            schedule.planned_until = timezone.now()
        schedule.report = report
        schedule.save()


def _with_kept(offered: list[Choice], report: Report, name: str) -> list[tuple[str, str]]:
    """What is chosen stays on offer, even if no record has it now."""
    kept = report.filters.get(name, "")
    more = [] if not kept or any(value == kept for value, _ in offered) else [(kept, kept)]
    return [("", "All"), *more, *offered]


def _person(user: User) -> str:
    return f"{user.get_full_name() or user.username} ({user.email})"
