"""Logos: any uploaded image is converted to a small PNG without metadata."""

from io import BytesIO
from typing import IO

from django.core.exceptions import ValidationError
from PIL import Image

MAX_BYTES = 2_000_000
MAX_PIXELS = (480, 160)


def as_png(upload: IO[bytes]) -> bytes:
    """The image as PNG, at most 480 by 160 pixels. Raises ValidationError."""
    upload.seek(0)
    content = upload.read(MAX_BYTES + 1)
    if len(content) > MAX_BYTES:
        raise ValidationError("Use an image of at most 2 MB.")
    try:
        with Image.open(BytesIO(content)) as picture:
            picture.thumbnail(MAX_PIXELS)
            small = picture.convert("RGBA")
    except (OSError, Image.DecompressionBombError) as error:
        raise ValidationError("This image cannot be read.") from error
    output = BytesIO()
    small.save(output, "PNG", optimize=True)
    return output.getvalue()
