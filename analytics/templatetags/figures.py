"""Formats figures, records and links for people."""

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from decimal import Decimal
from fractions import Fraction
from html import escape
from typing import Any
from urllib.parse import urlencode

from django import template
from django.urls import reverse
from django.utils import timezone
from django.utils.formats import date_format
from django.utils.html import format_html, format_html_join, json_script
from django.utils.safestring import SafeString, mark_safe

from analytics import links
from analytics.charts.spec import Spec, days_of, label_of
from analytics.dashboards.boards import Tile, TileType
from analytics.dashboards.scope import Scope
from analytics.dashboards.subjects import SUBJECT_OF_TABLE
from analytics.metrics import (
    DIMENSIONS,
    Aggregate,
    Figure,
    Filter,
    Metric,
    MetricResult,
    Part,
    formats,
    value_label,
)
from analytics.metrics.changes import Reason, contributions, phrase, rounded_to_sum
from analytics.metrics.dimensions import read_value
from analytics.metrics.results import rounded
from analytics.records import names
from analytics.records.listing import Condition, Listing
from analytics.records.relations import Belonging, Reference
from analytics.warehouse.catalog import Column, Table
from common.texts import words
from tenants.models import Tenant

register = template.Library()

SPARK_WIDTH, SPARK_HEIGHT = 120, 32
MAX_CHANGES = 10
Pairs = Sequence[tuple[str, str]]


# --- Numbers


@register.filter
def figure(metric: Metric, value: Figure) -> str:
    return formats.figure_text(metric, value)


@register.filter
def thousands(value: int) -> str:
    return f"{value:,}"


@register.simple_tag
def change(result: MetricResult) -> str:
    """The change from the previous period, in words that a screen reader can read."""
    before = figure(result.metric, result.previous)
    if result.previous is None:
        return "no earlier figure to compare"
    if result.change is None or not result.change:
        is_same = result.figure == result.previous
        return f"no change ({before})" if is_same else f"previously {before}"
    arrow = "▲" if result.change > 0 else "▼"
    unit = "points" if result.metric.aggregate is Aggregate.SHARE else "%"
    return f"{arrow} {abs(result.change):,} {unit} from {before}"


@register.simple_tag
def change_sentence(result: MetricResult, reason: Reason | None) -> str:
    """A change in words, with the part that brought most of it; "" if there is none.

    SLA met fell by 7.0 points to 68.4 %, 4.1 of them from Priority 1 at Möller Pharma.
    """
    if result.figure is None or result.previous is None or result.figure == result.previous:
        return ""
    metric = result.metric
    difference = Decimal(result.figure) - Decimal(result.previous)
    verb = "rose" if difference > 0 else "fell"
    text = f"{metric.title} {verb} by {_size_of_change(metric, abs(difference))}"
    text += f" to {figure(metric, result.figure)}"
    if reason is None:
        return f"{text}."
    (amount,) = rounded_to_sum([reason.amount], metric.places)
    if abs(amount) <= abs(difference) and (amount > 0) == (difference > 0):
        words = phrase(reason).rstrip(".")
        source = words if words.startswith(("at ", "by ")) else f"from {words}"
        return f"{text}, {abs(amount):,} of them {source}."
    return f"{text}. From {phrase(reason)} alone it was {amount:+,}."


def _size_of_change(metric: Metric, size: Decimal) -> str:
    if metric.aggregate.is_duration:
        return formats.duration_text(size)
    if metric.unit == "revenue":
        return formats.short(size)
    unit = "points" if metric.aggregate is Aggregate.SHARE else metric.unit
    return f"{rounded(size, metric.places):,} {unit}"


@register.simple_tag
def changes_table(result: MetricResult, scope: Scope) -> SafeString:
    """What each part brought to the change, the largest first; the rest is one row."""
    found = contributions(result)
    places = result.metric.places
    is_split = result.metric.aggregate.is_quotient
    shown = [rounded_to_sum([each.amount for each in found], places)]
    if is_split:
        rates = rounded_to_sum([each.rate or Fraction(0) for each in found], places)
        shown += [rates, [a - rate for a, rate in zip(shown[0], rates, strict=True)]]
    rows = [
        (_changed_part(result, each.part, scope), [column[number] for column in shown])
        for number, each in enumerate(found[:MAX_CHANGES])
    ]
    rest = [sum(column[MAX_CHANGES:], Decimal(0)) for column in shown]
    if len(found) > MAX_CHANGES:
        rows.append(
            (f'<th scope="row">{len(found) - MAX_CHANGES} others</th><td></td><td></td>', rest)
        )
    titles = [result.breakdown, "Before", "Now", "Contribution"]
    if is_split:
        titles += ["from its rate", "from its weight"]
    heads = "".join(f'<th scope="col">{escape(title)}</th>' for title in titles)
    body = "".join(
        f"<tr>{cells}{''.join(f'<td>{amount:+,}</td>' for amount in amounts)}</tr>"
        for cells, amounts in rows
    )
    return mark_safe(  # noqa: S308 (escaped above and below; the rest are numbers)
        f'<table class="changes"><thead><tr>{heads}</tr></thead><tbody>{body}</tbody></table>'
    )


def _changed_part(result: MetricResult, part: Part, scope: Scope) -> str:
    """The first cells of a row: the part and both of its figures, linked as in a breakdown."""
    metric = result.metric
    now = figure(metric, part.figure)
    name = escape(label_of(part))
    if part.values:
        name, now = _label(result, part, scope), _records_link(result, part, scope, now)
    return f'<th scope="row">{name}</th><td>{figure(metric, part.previous)}</td><td>{now}</td>'


register.filter(words)


@register.filter
def value(content: Any) -> str:
    """A column's value: a dash for None, quotes for an empty text, instants in local time."""
    match content:
        case None:
            return formats.DASH
        case "":
            return "“”"
        case bool():
            return "yes" if content else "no"
        case datetime():
            return date_format(timezone.localtime(content), "j M Y, H:i:s")
        case timedelta():
            return formats.duration_text(Decimal(content // timedelta(milliseconds=1)) / 3_600_000)
        case Decimal():
            return f"{content:,.2f}"
        case int():
            return f"{content:,}"
    return str(content)


# --- Charts and tables. In Python without format_html: for rows, templates are ten times as slow,
# and format_html three times.


@register.simple_tag
def sparkline(result: MetricResult) -> SafeString:
    """The trend of a figure as a small line chart; dashes bridge buckets without a figure."""
    figures = [None if figure is None else float(figure) for _, figure in result.series]
    known = [figure for figure in figures if figure is not None]
    if len(known) < 2:
        return mark_safe("")
    low, high = min(known), max(known)
    if low >= 0 and low < high * 0.6:
        low = 0.0  # the axis starts at zero unless that would flatten the line
    step = SPARK_WIDTH / max(1, len(figures) - 1)
    height = (high - low) or 1.0
    runs: list[list[str]] = [[]]
    points = []
    for number, each in enumerate(figures):
        if each is None:
            runs.append([])
            continue
        y = SPARK_HEIGHT - 2 - (each - low) / height * (SPARK_HEIGHT - 4)
        points.append(f"{number * step:.1f},{y:.1f}")
        runs[-1].append(points[-1])
    lines = format_html_join(
        "", '<polyline points="{}"/>', ((" ".join(run),) for run in runs if len(run) > 1)
    )
    if len(points) < len(figures):
        bridge = format_html('<polyline class="bridge" points="{}"/>', " ".join(points))
        lines = format_html("{}{}", bridge, lines)
    return format_html(
        '<svg class="spark" viewBox="0 0 {} {}" preserveAspectRatio="none" role="img" '
        'aria-label="{}">{}</svg>',
        SPARK_WIDTH,
        SPARK_HEIGHT,
        f"Trend over the period, from {figure(result.metric, result.series[0][1])} "
        f"to {figure(result.metric, result.series[-1][1])}",
        lines,
    )


@register.simple_tag
def series_table(results: Sequence[MetricResult], scope: Scope) -> SafeString:
    """A table of the buckets of a period, with the figures of each metric, which lead to the same
    pages as the bars and points of the chart."""
    addresses = links.bucket_urls(results, scope)
    titles = "".join(f'<th scope="col">{escape(each.metric.title)}</th>' for each in results)
    rows = "".join(
        f'<tr><th scope="row">{days_of(bucket)}</th>'
        + "".join(
            f'<td><a href="{escape(url)}">{figure(each.metric, each.series[number][1])}</a></td>'
            for each, url in zip(results, addresses[number], strict=True)
        )
        + "</tr>"
        for number, (bucket, _) in enumerate(results[0].series)
    )
    unit = results[0].period.bucket_unit.title()
    return mark_safe(  # noqa: S308 (escaped above; the rest are numbers and dates)
        f'<table><thead><tr><th scope="col">{unit}</th>{titles}</tr></thead>'
        f"<tbody>{rows}</tbody></table>"
    )


@register.simple_tag
def parts_table(result: MetricResult, parts: Sequence[Part], scope: Scope) -> SafeString:
    """A breakdown: labels with a bar, the figure and the previous one; the parts of the result that
    are not among `parts` are one row.

    A label leads to the figure of its part, the figure to the records, and the number of those that
    missed to these. What is too long for an address has no link.
    """
    metric = result.metric
    most = max((_size(part) for part in parts), default=0) or 1
    missed = f'<th scope="col">{escape(metric.verdict[1])}</th>' if metric.verdict else ""
    rows = "".join(
        f'<tr><th scope="row">{_label(result, part, scope)}</th>'
        '<td class="bar-cell"><svg class="part-bar" '
        'viewBox="0 0 100 10" preserveAspectRatio="none" aria-hidden="true">'
        f'<rect width="{_size(part) / most * 100:.1f}" height="10"/></svg></td>'
        f"<td>{_records_link(result, part, scope, figure(metric, part.figure))}</td>"
        f'{_missed(result, part, scope)}<td class="before">'
        f"{figure(metric, part.previous)}</td></tr>"
        for part in parts
    )
    other = result.other(len(parts))
    if other:
        count = "All" if result.is_cut else f"{len(result.parts) - len(parts)}"
        rows += (
            f'<tr><th scope="row">{count} others</th><td></td>'
            f"<td>{figure(metric, other.figure)}</td>"
            f'{"<td></td>" if missed else ""}<td class="before">'
            f"{figure(metric, other.previous)}</td></tr>"
        )
    return mark_safe(  # noqa: S308 (escaped above; the rest are numbers)
        f'<table class="parts"><thead><tr><th scope="col">{escape(result.breakdown)}</th><td></td>'
        f'<th scope="col">{escape(metric.unit.capitalize())}</th>{missed}'
        f'<th scope="col">Previous</th></tr></thead><tbody>{rows}</tbody></table>'
    )


def _label(result: MetricResult, part: Part, scope: Scope) -> str:
    return _linked(escape(label_of(part)), links.part_url(result, part, scope))


def _records_link(
    result: MetricResult, part: Part, scope: Scope, text: str, verdict: str = ""
) -> str:
    """`text` as a link to the records of a part, which states whose they are."""
    url = links.rows_url(result.metric, links.part_scope(result, part, scope), verdict)
    words = f"{text}, {verdict_words(result.metric, verdict)}: {label_of(part)}"
    return _linked(escape(text), links.short_enough(url), words)


def verdict_words(metric: Metric, verdict: str) -> str:
    """What a list of records with a verdict has: Missed tickets, or Tickets."""
    table = words(metric.tables[0])
    if not metric.verdict or not verdict:
        return table
    return f"{metric.verdict[verdict == 'no']} {table.lower()}"


def _missed(result: MetricResult, part: Part, scope: Scope) -> str:
    """How many records of a part are not part of the share; "" for metrics without a verdict."""
    if not result.metric.verdict:
        return ""
    met, counted = (*part.numbers, None, None)[:2]
    missed = (counted or 0) - (met or 0)
    text = _records_link(result, part, scope, f"{missed:,}", "no") if missed else "0"
    return f"<td>{text}</td>"


def _linked(text: str, url: str, label: str = "") -> str:
    """Escaped `text` as a link, if there is an address."""
    if not url:
        return text
    named = f' aria-label="{escape(label)}"' if label else ""
    return f'<a href="{escape(url)}"{named}>{text}</a>'


def _size(part: Part) -> float:
    return abs(float(part.figure or 0))


@register.simple_tag
def spec_script(spec: Spec, slug: str) -> SafeString:
    return json_script(spec, f"{slug}-spec")


# --- Links


register.simple_tag(links.figure_url)
register.simple_tag(links.rows_url)


@register.simple_tag
def subject_page(tenant: Tenant, table: Table, key: str) -> str:
    """The page about a record with its figures; "" if it has none."""
    subject = SUBJECT_OF_TABLE.get(table.name)
    return reverse(subject.slug, args=[tenant.id, key]) if subject else ""


def _written(query: Mapping[str, Any]) -> str:
    return urlencode(query, doseq=True)


@register.simple_tag
def downloads(result: MetricResult, scope: Scope, of: str) -> SafeString:
    by = {"by": [dimension.name for dimension in result.by]} if of == "parts" else {}
    query = _written({**scope.query, "of": of, **by})
    metric = result.metric
    return format_html_join(
        " ",
        '<a href="{}?{}">{}</a>',
        (
            (reverse("figure_file", args=[scope.tenant.id, metric.name, kind]), query, kind.upper())
            for kind in ("csv", "xlsx", "png", "svg")
        ),
    )


@register.simple_tag
def tile_downloads(tile: Tile, scope: Scope) -> SafeString:
    """The files of what a tile shows; that of a figure is its trend."""
    is_parts = tile.type is TileType.PARTS
    query: dict[str, Any] = {**scope.query, "metric": tile.names}
    if is_parts:
        query |= {"of": "parts", "by": tile.queries[0].by}
    return format_html_join(
        " ",
        '<a href="{}?{}">{}</a>',
        (
            (reverse("chart_file", args=[scope.tenant.id, kind]), _written(query), kind.upper())
            for kind in ("png", "svg", "xlsx", "csv")
        ),
    )


@register.simple_tag
def filter_chips(
    filters: Sequence[Filter], names: Mapping[str, str], query: Mapping[str, Any], tenant: Tenant
) -> SafeString:
    """The active filters as items of a list, each with a link that removes it from `query`, the
    parameters of the address. `names` are those of companies. Values link to their own pages."""
    return format_html_join(
        "",
        '<li>{}{}: <b>{}</b> <a href="?{}"><span class="unseen">Remove the filter {}</span>'
        '<span aria-hidden="true">×</span></a></li>',
        (
            (
                DIMENSIONS[each.dimension].title,
                " is not" if each.is_excluding else "",
                format_html_join(
                    ", ", "{}", ((_chip(tenant, each, value, names),) for value in each.values)
                ),
                _written({key: text for key, text in query.items() if key != each.name}),
                DIMENSIONS[each.dimension].title,
            )
            for each in filters
        ),
    )


def _chip(tenant: Tenant, found: Filter, value: str, names: Mapping[str, str]) -> str:
    text = value_label(found.dimension, value, names)
    # Records without the id of their company have its name, which has no page.
    is_known = found.dimension != "company" or value in names
    url = links.subject_url(tenant, found.dimension, value) if is_known else ""
    return format_html('<a class="name" href="{}">{}</a>', url, text) if url else text


@register.simple_tag
def filter_options(name: str, offered: Sequence[tuple[str, str]], scope: Scope) -> SafeString:
    """The options of a filter. The selected value is always included."""
    (picked, *_) = scope.filters.get(name, ("",))
    known = any(value == picked for value, _ in offered)
    more = [] if known or not picked else [(picked, value_label(name, read_value(picked), {}))]
    # Hundreds of companies: format_html would take several times as long as escape.
    options = (
        f'<option value="{escape(value)}"{" selected" if value == picked else ""}>'
        f"{escape(label)}</option>"
        for value, label in [*more, *offered]
    )
    return mark_safe("".join(options))  # noqa: S308 (escaped above)


@register.simple_tag
def hidden_fields(query: Mapping[str, str | Sequence[str]]) -> SafeString:
    """The fields with which a form keeps parameters of its page."""
    pairs = (
        (name, value)
        for name, found in query.items()
        for value in ([found] if isinstance(found, str) else found)
    )
    return format_html_join("", '<input type="hidden" name="{}" value="{}">', pairs)


# --- Lists of records


@register.simple_tag
def heading(column: Column, wanted: Listing) -> str:
    """The title of a column; that of the metric's own columns is their documentation."""
    own = wanted.drill_down.columns if wanted.drill_down else ()
    return column.doc if column in own else words(column.name)


@register.simple_tag
def sort_heading(column: Column, wanted: Listing, pairs: Pairs) -> SafeString:
    """A column heading that sorts by the column; a second click reverses the order."""
    is_sorted = wanted.sorted_column is column
    down = is_sorted and not wanted.is_descending
    others = [pair for pair in pairs if pair[0] != "sort"]
    query = urlencode([*others, ("sort", f"-{column.name}" if down else column.name)])
    state = "descending" if wanted.is_descending else "ascending"
    return format_html(
        '<th scope="col"{}><a href="?{}">{}{}</a></th>',
        format_html(' aria-sort="{}"', state) if is_sorted else "",
        query,
        heading(column, wanted),
        ("  ▼" if wanted.is_descending else "  ▲") if is_sorted else "",
    )


# Columns with the name of something that has a page: (dimension, the column with its id).
_PAGES = {
    "company_name": ("company", "company_id"),
    "owner_name": ("technician", "owner_name"),
    "member_name": ("technician", "member_name"),
    "board_name": ("board", "board_name"),
}


@register.simple_tag
def record_row(
    tenant: Tenant,
    table: Table,
    row: Mapping[str, Any],
    cells: Sequence[Any],
    columns: Sequence[Column | str],
    titles: Mapping[str, str] | None = None,
    way: str = "",
) -> SafeString:
    """A record's cells. The first one that is not empty links to the record, and CSS stretches that
    link over the row; names of companies, people and boards link to their pages.

    `titles` are those of tickets that the row refers to. `way` is the query of the list, which the
    address of the record keeps.
    """
    first = next((number for number, cell in enumerate(cells) if cell not in (None, "")), 0)
    shown = format_html_join(
        "",
        "<td{}>{}</td>",
        (
            (
                _cell_class(content),
                _row_link(tenant, table, row, value(content), way)
                if number == first
                else _cell(tenant, row, _name_of(column), content, titles or {}),
            )
            for number, (content, column) in enumerate(zip(cells, columns, strict=True))
        ),
    )
    return format_html("<tr>{}</tr>", shown)


@register.simple_tag
def belonging_row(tenant: Tenant, belonging: Belonging, row: Mapping[str, Any]) -> SafeString:
    cells = [row[name] for name in belonging.columns]
    return record_row(tenant, belonging.table, row, cells, belonging.columns)


def _name_of(column: Column | str) -> str:
    return column if isinstance(column, str) else column.name


def _cell_class(content: Any) -> SafeString:
    is_number = isinstance(content, int | Decimal) and not isinstance(content, bool)
    return mark_safe(' class="number"') if is_number else mark_safe("")


def _row_link(
    tenant: Tenant, table: Table, row: Mapping[str, Any], text: str, way: str
) -> SafeString:
    """The link of a whole row: it is read as the name of the record, not as one cell of it."""
    title = names.title(table, row)
    url = reverse("record", args=[tenant.id, table.name, row[table.key]])
    whole = f"{url}?{way}" if way and len(way) <= links.MAX_CHARACTERS else url
    label = title if text in title else f"{text}: {title}"
    return format_html('<a class="whole" href="{}" aria-label="{}">{}</a>', whole, label, text)


def _cell(
    tenant: Tenant, row: Mapping[str, Any], column: str, content: Any, titles: Mapping[str, str]
) -> str:
    text: str = value(content)
    if not isinstance(content, str) or not content:
        return text
    if column == "ticket_id" and content in titles:
        return _record_link(tenant, "tickets", content, titles[content])
    dimension, key = _PAGES.get(column, ("", ""))
    url = links.subject_url(tenant, dimension, row.get(key) or "") if dimension else ""
    return format_html('<a href="{}">{}</a>', url, text) if url else text


def _record_link(tenant: Tenant, table: str, key: str, text: str) -> SafeString:
    return format_html('<a href="{}">{}</a>', reverse("record", args=[tenant.id, table, key]), text)


@register.simple_tag
def field_row(
    tenant: Tenant, field: str, content: Any, above: Mapping[str, Reference], values: Any = None
) -> SafeString:
    """A field of a record. A reference to another record is a link with its name and id; names of
    companies, people and boards link to their pages."""
    shown: str = _cell(tenant, values or {}, field, content, {})
    if field in above:
        found = above[field]
        url = reverse("record", args=[tenant.id, found.table.name, found.key])
        shown = format_html('<a href="{}">{}</a>', url, found.title)
        if found.title != content:
            shown = format_html('{} <span class="key">{}</span>', shown, content)
    return format_html('<tr><th scope="row">{}</th><td>{}</td></tr>', words(field), shown)


@register.simple_tag
def without_condition(pairs: Pairs, condition: Condition) -> str:
    others = [pair for pair in pairs if pair != ("where", str(condition))]
    return f"?{urlencode(others)}"
