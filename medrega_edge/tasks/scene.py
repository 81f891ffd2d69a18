"""What a question is asked about: one package and one image, as far as its words are read by them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from medrega_edge.domain import Modality
from medrega_edge.prompts.templates import DEFAULT_PROMPTS, PromptBook
from medrega_edge.vocabulary.terminology import BilingualName, Terminology


@dataclass(frozen=True)
class Scene:
    """A package's tasks and names, and what is known of an image.

    Where the package `has_masks`, a question for an outline gets one; else it gets a box. `body_part` is that of the image,
    where it is certain: a generic word, as "tumor", stands for the findings that it can show, and that images like this one
    had in the training data (`is_unfamiliar` tells of an English name whether none had). `before` are the names of the last
    question of a chat, as one enumeration in each language: parts of a text may point back to them.
    """

    tasks: Sequence[str]
    terminology: Terminology
    modality: Modality | None = None
    prompts: PromptBook = DEFAULT_PROMPTS
    has_masks: bool = False
    body_part: Callable[[], str | None] = lambda: None
    is_unfamiliar: Callable[[str], bool] = lambda english: False
    before: BilingualName = ("", "")
