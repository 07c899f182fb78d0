"""An uploaded logo costs little, whatever it holds."""

import struct
import zlib
from io import BytesIO

import pytest
from django.core.exceptions import ValidationError
from PIL import Image, ImageFile

from tenants import logos


def chunk(kind, content):
    checked = kind + content
    return struct.pack(">I", len(content)) + checked + struct.pack(">I", zlib.crc32(checked))


def png(width, height, *more):
    """A valid PNG of one gray, a few kilobytes whatever its size."""
    rows = zlib.compress(b"\0" * ((width + 7) // 8 + 1) * height, 9)
    header = struct.pack(">IIBBBBB", width, height, 1, 0, 0, 0, 0)
    parts = [chunk(b"IHDR", header), *more, chunk(b"IDAT", rows), chunk(b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)


@pytest.fixture
def decoded(monkeypatch):
    """The sizes of the images that are decoded from now on."""
    sizes, load = [], ImageFile.ImageFile.load

    def recorded(picture):
        sizes.append(picture.size)
        return load(picture)

    monkeypatch.setattr(ImageFile.ImageFile, "load", recorded)
    return sizes


@pytest.mark.parametrize("size", [(9000, 9000), (4001, 4000), (50_000, 400)])
def test_a_small_file_with_a_huge_image_is_refused_before_it_is_decoded(decoded, size):
    content = png(*size)
    assert len(content) < 20_000
    with pytest.raises(ValidationError, match="16 million pixels"):
        logos.as_png(BytesIO(content))
    assert decoded == []


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "GIF", "WEBP"])
def test_usual_images_become_small_pngs(kind):
    upload = BytesIO()
    Image.new("RGB", (1200, 300), "green").save(upload, kind)
    with Image.open(BytesIO(logos.as_png(upload))) as logo:
        assert (logo.format, logo.mode, logo.size) == ("PNG", "RGBA", (480, 120))


@pytest.mark.parametrize("kind", ["TIFF", "BMP", "ICO", "PPM", "TGA"])
def test_other_formats_are_not_even_tried(kind):
    upload = BytesIO()
    Image.new("RGB", (64, 64), "green").save(upload, kind)
    with pytest.raises(ValidationError, match="Use PNG, JPEG, GIF or WebP"):
        logos.as_png(upload)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"<svg/>",
        png(64, 64)[:-40],
        png(64, 64, chunk(b"zTXt", b"x\0\0" + zlib.compress(b"x" * 9_000_000))),
        png(64, 64).replace(b"IDAT", b"ID\xffT"),
        b"GIF89a" + b"\xff" * 40,
    ],
    ids=["empty", "svg", "cut", "text bomb", "broken chunk", "broken gif"],
)
def test_what_cannot_be_decoded_is_refused(content):
    with pytest.raises(ValidationError, match="cannot be read"):
        logos.as_png(BytesIO(content))
