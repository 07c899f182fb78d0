"""How far a load is, as staff see it."""

from datetime import timedelta

from django.template.defaultfilters import filesizeformat
from django.utils.html import format_html

from ..models import LoadJob


def bar(job: LoadJob) -> str:
    """Of a running load a bar with figures; of others what they wait for or ended with."""
    if job.state != LoadJob.State.RUNNING:
        return job.step or job.error[:80] or "–"
    figures = [f"{job.percent} %", job.step]
    if job.bytes_found:
        done, found = filesizeformat(job.bytes_done), filesizeformat(job.bytes_found)
        files = "file" if job.files_found == 1 else "files"
        figures.append(f"{done} of {found} in {job.files_found:,} {files}")
    if job.time_left is not None:
        figures.append(f"about {in_words(job.time_left)} left")
    return format_html(
        '<progress class="block w-40" max="100" value="{}" aria-label="Progress"></progress>'
        '<span class="text-xs">{}</span>',
        job.percent,
        " · ".join(filter(None, figures)),
    )


def in_words(span: timedelta) -> str:
    seconds = span.total_seconds()
    if seconds < 90:
        return f"{max(1, round(seconds))} s"
    if seconds < 90 * 60:
        return f"{round(seconds / 60)} min"
    return f"{seconds / 3600:.1f} h"
