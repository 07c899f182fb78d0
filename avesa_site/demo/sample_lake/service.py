"""The rules of the service desk: statuses, priorities and response targets."""

from avesa_site.demo.sample_lake.clock import HOUR
from avesa_site.demo.sample_lake.words import LEVELS

NEW, ASSIGNED, IN_PROGRESS, REOPENED = "New", "Assigned", "In Progress", "Reopened"
WAITING_CUSTOMER, WAITING_VENDOR, SCHEDULED = "Waiting Customer", "Waiting Vendor", "Scheduled"
RESOLVED, CLOSED = "Resolved", "Closed"

# A ticket has a closed_date exactly while it is in one of these.
CLOSED_STATUSES = (RESOLVED, CLOSED)

PRIORITIES = (
    "Priority 1 - Critical",
    "Priority 2 - High",
    "Priority 3 - Medium",
    "Priority 4 - Low",
)

# Time to the first response that the provider promises: the top priority around the clock, the
# others in working time.
RESPONSE_TARGETS = dict(zip(PRIORITIES, (HOUR, 2 * HOUR, 4 * HOUR, 8 * HOUR), strict=True))
DUE_WORKDAYS = dict(zip(PRIORITIES, (1, 2, 5, 10), strict=True))


def priority_of(severity: str, impact: str, urgency: str) -> str:
    """Derive the priority from severity, impact and urgency."""
    score = LEVELS.index(severity) + LEVELS.index(impact) + LEVELS.index(urgency)
    if score >= 5:
        return PRIORITIES[0]
    if score >= 4:
        return PRIORITIES[1]
    return PRIORITIES[2] if score >= 2 else PRIORITIES[3]
