"""Scheduled reports: what they show, when they are due, and the record of each delivery.

`timetable` computes due times, `content` the figures; `mails`, `documents` and `sheets` render
them. `occurrences` plans and composes reports, `deliveries` sends them. `links` are signed
links for readers without a login.
"""
