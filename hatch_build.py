"""Compile the Chinese catalogues for a wheel or an editable install; they are not in the repository."""

import runpy
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface


class CatalogueHook(BuildHookInterface):  # type: ignore[type-arg]
    """Adds the .mo files to what is built."""

    PLUGIN_NAME = "custom"

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Compile; git ignores what comes out, so that it has to be named here."""
        runpy.run_path(str(Path(self.root) / "tools" / "compile_catalogues.py"))["compile_all"](Path(self.root))
        build_data["artifacts"].append("*.mo")
