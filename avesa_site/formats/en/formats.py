"""Date formats of the admin: short, and the same for all users."""

DATE_FORMAT = "j M Y"
DATETIME_FORMAT = "j M Y, H:i"
