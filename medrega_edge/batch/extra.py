"""What the extra `ray` brings: a batch says what is missing before it begins."""

from __future__ import annotations

from importlib.util import find_spec

from medrega_edge.errors import ResourceError

EXTRA = "ray"


def require(*modules: str) -> None:
    """Raise ResourceError that names those of the modules which are not installed."""
    if missing := [module for module in modules if find_spec(module) is None]:
        install = f"pip install 'medrega-edge[{EXTRA}]'"
        raise ResourceError("cli.missing_extra", command="batch", extra=EXTRA, missing=missing, install=install)
