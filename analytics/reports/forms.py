"""Forms to compose a report: its content, recipients and schedule."""

from collections.abc import Iterable, Sequence
from typing import Any, ClassVar

from django import forms
from django.core.exceptions import ValidationError
from django.core.validators import validate_email
from django.db import transaction
from django.utils import timezone

from analytics.dashboards.boards import DASHBOARDS, TileType
from analytics.dashboards.choices import FILTERS, Choice
from analytics.metrics import DIMENSIONS, METRICS
from analytics.periods import PRESETS
from analytics.reports.content import ScopedTile, scoped_tiles, selected_tiles
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
    """`offered` are the filter choices, from `analytics.dashboards.choices`."""

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
                required=False, choices=_with_selected(offered.get(name, []), self.instance, name)
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
            raise ValidationError(f"Enter at most {MAX_ADDRESSES} other addresses.")
        for address in found:
            validate_email(address)
            if not self.tenant.allows_address(address):
                allowed = ", ".join(self.tenant.report_domains.split()) or "none"
                raise ValidationError(
                    f"Reports may not be sent to {address}. Allowed domains: {allowed}. Your "
                    "provider's administrator can add more."
                )
        return list({address.lower(): address for address in found}.values())

    def clean(self) -> dict[str, Any]:
        cleaned: dict[str, Any] = super().clean() or {}
        self.instance.filters = {name: cleaned[name] for name in FILTERS if cleaned.get(name)}
        return cleaned


class TileForm(forms.Form):
    """One row of a report's selected tiles."""

    tile = forms.ChoiceField(required=False)
    period = forms.ChoiceField(
        required=False, choices=[("", "Same as the report"), *PRESETS.items()]
    )
    dimension = forms.ChoiceField(
        label="Broken down by",
        required=False,
        choices=[("", "As usual"), *((each.name, each.title) for each in DIMENSIONS.values())],
    )
    by = forms.ChoiceField(
        label="Filter by",
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
            raise ValidationError("Choose both a filter and a value.")
        if by:
            cleaned["value"] = self._known(by, value)
        self._check_dimension(cleaned.get("tile") or "", cleaned.get("dimension") or "")
        return cleaned

    def _check_dimension(self, tile: str, dimension: str) -> None:
        type, _, names = tile.partition(":")
        if type != TileType.PARTS:
            if dimension:
                raise ValidationError("Choose a breakdown, or leave “Broken down by” as it is.")
            return
        metric = METRICS[names]
        if dimension and dimension not in metric.dimensions:
            titles = ", ".join(DIMENSIONS[each].title for each in metric.dimensions)
            raise ValidationError(f"{metric.title} can be broken down by {titles}.")
        if not dimension and not metric.breakdown:
            raise ValidationError(f"Choose what to break {metric.title} down by.")

    def _known(self, by: str, value: str) -> str:
        """The value as stored in the records; companies can be entered by name."""
        wanted = value.casefold()
        for stored, shown in self.offered.get(by, []):
            if wanted in (str(stored).casefold(), str(shown).casefold()):
                return stored
        raise ValidationError(f"There is no {by} “{value}”.")

    def selected_tile(self) -> ReportTile | None:
        """The unsaved tile of this row; None for an empty row."""
        if not self.cleaned_data.get("tile"):
            return None
        type, _, names = self.cleaned_data["tile"].partition(":")
        by = self.cleaned_data["by"]
        return ReportTile(
            type=type,
            metrics=names.split("+"),
            period=self.cleaned_data["period"],
            filters={by: self.cleaned_data["value"]} if by else {},
            dimension=self.cleaned_data["dimension"],
        )


def tile_choices() -> list[tuple[str, Any]]:
    """Every figure, trend and breakdown that a tile can show, in groups."""
    boards = {tile for board in DASHBOARDS.values() for tile in board.tiles}
    pairs = {tile.names: tile.title for tile in boards if len(tile.names) > 1}
    alone: dict[tuple[str, ...], str] = {(name,): metric.title for name, metric in METRICS.items()}
    return [
        ("", "No tile"),
        ("Figures", _choices(TileType.FIGURE, alone)),
        ("Trends", _choices(TileType.CHART, pairs | alone)),
        ("Breakdowns", _choices(TileType.PARTS, alone)),
    ]


def _choices(type: TileType, titles: dict[tuple[str, ...], str]) -> list[tuple[str, str]]:
    return [
        (f"{type}:{'+'.join(names)}", title)
        for names, title in sorted(titles.items(), key=lambda pair: pair[1])
    ]


def tile_rows(report: Report) -> list[dict[str, str]]:
    """The report's selected tiles as rows of the form."""
    if not report.pk:
        return []
    return [
        {
            "tile": f"{each.type}:{'+'.join(each.metrics)}",
            "period": each.period,
            "dimension": each.dimension,
            "by": next(iter(each.filters), ""),
            "value": next(iter(each.filters.values()), ""),
        }
        for each in report.tiles.all()
    ]


TileFormSet = forms.formset_factory(
    TileForm, extra=BLANK_TILES, max_num=MAX_TILES, absolute_max=MAX_TILES
)


class Composer:
    """The forms of the page as a unit: validated, previewed and saved together."""

    def __init__(self, report: Report, offered: Offered, data: Any = None) -> None:
        schedule = getattr(report, "schedule", None) if report.pk else None
        self.report = ReportForm(data, instance=report, tenant=report.tenant, offered=offered)
        self.schedule = ScheduleForm(data, instance=schedule)
        self.tiles = TileFormSet(
            data, prefix="tiles", initial=tile_rows(report), form_kwargs={"offered": offered}
        )

    def is_valid(self) -> bool:
        """Whether it can be saved."""
        if not self.can_be_previewed() or not self.schedule.is_valid():
            return False
        cleaned = self.report.cleaned_data
        if not cleaned["members"] and not cleaned["addresses"]:
            self.report.add_error(None, "Choose at least one recipient.")
        return self.report.is_valid()

    def can_be_previewed(self) -> bool:
        """Whether there is enough for a preview."""
        if not (self.report.is_valid() and self.tiles.is_valid()):
            return False
        if not self.report.cleaned_data["dashboard"] and not self._selected_tiles():
            self.report.add_error("dashboard", "Choose at least one tile, or a dashboard.")
            return False
        return True

    def scoped_tiles(self) -> list[ScopedTile]:
        """The tiles of the draft."""
        draft: Report = self.report.instance
        if draft.dashboard:
            return scoped_tiles(draft)
        return selected_tiles(draft, self._selected_tiles())

    def _selected_tiles(self) -> list[ReportTile]:
        rows: Iterable[TileForm] = self.tiles.forms
        return [tile for row in rows if (tile := row.selected_tile()) is not None]

    @transaction.atomic
    def save(self, owner: User) -> Report:
        """Save the report. `owner` becomes its owner: it is sent with that user's permissions."""
        report: Report = self.report.instance
        report.owner = owner
        report.save()
        report.tiles.all().delete()
        for position, tile in enumerate(self._selected_tiles() if not report.dashboard else []):
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
            # A new schedule does not apply to the past.
            schedule.planned_until = timezone.now()
        schedule.report = report
        schedule.save()


def _with_selected(offered: list[Choice], report: Report, name: str) -> list[tuple[str, str]]:
    """The choices. The selected value is always included, even if no record has it now."""
    selected = report.filters.get(name, "")
    known = any(value == selected for value, _ in offered)
    more = [] if known or not selected else [(selected, selected)]
    return [("", "All"), *more, *offered]


def _person(user: User) -> str:
    return f"{user.get_full_name() or user.username} ({user.email})"
