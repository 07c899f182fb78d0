"""Who did what to which row, outside the admin's forms: as entries of the admin's history."""

from django.contrib.admin.models import CHANGE, LogEntry
from django.db.models import Model


def record_action(user_id: int, row: Model, text: str) -> None:
    """The row's history in the admin shows `text`, the user and the time."""
    LogEntry.objects.log_actions(user_id, [row], CHANGE, text, single_object=True)
