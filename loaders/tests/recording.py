"""Records the results of long tests in a document in docs/."""

from django.utils import timezone

from loaders.tests.jobs.test_worker import ROOT


def record(document, mark, what, heading, rows):
    """Replace the text between `<!-- mark -->` and `<!-- /mark -->` with a table."""
    path = ROOT / document
    begin, end = f"<!-- {mark} -->", f"<!-- /{mark} -->"
    head, rest = path.read_text().split(begin)
    _, tail = rest.split(end)
    lines = [
        f"Recorded {timezone.now():%Y-%m-%d}: {what}, every check passed.",
        "",
        *(f"| {' | '.join(map(str, row))} |" for row in (heading, ["---"] * len(heading), *rows)),
    ]
    path.write_text("\n".join([f"{head}{begin}", *lines, f"{end}{tail}"]))
