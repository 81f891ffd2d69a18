"""What a checkpoint says of itself: its tasks, the data it saw and their terms. The exporter turns it into a model card."""

from __future__ import annotations

from collections import Counter
from importlib.metadata import version

from medrega_edge.prompts import TEMPLATES, Language
from medrega_train.records import Record


def checkpoint_facts(preset: str, records: list[Record]) -> dict[str, object]:
    """Collect the facts from the training records; written to `training.json`."""
    images = Counter(record.dataset for record in records)
    terms = {record.dataset: record.terms for record in records}
    mixed = {d for d in images if len({r.terms for r in records if r.dataset == d}) > 1}
    return {
        "name": f"medrega-edge-{preset}",
        "version": version("medrega-edge"),
        "source": f"trained from scratch by medrega-edge, preset {preset}, on {len(records)} images",
        "tasks": sorted(TEMPLATES),
        "languages": [language.value for language in Language],
        "modalities": sorted({record.modality.value for record in records if record.detectable}),
        "data_sets": [
            {"name": name, "images": count, "terms": "mixed, per image" if name in mixed else terms[name]}
            for name, count in sorted(images.items())
        ],
    }
