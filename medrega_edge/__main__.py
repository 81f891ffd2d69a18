"""`medrega`, and `python -m medrega_edge`: the command line. An interrupt ends it quietly, even while it starts."""

import gc
import os
import signal
import sys
from contextlib import suppress

GC_THRESHOLD = 500_000  # start-up makes as many objects, and they stay: collections cost a tenth of a short command


def main() -> None:
    """Run `cli.main`. Until that handles interrupts itself, there is nothing to tidy up."""
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, lambda *_: os._exit(130))
    gc.set_threshold(GC_THRESHOLD, *gc.get_threshold()[1:])
    os.environ.setdefault("PYDANTIC_DISABLE_PLUGINS", "1")  # else it searches every installed distribution for them
    from medrega_edge.cli import main as cli

    try:
        cli.main()
    except cli.NothingLeft as end:  # Python takes a tenth of a second to unload what it has imported
        for stream in (sys.stdout, sys.stderr):
            with suppress(OSError, ValueError):
                stream.flush()
        os._exit(end.code)


if __name__ == "__main__":
    main()
