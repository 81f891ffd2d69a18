"""`medrega serve`, started for a measurement on this machine and ended after it."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from medrega_edge.errors import ResourceError

_URL = re.compile(r"http://[\w.:\[\]]+")
_ENDS_WITHIN = 60  # seconds


@contextmanager
def own_server(model: str | None) -> Iterator[str]:
    """Yield the address of a server of the package, by default the default one, on a free port of this machine.

    Raises ResourceError if it ends before it is ready, as without the extra `serve`.
    """
    words = [sys.executable, "-m", "medrega_edge", "serve", "--quiet", "--port", "0", *(["--model", model] if model else [])]
    process = subprocess.Popen(words, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True)
    try:
        assert process.stderr is not None
        url = next((found[0] for line in process.stderr if (found := _URL.search(line))), None)
        if url is None:
            raise ResourceError("bench.own_server_ended")
        yield url
    finally:
        process.terminate()
        try:
            process.communicate(timeout=_ENDS_WITHIN)
        except subprocess.TimeoutExpired:
            process.kill()
            process.communicate()
