"""Vega, Vega-Lite and Vega-Embed as one script, from the vl-convert package, not from a CDN."""

import gzip
from functools import cache
from importlib.metadata import version
from pathlib import Path

import vl_convert
from django.conf import settings

VERSION = version("vl-convert-python")


@cache
def script() -> bytes:
    """The script, gzipped. Built once per version and stored in VAR_DIR, since building is slow."""
    path = Path(settings.VAR_DIR) / "static" / f"vega-{VERSION}.js.gz"
    if not path.exists():
        bundle = vl_convert.javascript_bundle()  # type: ignore[call-arg] # its stub errs
        made = gzip.compress(bundle.encode(), mtime=0)
        part = path.with_suffix(".part")
        part.write_bytes(made)
        part.replace(path)  # atomic: several processes may start at once
    return path.read_bytes()
