"""No core files: a crash must not write an image to a disk."""

from __future__ import annotations

from contextlib import suppress


def forbid_core_dumps() -> None:
    """Keep this process, and those that it starts, from writing a core file."""
    with suppress(ImportError):  # a system without this module writes no core files
        import resource

        resource.setrlimit(resource.RLIMIT_CORE, (0, resource.getrlimit(resource.RLIMIT_CORE)[1]))
