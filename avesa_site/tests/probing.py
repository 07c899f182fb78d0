"""Requests two addresses in turn for a while, and prints how long each response took, as JSON.

A process of its own, so that it does not wait for the threads of the test that loads the server:
`python probing.py PORT SECONDS PAGE PROBE COOKIES [COOKIES ...]`
"""

import itertools
import json
import sys
import time
from http.client import HTTPConnection

PAUSE = 0.2
MIN_COUNT = 5


def main(port, seconds, page, probe, *cookies):
    end = time.monotonic() + float(seconds)
    found = []
    for cookie in itertools.cycle(cookies):
        time.sleep(PAUSE)
        found.append([get(port, page, cookie), get(port, probe, "")])
        if time.monotonic() > end and len(found) >= MIN_COUNT:
            break
    print(json.dumps(found))


def get(port, path, cookie):
    """[status, seconds, tiles, tiles that failed]"""
    started = time.perf_counter()
    connection = HTTPConnection("127.0.0.1", int(port), timeout=120)
    connection.request("GET", path, headers={"Cookie": cookie})
    response = connection.getresponse()
    body = response.read()
    connection.close()
    seconds = time.perf_counter() - started
    return [response.status, seconds, body.count(b"<section slot="), body.count(b"Failed:")]


if __name__ == "__main__":
    main(*sys.argv[1:])
