"""`medrega` in a child of this process, forked when everything is loaded: `main()` as it is, without the start of a process.

The real engine is loaded once, with one thread, because threads do not survive a fork. Signals, hangs and what Python
itself would write when an exception ends it are seen as from outside.
"""

import os
import signal
import sys
import tempfile
import time
import traceback
from typing import NamedTuple

from medrega_edge import engine
from medrega_edge.cli import main as cli

HANGS_AFTER = 20.0  # seconds


class Ended(NamedTuple):
    code: int  # an exit code; the negative number of the signal that ended it; None where it hung
    out: str
    err: str
    peak_mb: int


def share_engine():
    """Load the model once for all commands that are to come."""
    load, loaded = engine.load, engine.load(threads=1)

    def shared(model=None, *, threads=None, device="cpu", cache=None, **options):
        is_plain = model is None and device == "cpu" and cache is None
        return loaded if is_plain else load(model, threads=threads, device=device, cache=cache, **options)

    engine.load = shared


def run(arguments, folder, stdin=b"", after=None, number=signal.SIGINT, confine=None, hangs_after=HANGS_AFTER):
    """Run `medrega ARGUMENTS` in `folder`; `after` so many seconds it gets the signal; `confine` is called in it."""
    with tempfile.TemporaryFile() as given, tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
        given.write(stdin)
        given.seek(0)
        child = os.fork()
        if child == 0:
            _be_the_command([str(argument) for argument in arguments], folder, (given, out, err), confine)
        status, usage = _wait(child, after, number, hangs_after)
        said = []
        for file in (out, err):
            file.seek(0)
            said.append(file.read().decode("utf-8", "replace"))
    return Ended(status, *said, usage.ru_maxrss // 1024)


def _wait(child, after, number, hangs_after):
    begun, told = time.monotonic(), False
    while True:
        ended, status, usage = os.wait4(child, os.WNOHANG)
        if ended:
            return os.waitstatus_to_exitcode(status), usage
        passed = time.monotonic() - begun
        if after is not None and passed > after and not told:
            os.kill(child, number)
            told = True
        if passed > hangs_after:
            os.kill(child, signal.SIGKILL)
            return None, os.wait4(child, 0)[2]
        time.sleep(0.002)


def _be_the_command(arguments, folder, files, confine):
    code = 1
    try:
        os.chdir(folder)
        for descriptor, file in enumerate(files):
            os.dup2(file.fileno(), descriptor)
        sys.stdin = open(0, encoding="utf-8", errors="surrogateescape", closefd=False)  # noqa: SIM115
        sys.stdout, sys.stderr = (open(fd, "w", encoding="utf-8", closefd=False) for fd in (1, 2))  # noqa: SIM115
        sys.argv = ["medrega", *arguments]
        signal.signal(signal.SIGINT, signal.default_int_handler)
        if confine:
            confine()
        cli.main()
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else 1 if end.code else 0
    except BaseException:
        traceback.print_exc()
    finally:
        try:
            sys.stdout.flush()
            sys.stderr.flush()
        except OSError:
            code = 120  # what Python itself ends with then
        finally:
            os._exit(code)  # also where a signal arrives this late
