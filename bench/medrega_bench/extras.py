"""What other extras bring, refused in the first second where it is not installed. Knows names of modules only."""

from __future__ import annotations

import importlib

from medrega_edge.errors import ResourceError


def need(module: str, extra: str) -> None:
    """Refuse work that has to import a module which only another extra makes importable; raises ResourceError."""
    try:
        importlib.import_module(module)
    except ImportError:
        raise ResourceError(
            f"This needs an extra that is not installed; install it with: pip install 'medrega-edge[{extra}]'."
        ) from None
