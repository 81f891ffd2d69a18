"""What many tests share: one engine with the default package, the sample scan, and the command in this process."""

import io
import os
import signal
import sys
from pathlib import Path
from typing import NamedTuple

import pytest

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:  # as a shell leaves it for what runs in the background
    signal.signal(signal.SIGINT, signal.default_int_handler)  # or the commands under test would inherit it


def pytest_configure(config):
    """Compile the Chinese catalogues that have changed; the workers of xdist find them compiled."""
    if not hasattr(config, "workerinput"):
        from tools.catalogues import compile_all

        compile_all()


@pytest.fixture(scope="session")
def engine():
    from medrega_edge import load

    return load()


@pytest.fixture(scope="session")
def scan(engine):
    from medrega_edge.images.samples import sample_path

    return engine.open(sample_path("abdomen-mri"))


class Ran(NamedTuple):
    code: int
    out: str
    err: str


@pytest.fixture
def medrega(engine, monkeypatch, capfd):
    """`main()` in this process, answered by the shared engine unless another package or device is asked for."""
    from medrega_edge import engine as home
    from medrega_edge.cli import console, settings
    from medrega_edge.cli import main as cli
    from medrega_edge.engine import CACHE_BYTES

    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    load = home.load

    def shared(model=None, *, threads=None, device="cpu", cache=None, cache_bytes=CACHE_BYTES):
        if model is None and device == "cpu" and cache is None:
            return engine
        return load(model, threads=threads, device=device, cache=cache, cache_bytes=cache_bytes)

    def command(*arguments, stdin=""):
        monkeypatch.setattr(sys, "argv", ["medrega", *map(str, arguments)])
        monkeypatch.setattr(sys, "stdin", io.StringIO(stdin))
        capfd.readouterr()
        with pytest.raises(SystemExit) as end:
            cli.main()
        return Ran(end.value.code, *capfd.readouterr())

    monkeypatch.setattr(home, "load", shared)
    monkeypatch.setattr(console, "_language", None)  # restored afterwards
    monkeypatch.setattr(settings, "settings_path", lambda: Path(os.devnull))
    settings.settings.cache_clear()
    for variable in ("MEDREGA_MODEL", "MEDREGA_CACHE"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setenv("COLUMNS", "100")
    yield command
    for number, handler in before.items():
        signal.signal(number, handler)
