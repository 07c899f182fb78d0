"""Vega, Vega-Lite and Embed as one script, from the vl-convert package: nothing is downloaded."""

import gzip
from functools import cache
from importlib.metadata import version
from pathlib import Path

import vl_convert
from django.conf import settings

VERSION = version("vl-convert-python")


@cache
def script() -> bytes:
    """The script, gzipped. Made once per version and kept in VAR_DIR, as that takes a while."""
    path = Path(settings.VAR_DIR) / "static" / f"vega-{VERSION}.js.gz"
    if not path.exists():
        bundle = vl_convert.javascript_bundle()  # type: ignore[call-arg] # its stub errs
        made = gzip.compress(bundle.encode(), mtime=0)
        part = path.with_suffix(".part")
        part.write_bytes(made)
        part.replace(path)  # in one step, since several processes may start at once
    return path.read_bytes()
