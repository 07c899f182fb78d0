"""Logos: any uploaded image is converted to a small PNG without metadata."""

from io import BytesIO
from typing import IO

from django.core.exceptions import ValidationError
from PIL import Image

MAX_BYTES = 2_000_000
MAX_SOURCE_PIXELS = 16_000_000  # at most 130 MB of memory while it is decoded and reduced
MAX_PIXELS = (480, 160)
FORMATS = ("PNG", "JPEG", "GIF", "WEBP")


def as_png(upload: IO[bytes]) -> bytes:
    """The image as PNG, at most 480 by 160 pixels. Raises ValidationError.

    A small file can hold a huge image, so the size in its header is checked before it is decoded.
    """
    upload.seek(0)
    content = upload.read(MAX_BYTES + 1)
    if len(content) > MAX_BYTES:
        raise ValidationError("Use an image of at most 2 MB.")
    try:
        with Image.open(BytesIO(content), formats=FORMATS) as picture:
            is_huge = picture.width * picture.height > MAX_SOURCE_PIXELS
            small = None if is_huge else _thumbnail(picture)
    except Exception as error:  # decoders raise errors of many kinds
        raise ValidationError("This image cannot be read. Use PNG, JPEG, GIF or WebP.") from error
    if small is None:
        raise ValidationError("Use an image of at most 16 million pixels, such as 4000 by 4000.")
    return small


def _thumbnail(picture: Image.Image) -> bytes:
    picture.thumbnail(MAX_PIXELS)
    output = BytesIO()
    picture.convert("RGBA").save(output, "PNG", optimize=True)
    return output.getvalue()
