"""How much weights like each label of a set whatever the image shows: means over images, which a choice is freed of.

A level is the mean log-probability of a label over the images of a split, their classes not
looked at; less its level, a label is judged by what this image says for it (Zhou et al., Batch Calibration, 2024).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from medrega_bench.datasets.evaluation_set import items_of
from medrega_bench.evaluation.figures import Pair
from medrega_bench.metrics.labels import classification
from medrega_edge.domain import Language, Task
from medrega_edge.engine import EncodedImage, Engine
from medrega_edge.evaluation.questions import ONE_LABEL
from medrega_edge.evaluation.records import Record
from medrega_edge.prompts.templates import PromptBook
from medrega_edge.tasks.classification import classification_prompt

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Weighed:
    """One question: log-probabilities of its candidates, and the right one."""

    image: Path
    language: Language
    dataset: str
    candidates: tuple[str, ...]
    truth: str
    weights: Floats


def weigh(engine: Engine, records: Sequence[Record]) -> Iterator[Weighed]:
    """Weigh the candidates of every question about one class."""
    prompts = PromptBook.from_json(engine.package.text("prompts"))
    for item in items_of(records):
        question = item.question
        if question.task is Task.CLASSIFY and question.setting == ONE_LABEL:
            image = engine.open(question.image)
            weights = np.array(log_probs(engine, prompts, image, question.labels, question.language))
            yield Weighed(question.image, question.language, item.dataset, question.labels, question.truth.text, weights)


def log_probs(
    engine: Engine, prompts: PromptBook, image: EncodedImage, labels: Sequence[str], language: Language
) -> list[float]:
    """Log-probability of each label as an answer about the image, without a correction for its prior."""
    prompt = classification_prompt(prompts, labels, language)
    model = engine.language_model
    candidates = [model.encode_continuation(label, prompt.question) for label in labels]
    return model.sequence_log_probs(image, prompt, candidates)


def fit(weighed: Sequence[Weighed]) -> dict[tuple[Language, tuple[str, ...]], Floats]:
    """Mean log-probabilities for each language and label set."""
    groups: dict[tuple[Language, tuple[str, ...]], list[Floats]] = defaultdict(list)
    for one in weighed:
        groups[one.language, one.candidates].append(one.weights)
    return {key: np.mean(members, axis=0) for key, members in groups.items()}


def macro_f1(weighed: Sequence[Weighed]) -> tuple[float, float]:
    """Macro F1, mean over languages, data sets and label sets: as the weights choose, and freed of their levels.

    The levels of one half of the images are used for the other.
    """
    sides = {image: number % 2 for number, image in enumerate(dict.fromkeys(one.image for one in weighed))}
    halves = [fit([one for one in weighed if sides[one.image] == side]) for side in (0, 1)]
    groups: dict[tuple[Language, str, tuple[str, ...]], list[tuple[Pair, Pair]]] = defaultdict(list)
    for one in weighed:
        levels = halves[1 - sides[one.image]].get((one.language, one.candidates), np.zeros(len(one.weights)))
        pairs = [
            Pair(one.candidates[int(np.argmax(weights))], one.truth, one.candidates)
            for weights in (one.weights, one.weights - levels)
        ]
        groups[one.language, one.dataset, one.candidates].append((pairs[0], pairs[1]))
    before, after = (
        [classification([pair[side] for pair in mine]).values()["f1_macro"] or 0.0 for mine in groups.values()]
        for side in (0, 1)
    )
    return float(np.mean(before)), float(np.mean(after))


def as_prompts(levels: dict[tuple[Language, tuple[str, ...]], Floats]) -> dict[str, list[dict[str, float]]]:
    """As `prompts.json` holds them."""
    made: dict[str, list[dict[str, float]]] = defaultdict(list)
    for (language, candidates), values in levels.items():
        made[language.value].append({name: round(float(v), 4) for name, v in zip(candidates, values, strict=True)})
    return dict(made)
