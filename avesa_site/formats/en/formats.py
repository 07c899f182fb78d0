"""How the admin writes dates: short, and the same for everybody."""

DATE_FORMAT = "j M Y"
DATETIME_FORMAT = "j M Y, H:i"
