"""The last files of a package: certificate, card, and the manifest that makes a folder a package."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from medrega_edge.package.manifest import (
    DATA,
    FILE_NAMES,
    MANIFEST,
    MASK_HEAD,
    MASK_HEAD_FILE,
    PREFILL,
    PREFILL_FILE,
    REGION_HEAD,
    REGION_HEAD_FILE,
    REGION_SCHEMA_VERSION,
    SCHEMA_VERSION,
    FileEntry,
    Manifest,
    MaskSpec,
    RegionSpec,
    TokenSpec,
    VisionSpec,
    file_entry,
)
from medrega_export.certificate import Fitted
from medrega_export.checkpoint import mask_head
from medrega_export.checkpoint.checkpoint import Checkpoint
from medrega_export.graphs import decoder, mask_graph, region_graphs, stage_writer, text_model
from medrega_export.model_card import write_card
from medrega_export.quantisation.recipe import Recipe
from medrega_export.stages import Run

MASK_PRECISION = "fp16 weights, computed in fp32"
MASK_CARD = (
    "Mask head: an EfficientNet-Lite2 tower that joins its maps, trained on the true masks of {count} images of the "
    "training split, in boxes that err as the region head's do. It makes a mask of a box; it is not told the name of "
    "what is in it."
)


def mask_card(facts: mask_head.MaskFacts) -> str:
    """Sentences of the card about the mask head."""
    return MASK_CARD.format(count=facts.trained_on)


def mask_spec(facts: mask_head.MaskFacts) -> MaskSpec:
    """Names and numbers of the mask head."""
    return MaskSpec(
        pixels=stage_writer.INPUT,
        logits=mask_graph.LOGITS,
        side=mask_head.SIDE,
        places=mask_head.PLACES,
        margin=mask_head.MARGIN,
        calibration=facts.calibration,
        wrong=facts.wrong,
    )


def describe_files(folder: Path, recipe: Recipe, checkpoint: Checkpoint) -> dict[str, FileEntry]:
    """Return the manifest's entries of the files that `stages.assemble` has written, by role."""
    entries: dict[str, FileEntry] = {}
    precisions = {REGION_HEAD: "fp32", MASK_HEAD: MASK_PRECISION, **recipe.files}
    if checkpoint.efficientnet:
        precisions["vision"] = precisions["vision"].replace("dynamic", "static")
    names = {**FILE_NAMES, PREFILL: PREFILL_FILE, REGION_HEAD: REGION_HEAD_FILE, MASK_HEAD: MASK_HEAD_FILE}
    for role, name in names.items():
        if (folder / name).is_file() and role not in ("certificate", "card"):
            entries[role] = file_entry(folder / name, precisions.get(role, "text"))
            data = folder / f"{name}.data"
            if data.is_file():
                entries[role + DATA] = file_entry(data, precisions[role])
    return entries


def finalise(
    run: Run,
    folder: Path,
    recipe: Recipe,
    files: Mapping[str, FileEntry],
    certificate: dict[str, Any],
    fitted: Fitted = Fitted(),
) -> None:
    """Write certificate, card, and last the manifest, which makes the folder a package.

    `files` are the files that are there already, by role. `fitted` goes into the manifest.
    """
    checkpoint = run.checkpoint
    training, preprocessing, regions = checkpoint.training, checkpoint.preprocessing, _regions(checkpoint)
    text = json.dumps(certificate, ensure_ascii=False, indent=1, allow_nan=False) + "\n"
    (folder / FILE_NAMES["certificate"]).write_text(text, encoding="utf-8")
    (folder / FILE_NAMES["card"]).write_text(
        write_card(training, recipe, certificate, _groups(recipe, checkpoint), checkpoint.warnings, _parts(checkpoint)),
        encoding="utf-8",
    )
    manifest = Manifest(
        schema_version=REGION_SCHEMA_VERSION if regions else SCHEMA_VERSION,
        name=training.name,
        version=training.version,
        source=". ".join([training.source, *map(str, checkpoint.warnings)]),
        precision=recipe.name,
        files={**files, **{role: file_entry(folder / FILE_NAMES[role], "text") for role in ("certificate", "card")}},
        vision=VisionSpec(
            input=stage_writer.INPUT,
            output=stage_writer.OUTPUT,
            image_size=preprocessing.image_size,
            mean=preprocessing.mean,
            std=preprocessing.std,
            tokens=checkpoint.image_tokens,
            fit=preprocessing.fit,
        ),
        decoder=decoder.specification(run.shape),
        tokens=TokenSpec(image=checkpoint.image_token, end=checkpoint.end_tokens),
        tasks=training.tasks,
        languages=training.languages,
        modalities=training.modalities,
        **vars(fitted),
        regions=regions,
        masks=mask_spec(checkpoint.mask_facts) if checkpoint.mask_weights else None,
    )
    (folder / MANIFEST).write_text(manifest.to_json(), encoding="utf-8")


def _parts(checkpoint: Checkpoint) -> list[str]:
    """Sentences of the card about a tower that is no InternViT, about the region head, and about the mask head."""
    tower, head = checkpoint.efficientnet, checkpoint.region_head
    masks = [mask_card(checkpoint.mask_facts)] if checkpoint.mask_weights else []
    if tower is None:
        return masks
    name, tokens = f"EfficientNet-{tower.variant.capitalize()}", checkpoint.image_tokens
    sentences = [f"Vision tower: {name}, {tower.size} px, {tokens} image tokens."]
    if head:
        bins = tower.sides[0]
        sentences.append(f"Region head: it reads boxes from the maps of the tower, in {bins} x {bins} places, in one pass.")
    return [*sentences, *masks]


def _regions(checkpoint: Checkpoint) -> RegionSpec | None:
    """Names and numbers of the region head, where there is one."""
    tower, thresholds = checkpoint.efficientnet, checkpoint.training.region_head
    if tower is None or thresholds is None:
        return None
    return RegionSpec(
        places=region_graphs.PLACES,
        fine=region_graphs.FINE,
        tokens=region_graphs.TOKENS,
        query=region_graphs.QUERY,
        edges=region_graphs.EDGES_OUTPUT,
        presence=region_graphs.PRESENCE,
        centres=region_graphs.CENTRES,
        distances=region_graphs.DISTANCES,
        bins=tower.sides[0],
        several=thresholds.several,
        overlap=thresholds.overlap,
    )


def _groups(recipe: Recipe, checkpoint: Checkpoint) -> str:
    """The reason for the group size; "" where nothing is grouped."""
    if not recipe.is_quantised:
        return ""
    group, reason = text_model.auto_group_size(recipe, checkpoint.config.text_config)
    return str(reason) if group == recipe.group_size else f"asked for; {group} would fit, for {reason}"
