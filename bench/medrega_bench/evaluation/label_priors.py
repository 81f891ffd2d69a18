"""Label priors: how likely the weights find each label of a set, whatever the image shows.

A prior is the mean log-probability of a label over the images of a split; their classes do not matter. Classification
subtracts it, so that the image decides (Zhou et al., Batch Calibration, 2024).
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
from medrega_edge.domain import Language
from medrega_edge.engine import EncodedImage, Engine
from medrega_edge.evaluation.questions import ONE_LABEL
from medrega_edge.evaluation.records import Record
from medrega_edge.evaluation.runner import open_images
from medrega_edge.prompts.templates import PromptBook
from medrega_edge.tasks.classification import classification_prompt

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class CandidateScores:
    """One question about one class: the log-probability of each candidate, and the right one."""

    image: Path
    language: Language
    dataset: str
    candidates: tuple[str, ...]
    truth: str
    log_probs: Floats


def score_candidates(engine: Engine, records: Sequence[Record]) -> Iterator[CandidateScores]:
    """Measure the candidates of every question about one class."""
    prompts = PromptBook.from_json(engine.package.text("prompts"))
    items = [item for item in items_of(records) if item.question.setting == ONE_LABEL]
    for item, (question, image) in zip(items, open_images(engine, (item.question for item in items)), strict=True):
        scores = np.array(log_probs(engine, prompts, image, question.labels, question.language))
        yield CandidateScores(question.image, question.language, item.dataset, question.labels, question.truth.text, scores)


def log_probs(
    engine: Engine, prompts: PromptBook, image: EncodedImage, labels: Sequence[str], language: Language
) -> list[float]:
    """Log-probability of each label as an answer about the image, without a correction for its prior."""
    prompt = classification_prompt(prompts, labels, language)
    model = engine.language_model
    candidates = [model.encode_continuation(label, prompt.question) for label in labels]
    return model.sequence_log_probs(image, prompt, candidates)


def fit(scores: Sequence[CandidateScores]) -> dict[tuple[Language, tuple[str, ...]], Floats]:
    """Return the priors of each label set in each language."""
    groups: dict[tuple[Language, tuple[str, ...]], list[Floats]] = defaultdict(list)
    for one in scores:
        groups[one.language, one.candidates].append(one.log_probs)
    return {key: np.mean(members, axis=0) for key, members in groups.items()}


def macro_f1(scores: Sequence[CandidateScores]) -> tuple[float, float]:
    """Macro F1, mean over languages, data sets and label sets: without priors, and with them subtracted.

    The priors of one half of the images are used for the other.
    """
    sides = {image: number % 2 for number, image in enumerate(dict.fromkeys(one.image for one in scores))}
    halves = [fit([one for one in scores if sides[one.image] == side]) for side in (0, 1)]
    groups: dict[tuple[Language, str, tuple[str, ...]], list[tuple[Pair, Pair]]] = defaultdict(list)
    for one in scores:
        priors = halves[1 - sides[one.image]].get((one.language, one.candidates), np.zeros(len(one.log_probs)))
        pairs = [
            Pair(one.candidates[int(np.argmax(values))], one.truth, one.candidates)
            for values in (one.log_probs, one.log_probs - priors)
        ]
        groups[one.language, one.dataset, one.candidates].append((pairs[0], pairs[1]))
    before, after = (
        [classification([pair[side] for pair in mine]).values()["f1_macro"] or 0.0 for mine in groups.values()]
        for side in (0, 1)
    )
    return float(np.mean(before)), float(np.mean(after))


def as_prompts(priors: dict[tuple[Language, tuple[str, ...]], Floats]) -> dict[str, list[dict[str, float]]]:
    """Return priors as `prompts.json` holds them."""
    made: dict[str, list[dict[str, float]]] = defaultdict(list)
    for (language, candidates), values in priors.items():
        made[language.value].append({name: round(float(v), 4) for name, v in zip(candidates, values, strict=True)})
    return dict(made)
