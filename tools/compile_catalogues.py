"""Compile the Chinese catalogues, with Babel alone: `hatch_build.py` runs this where nothing else is installed."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

from babel.messages.mofile import write_mo
from babel.messages.pofile import read_po

ROOT = Path(__file__).resolve().parents[1]
PACKAGES = {"medrega_edge": ".", "medrega_export": "export", "medrega_train": "train", "medrega_bench": "bench"}


def catalogue(package: str, root: Path = ROOT) -> Path:
    """The .po file of a package."""
    return root / PACKAGES[package] / package / "i18n" / "locale" / "zh_CN" / "LC_MESSAGES" / f"{package}.po"


def compile_all(root: Path = ROOT) -> list[Path]:
    """Write each .mo that is missing or older than its .po; return all of them. Safe in several processes at once."""
    compiled = []
    for po in (catalogue(package, root) for package in PACKAGES):
        mo = po.with_suffix(".mo")
        if not mo.is_file() or mo.stat().st_mtime_ns < po.stat().st_mtime_ns:
            with po.open("rb") as source:
                texts = read_po(source, locale="zh_CN")
            handle, temporary = tempfile.mkstemp(dir=po.parent)
            with open(handle, "wb") as target:
                write_mo(target, texts)
            os.chmod(temporary, 0o644)
            os.replace(temporary, mo)
        compiled.append(mo)
    return compiled
