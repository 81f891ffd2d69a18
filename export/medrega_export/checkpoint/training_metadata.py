"""The prompts and training facts of a checkpoint: its prompts.json and training.json, or for a foreign one what is known."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from medrega_edge.domain import Language, Modality, Task
from medrega_edge.errors import PackageError, UsageError
from medrega_edge.i18n.message import Message
from medrega_edge.prompts.templates import PromptBook
from medrega_export.checkpoint import published_prompts
from medrega_export.checkpoint.published_prompts import PublishedSamples


@dataclass(frozen=True)
class RegionThresholds:
    """How boxes are read from a region head: the least probability of a centre, and the greatest IoU of two boxes."""

    several: float
    overlap: float


@dataclass(frozen=True)
class TrainingFacts:
    """The content of `training.json`; `card` is the model card in Markdown, empty where there is none.

    `region_head` is None where the checkpoint has no region head.
    """

    name: str
    version: str
    source: str
    tasks: tuple[str, ...]
    languages: tuple[str, ...]
    modalities: tuple[str, ...]
    card: str
    data_sets: tuple[tuple[str, int, str], ...]  # name, images, terms of use
    region_head: RegionThresholds | None = None

    @classmethod
    def from_json(cls, text: str) -> TrainingFacts:
        """Read `training.json`; raises UsageError that names the problem. Further keys are the trainer's own."""
        try:
            data = json.loads(text)
            words: dict[str, Any] = {key: data[key] for key in ("name", "version", "source")} | {
                "card": data.get("card", "")
            }
            lists: dict[str, Any] = {key: tuple(data[key]) for key in ("tasks", "languages", "modalities")}
            sets = tuple((str(d["name"]), int(d["images"]), str(d["terms"])) for d in data.get("data_sets", ()))
            regions = data.get("region_head")
            thresholds = None if regions is None else RegionThresholds(float(regions["several"]), float(regions["overlap"]))
        except (ValueError, KeyError, TypeError) as error:
            raise UsageError("export.training_unusable", problem=repr(error)) from None
        for key, kinds in (("tasks", Task), ("languages", Language), ("modalities", Modality)):
            if not lists[key]:
                raise UsageError("export.training_value_missing", key=key, known=list(kinds))
            for value in lists[key]:
                if value not in set(kinds):
                    raise UsageError("export.training_value_unknown", key=key, value=str(value), known=list(kinds))
        if not all(isinstance(value, str) for value in words.values()):
            raise UsageError("export.training_not_text")
        for key, value in asdict(thresholds).items() if thresholds else ():
            if not 0 < value < 1:
                raise UsageError("export.training_not_a_share", key=f"region_head.{key}", value=value)
        return cls(**words, **lists, data_sets=sets, region_head=thresholds)


def read_metadata(
    folder: Path, config: dict[str, Any], tokenizer_json: bytes, samples: PublishedSamples | None
) -> tuple[PromptBook, TrainingFacts, tuple[Message, ...]]:
    """Read prompts and training facts of a checkpoint, and warnings about them; raises UsageError."""
    own = [name for name in ("prompts.json", "training.json") if (folder / name).is_file()]
    if not own:
        prompts, warnings = published_prompts.read_prompts(config, tokenizer_json, samples)
        return prompts, _foreign(folder, prompts), (*warnings, *_tiles(config))
    if len(own) == 1:
        missing = "training.json" if own == ["prompts.json"] else "prompts.json"
        raise UsageError("export.metadata_missing", checkpoint=folder.name, missing=missing, present=own[0])
    if samples is not None:
        raise UsageError("export.has_own_prompts", checkpoint=folder.name)
    training = TrainingFacts.from_json((folder / "training.json").read_text(encoding="utf-8"))
    try:
        prompts = PromptBook.from_json((folder / "prompts.json").read_text(encoding="utf-8"))
    except PackageError as error:
        raise UsageError("export.prompts_unusable", problem=error.message) from None
    for task in training.tasks:
        absent = [language for language in training.languages if language not in prompts.templates.get(task, {})]
        if absent:
            raise UsageError("export.no_template", task=task, language=absent[0])
    return prompts, training, ()


def _foreign(folder: Path, prompts: PromptBook) -> TrainingFacts:
    """The facts about a checkpoint that brings no training.json."""
    name = folder.resolve().name
    languages = [language.value for language in Language if any(language in by for by in prompts.templates.values())]
    return TrainingFacts(
        name=name,
        version="0",
        source=f"the checkpoint '{name}', trained elsewhere",
        tasks=tuple(task.value for task in Task if task in prompts.templates),
        languages=tuple(languages),
        modalities=tuple(Modality),
        card="",
        data_sets=(),
    )


def _tiles(config: dict[str, Any]) -> tuple[Message, ...]:
    return (Message("export.trained_on_tiles"),) if config.get("dynamic_image_size") else ()
