"""A check for the extra [export], so that a command that needs it stops at once."""

from __future__ import annotations

import medrega_export
from medrega_edge.errors import ResourceError


def require_export(name: str) -> None:
    """Raise ResourceError unless this public name of medrega_export can be imported."""
    try:
        getattr(medrega_export, name)
    except ImportError:
        raise ResourceError("bench.no_extra", extra="export") from None
