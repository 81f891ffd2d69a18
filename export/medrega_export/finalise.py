"""The last files of a package: certificate, card, and the manifest that makes a folder a package."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from medrega_edge.images.preprocess import IMAGENET_MEAN, IMAGENET_STD
from medrega_edge.package.manifest import (
    FILE_NAMES,
    MANIFEST,
    SCHEMA_VERSION,
    FileEntry,
    Manifest,
    TokenSpec,
    VisionSpec,
    file_entry,
)
from medrega_export.checkpoint.checkpoint import Checkpoint
from medrega_export.graphs import decoder, text_model, vision_graph
from medrega_export.model_card import write_card
from medrega_export.quantisation.recipe import Recipe
from medrega_export.stages import Run


def describe_files(folder: Path, recipe: Recipe) -> dict[str, FileEntry]:
    """Return the manifest's entries of the files that `stages.assemble` has written, by role."""
    entries: dict[str, FileEntry] = {}
    for role, name in FILE_NAMES.items():
        if (folder / name).is_file() and role not in ("certificate", "card"):
            entries[role] = file_entry(folder / name, recipe.files.get(role, "text"))
            data = folder / f"{name}.data"
            if data.is_file():
                entries[f"{role}_data"] = file_entry(data, recipe.files[role])
    return entries


def finalise(
    run: Run,
    folder: Path,
    recipe: Recipe,
    files: Mapping[str, FileEntry],
    certificate: dict[str, Any],
    calibration: tuple[float, ...] = (),
) -> None:
    """Write certificate, card, and last the manifest, which makes the folder a package.

    `files` are the files that are there already, by role. `calibration` is slope and offset for the scores of boxes.
    """
    checkpoint = run.checkpoint
    training = checkpoint.training
    text = json.dumps(certificate, ensure_ascii=False, indent=1, allow_nan=False) + "\n"
    (folder / FILE_NAMES["certificate"]).write_text(text, encoding="utf-8")
    (folder / FILE_NAMES["card"]).write_text(
        write_card(training, recipe, certificate, _groups(recipe, checkpoint), checkpoint.warnings), encoding="utf-8"
    )
    manifest = Manifest(
        schema_version=SCHEMA_VERSION,
        name=training.name,
        version=training.version,
        source=". ".join([training.source, *map(str, checkpoint.warnings)]),
        precision=recipe.name,
        files={**files, **{role: file_entry(folder / FILE_NAMES[role], "text") for role in ("certificate", "card")}},
        vision=VisionSpec(
            input=vision_graph.INPUT,
            output=vision_graph.OUTPUT,
            image_size=checkpoint.image_size,
            mean=IMAGENET_MEAN,
            std=IMAGENET_STD,
            tokens=checkpoint.image_tokens,
        ),
        decoder=decoder.specification(run.shape),
        tokens=TokenSpec(image=checkpoint.image_token, end=checkpoint.end_tokens),
        tasks=training.tasks,
        languages=training.languages,
        modalities=training.modalities,
        calibration=calibration,
    )
    (folder / MANIFEST).write_text(manifest.to_json(), encoding="utf-8")


def _groups(recipe: Recipe, checkpoint: Checkpoint) -> str:
    """The reason for the group size; "" where nothing is grouped."""
    if not recipe.is_quantised:
        return ""
    group, reason = text_model.auto_group_size(recipe, checkpoint.config.text_config)
    return str(reason) if group == recipe.group_size else f"asked for; {group} would fit, for {reason}"
