"""What a checkpoint says of its prompts and its training; of a foreign one, what is known.

Knows prompts.json and training.json, which this project lays beside its weights. Knows neither weights nor tokenizer.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from medrega_edge.domain import Language, Modality, Task
from medrega_edge.errors import PackageError, UsageError
from medrega_edge.prompts.templates import PromptBook
from medrega_export.checkpoint import published_prompts
from medrega_export.checkpoint.published_prompts import Samples


@dataclass(frozen=True)
class Training:
    """What `training.json` says of a checkpoint; `card` is its model card in Markdown, empty where there is none."""

    name: str
    version: str
    source: str
    tasks: tuple[str, ...]
    languages: tuple[str, ...]
    modalities: tuple[str, ...]
    card: str
    data_sets: tuple[tuple[str, int, str], ...]  # name, images, terms of use

    @classmethod
    def from_json(cls, text: str) -> Training:
        """Read `training.json`; raises UsageError that names what is wrong. Further keys are the trainer's own."""
        try:
            data = json.loads(text)
            words: dict[str, Any] = {key: data[key] for key in ("name", "version", "source")} | {
                "card": data.get("card", "")
            }
            lists: dict[str, Any] = {key: tuple(data[key]) for key in ("tasks", "languages", "modalities")}
            sets = tuple((str(d["name"]), int(d["images"]), str(d["terms"])) for d in data.get("data_sets", ()))
        except (ValueError, KeyError, TypeError) as error:
            raise UsageError(f"training.json of the checkpoint cannot be used ({error!r}); write it anew.") from None
        for key, kinds in (("tasks", Task), ("languages", Language), ("modalities", Modality)):
            unknown = [value for value in lists[key] if value not in set(kinds)]
            if unknown or not lists[key]:
                problem = f"holds the unknown value '{unknown[0]}'" if unknown else "is empty"
                raise UsageError(f"'{key}' in training.json {problem}; known: {', '.join(kinds)}.")
        if not all(isinstance(value, str) for value in words.values()):
            raise UsageError("name, version, source and card in training.json have to be text.")
        return cls(**words, **lists, data_sets=sets)


def read_words(
    folder: Path, config: dict[str, Any], tokenizer_json: bytes, samples: Samples | None
) -> tuple[PromptBook, Training, tuple[str, ...]]:
    """Read what a checkpoint says of its prompts and its training, or, where it is foreign, what is known of them."""
    own = [name for name in ("prompts.json", "training.json") if (folder / name).is_file()]
    if not own:
        prompts, warnings = published_prompts.read(config, tokenizer_json, samples)
        return prompts, _foreign(folder, prompts), (*warnings, *_tiles(config))
    if len(own) == 1:
        missing = "training.json" if own == ["prompts.json"] else "prompts.json"
        raise UsageError(f"The checkpoint '{folder.name}' has no {missing}; it has to lie beside {own[0]}.")
    if samples is not None:
        raise UsageError(f"The checkpoint '{folder.name}' brings its prompts.json; leave --prompts out.")
    training = Training.from_json((folder / "training.json").read_text(encoding="utf-8"))
    try:
        prompts = PromptBook.from_json((folder / "prompts.json").read_text(encoding="utf-8"))
    except PackageError as error:
        raise UsageError("export.prompts_unusable", problem=error.message) from None
    for task in training.tasks:
        absent = [language for language in training.languages if language not in prompts.templates.get(task, {})]
        if absent:
            raise UsageError(f"prompts.json has no template for '{task}' in '{absent[0]}', which training.json names.")
    return prompts, training, ()


def _foreign(folder: Path, prompts: PromptBook) -> Training:
    """What can be said of a checkpoint that says nothing of itself."""
    name = folder.resolve().name
    languages = [one.value for one in Language if any(one in known for known in prompts.templates.values())]
    return Training(
        name=name,
        version="0",
        source=f"the checkpoint '{name}', trained elsewhere",
        tasks=tuple(task.value for task in Task if task in prompts.templates),
        languages=tuple(languages),
        modalities=tuple(Modality),
        card="",
        data_sets=(),
    )


def _tiles(config: dict[str, Any]) -> tuple[str, ...]:
    if not config.get("dynamic_image_size"):
        return ()
    return ("The checkpoint was trained on several tiles of an image; the runtime shows it one, and loses detail",)
