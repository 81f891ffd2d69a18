"""Calibration material: questions with truth as sequences of embeddings, the image's in the place of its tokens.

Images are read as the runtime reads them. All of this stays in memory: texts and pictures could be recovered from it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import torch

from medrega_edge.errors import UsageError
from medrega_edge.evaluation.bootstrap import SEED
from medrega_edge.evaluation.questions import Question
from medrega_edge.images.preprocess import preprocess
from medrega_export.graphs.vision import run_exact
from medrega_export.questions import picture, spell

if TYPE_CHECKING:
    from pathlib import Path

    from medrega_edge.boxes import Geometry
    from medrega_export.checkpoint.checkpoint import Checkpoint

NOISE_IMAGES, NOISE_TOKENS = 4, 24
MEASURED = 8  # images and sequences on which stages are measured


@dataclass(frozen=True)
class CalibrationData:
    """Sequences of embeddings `[S, hidden]`; of the first images, pixels `[3, size, size]` and embeddings.

    `tower_pixels` are all images of the questions, where the tower is calibrated on them.
    """

    pixels: tuple[npt.NDArray[np.float32], ...]
    images: tuple[torch.Tensor, ...]
    samples: tuple[torch.Tensor, ...]
    tower_pixels: tuple[npt.NDArray[np.float32], ...] = ()

    @property
    def measured(self) -> tuple[torch.Tensor, ...]:
        """The sequences on which stages are measured."""
        return self.samples[:MEASURED]


def from_questions(checkpoint: Checkpoint, chosen: Sequence[Question], context: int) -> CalibrationData:
    """Embed questions; raises UsageError for one that is longer than the decoder's context."""
    numbers = checkpoint.preprocessing
    slots = [checkpoint.image_token] * checkpoint.image_tokens
    seen: dict[Path, tuple[int, Geometry]] = {}
    pixels: list[npt.NDArray[np.float32]] = []
    sequences: list[tuple[list[int], int]] = []
    for question in chosen:
        if question.image not in seen:
            values, geometry = preprocess(picture(question), numbers)
            seen[question.image] = (len(pixels), geometry)
            pixels.append(values[0])
        number, geometry = seen[question.image]
        ids = spell(question, geometry, checkpoint.prompts, checkpoint.tokenizer, slots)
        if len(ids) > context:
            raise UsageError("export.question_too_long", question=question.id, tokens=len(ids), context=context)
        sequences.append((ids, number))
    images = run_exact(checkpoint, pixels)
    samples = _embed(checkpoint, [(ids, images[number]) for ids, number in sequences])
    tower_pixels = tuple(pixels) if checkpoint.efficientnet else ()
    return CalibrationData(tuple(pixels[:MEASURED]), tuple(images[:MEASURED]), samples, tower_pixels)


def from_noise(checkpoint: Checkpoint) -> CalibrationData:
    """Seeded noise in place of questions, for measuring a package that needs no calibration."""
    generator = np.random.default_rng(SEED)
    shape = (NOISE_IMAGES, 3, checkpoint.image_size, checkpoint.image_size)
    pixels = generator.standard_normal(shape).astype(np.float32)
    slots = [checkpoint.image_token] * checkpoint.image_tokens
    images = run_exact(checkpoint, list(pixels))
    sequences = []
    for image in images:
        words = generator.integers(0, checkpoint.config.text_config.vocab_size, NOISE_TOKENS)
        sequences.append((slots + [int(i) for i in words if i != checkpoint.image_token], image))
    return CalibrationData(tuple(pixels), tuple(images), _embed(checkpoint, sequences))


def _embed(checkpoint: Checkpoint, sequences: Sequence[tuple[list[int], torch.Tensor]]) -> tuple[torch.Tensor, ...]:
    """Look up the embeddings of ids, each read once, and put the image in the place of its tokens."""
    known = sorted({i for ids, _ in sequences for i in ids})
    table = checkpoint.weights["embed_tokens.weight"].pick([slice(i, i + 1) for i in known])
    row = {token: number for number, token in enumerate(known)}
    samples = []
    for ids, image in sequences:
        embeddings = table[[row[i] for i in ids]]
        embeddings[torch.tensor(ids) == checkpoint.image_token] = image
        samples.append(embeddings)
    return tuple(samples)
