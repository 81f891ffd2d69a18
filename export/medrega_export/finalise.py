"""A finished package signed off: certificate, card, and the manifest that makes a folder a package.

Knows what a manifest says; knows nothing of how the files were made or measured.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from medrega_edge.images.preprocess import IMAGENET_MEAN, IMAGENET_STD
from medrega_edge.package.manifest import MANIFEST, SCHEMA_VERSION, FileEntry, Manifest, TokenSpec, VisionSpec, file_entry
from medrega_export.checkpoint.checkpoint import Checkpoint
from medrega_export.graphs import decoder, text_model, vision_graph
from medrega_export.model_card import write_card
from medrega_export.quantisation.recipe import FULL_BITS, Recipe
from medrega_export.stages import FILES, Run


def sign(run: Run, folder: Path, recipe: Recipe, signed: dict[str, Any], scale: tuple[float, ...] = ()) -> None:
    """Write certificate, card, and last the manifest; `scale` calibrates the scores of boxes."""
    checkpoint = run.checkpoint
    training = checkpoint.training
    text = json.dumps(signed, ensure_ascii=False, indent=1, allow_nan=False) + "\n"
    (folder / FILES["certificate"]).write_text(text, encoding="utf-8")
    (folder / FILES["card"]).write_text(
        write_card(training, recipe, signed, _groups(recipe, checkpoint), checkpoint.warnings), encoding="utf-8"
    )
    manifest = Manifest(
        schema_version=SCHEMA_VERSION,
        name=training.name,
        version=training.version,
        source=". ".join([training.source, *checkpoint.warnings]),
        precision=recipe.name,
        files=_entries(folder, recipe),
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
        calibration=scale,
    )
    (folder / MANIFEST).write_text(manifest.to_json(), encoding="utf-8")


def _entries(folder: Path, recipe: Recipe) -> dict[str, FileEntry]:
    """What a manifest says of the files, by role."""
    found: dict[str, FileEntry] = {}
    for role, name in FILES.items():
        found[role] = file_entry(folder / name, recipe.files.get(role, "text"))
        data = folder / f"{name}.data"
        if data.is_file():
            found[f"{role}_data"] = file_entry(data, recipe.files[role])
    return found


def _groups(recipe: Recipe, checkpoint: Checkpoint) -> str:
    """Why groups have their size; "" where nothing is grouped."""
    if recipe.bits == FULL_BITS:
        return ""
    auto_group_size, why = text_model.auto_group_size(recipe, checkpoint.config.text_config)
    return why if auto_group_size == recipe else f"asked for; {auto_group_size.group_size} would fit, for {why}"
