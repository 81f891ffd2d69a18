"""How the process ends early: interrupts as exceptions."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress

PRESSED_TWICE = 1.0  # seconds: a second Ctrl-C so soon is the same wish, and would only cut short the tidying up


@contextmanager
def interruptible() -> Iterator[None]:
    """Let Ctrl-C end what runs inside, and only that: it is no interruption of the process."""
    handler = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with suppress(KeyboardInterrupt):
            yield
    finally:
        signal.signal(signal.SIGINT, handler)


class Interruption:
    """Turns SIGINT into KeyboardInterrupt and SIGTERM into SystemExit; `exit_code` is 0 until one of them came."""

    def __init__(self) -> None:
        """Install the handlers; a SIGINT that is ignored stays so, as a shell leaves it for what runs in the background."""
        self.exit_code = 0
        self._time = 0.0
        signal.signal(signal.SIGTERM, self._stop)
        if signal.getsignal(signal.SIGINT) is not signal.SIG_IGN:
            signal.signal(signal.SIGINT, self._stop)

    def _stop(self, number: int, _: object) -> None:
        now = time.monotonic()
        if number == signal.SIGINT and self.exit_code and now - self._time < PRESSED_TWICE:
            return
        self.exit_code, self._time = 128 + number, now
        raise KeyboardInterrupt if number == signal.SIGINT else SystemExit(self.exit_code)

    def finish(self, exit_code: int) -> None:
        """From now on a signal ends the process at once, with this exit code.

        Python and its libraries still tidy up; an exception there would only be printed as one that was ignored.
        """
        for number in (signal.SIGINT, signal.SIGTERM):
            if signal.getsignal(number) == self._stop:
                signal.signal(number, lambda *_: os._exit(exit_code))
