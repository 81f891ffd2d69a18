"""How much memory a cold question takes at the sizes of larger models, over the size of their packages."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from medrega_bench.performance import latency, random_packages
from medrega_edge.inference.memory import peak

Row = dict[str, Any]


def measure(names: Sequence[str], repeats: int = 1) -> list[Row]:
    """Write a package of each shape, ask it one question in a process of its own; raises RuntimeError."""
    rows = []
    for name in names:
        with TemporaryDirectory() as folder:
            package = random_packages.write_package(random_packages.named(name), Path(folder) / "package", f"random-{name}")
            whole = latency.cold(package, repeats)
            mib, predicted, most = package.total_bytes / 2**20, peak(package.manifest) / 2**20, whole["peak_mib"]["max"]
            row = {"shape": name, "package_mib": mib, "predicted_mib": predicted, **whole}
            rows.append(row | {"over_package": most / mib, "prediction_off": abs(predicted - most) / most})
    return rows
