"""`medrega`, and `python -m medrega_edge`: the command line. An interrupt ends it quietly, even while it starts."""

import os
import signal


def main() -> None:
    """Run `cli.main`. Until that handles interrupts itself, there is nothing to tidy up."""
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, lambda *_: os._exit(130))
    from medrega_edge.cli import main as cli

    cli.main()


if __name__ == "__main__":
    main()
