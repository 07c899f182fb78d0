"""Scheduled reports: what they show, when they are due, and the record of each delivery.

`timetable` says when, `content` makes the figures, `mails`, `documents` and `sheets` render them,
`occurrences` plans and composes, `deliveries` sends. `links` are what readers without a login hold.
"""
