"""A process that draws charts, typesets documents and composes mails, one request at a time.

`common.renderers` starts it as a script. The native libraries abort on some inputs, so they run
where nothing else does: without Django, the settings or a connection to anything but the process
that asks. Standard input is that connection, a socket. It ends with the process that asks.
"""

import json
import os
import resource
import signal
import socket
import struct
from collections.abc import Callable
from functools import cache
from typing import Any, Literal, Protocol

import mrml
import typst
import vl_convert

MAX_DATA = 1 << 30  # bytes; the JavaScript engine reserves far more address space than it uses
_SIZE = struct.Struct(">Q")


def chart_png(spec: str, scale: float) -> list[bytes]:
    return [vl_convert.vegalite_to_png(spec, scale=scale, allowed_base_urls=[])]


def chart_svg(spec: str) -> list[bytes]:
    return [vl_convert.vegalite_to_svg(spec, allowed_base_urls=[]).encode()]


def document(
    template: str,
    fonts: str,
    report: str,
    timestamp: int,
    form: Literal["pdf", "png"],
    resolution: int | None = None,
) -> list[bytes]:
    """The template with the data in `report`, as one PDF or one PNG per page."""
    made: bytes | list[bytes] = typst.compile(
        template,
        format=form,
        font_paths=_fonts(fonts),
        sys_inputs={"report": report},
        timestamp=timestamp,
        ppi=resolution,
    )
    return made if isinstance(made, list) else [made]


@cache
def _fonts(folder: str) -> typst.Fonts:
    """Bundled fonts come first, so that a PDF looks the same on every machine."""
    return typst.Fonts(font_paths=[folder])


def mail(mjml: str) -> list[bytes]:
    return [mrml.to_html(mjml).content.encode()]


RENDERERS: dict[str, Callable[..., list[bytes]]] = {
    each.__name__: each for each in (chart_png, chart_svg, document, mail)
}


class Stream(Protocol):
    def read(self, size: int, /) -> bytes: ...
    def write(self, data: bytes, /) -> int: ...
    def flush(self) -> None: ...


def serve(stream: Stream) -> None:
    """Answer requests until the other end closes the connection, or one takes too long.

    A request is JSON: what to render, its arguments, and how many seconds it may take. A reply is
    an error ("" if there is none) and the sizes of its parts as JSON, then the parts.
    """
    while request := _read(stream):
        what, arguments, seconds = json.loads(request)
        signal.setitimer(signal.ITIMER_REAL, seconds)  # SIGALRM ends a process in native code, too
        error, parts = _rendered(what, arguments)
        signal.setitimer(signal.ITIMER_REAL, 0)
        head = json.dumps([error, [len(part) for part in parts]]).encode()
        stream.write(_SIZE.pack(len(head)) + head + b"".join(parts))
        stream.flush()


def _rendered(what: str, arguments: dict[str, Any]) -> tuple[str, list[bytes]]:
    try:
        return "", RENDERERS[what](**arguments)
    except Exception as error:
        return str(error) or type(error).__name__, []


def _read(stream: Stream) -> bytes:
    head = stream.read(_SIZE.size)
    return stream.read(*_SIZE.unpack(head)) if len(head) == _SIZE.size else b""


def _limit(kind: int, value: int) -> None:
    _, hard = resource.getrlimit(kind)
    limit = value if hard == resource.RLIM_INFINITY else min(value, hard)
    resource.setrlimit(kind, (limit, limit))


def main() -> None:
    for each in (signal.SIGINT, signal.SIGTERM):  # they are for the process that asks
        signal.signal(each, signal.SIG_IGN)
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    _limit(resource.RLIMIT_DATA, MAX_DATA)
    _limit(resource.RLIMIT_CORE, 0)
    with socket.socket(fileno=0) as connection, connection.makefile("rwb") as stream:
        serve(stream)
    os._exit(0)  # native libraries may crash while they are taken apart


if __name__ == "__main__":
    main()
