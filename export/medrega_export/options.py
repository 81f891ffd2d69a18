"""The options of an export."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from medrega_edge.evaluation.gates import Gate
from medrega_export.checkpoint.published_prompts import PublishedSamples
from medrega_export.graphs.numerical_error import Thresholds
from medrega_export.quantisation.recipe import Recipe

CONTEXT = 2048  # longest sequence a package is made for; its cache is allocated at once


@dataclass(frozen=True)
class ExportOptions:
    """What to export and where to.

    `certify` holds the questions of the certificate; without them accuracy is not measured. `adapter` is the folder of a
    LoRA adapter. `samples` are the published prompts of a checkpoint that brings none of its own. `gates` are held against
    the certificate. `auto_group_size` replaces the recipe's group size by the one that fits the language model. `max_bytes`
    is the size that the package may take: units get more bits, where they help most, until it is reached. `sensitivities` is
    a file that `explain` has written for this recipe; without it `max_bytes` has them measured anew.
    """

    checkpoint: Path
    out: Path
    calibration: Path | None = None
    calibration_items: int = 128
    certify: Path | None = None
    recipe: Recipe = Recipe()
    keep_checkpoint: Path | None = None
    force: bool = False
    context: int = CONTEXT
    thresholds: Thresholds = field(default_factory=Thresholds)
    adapter: Path | None = None
    samples: PublishedSamples | None = None
    gates: tuple[Gate, ...] = ()
    auto_group_size: bool = False
    max_bytes: int | None = None
    sensitivities: Path | None = None

    @property
    def targets(self) -> tuple[Path, ...]:
        """The folders that the export writes, that of the package first."""
        return (self.out,) if self.keep_checkpoint is None else (self.out, self.keep_checkpoint)
