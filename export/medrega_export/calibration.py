"""Questions with truth become embeddings with the image in them: what GPTQ calibrates on and gates measure on.

Knows how image embeddings take the place of image tokens. Reads images through `medrega_edge`, as the runtime does.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import torch

from medrega_edge.errors import UsageError
from medrega_edge.images import read_image
from medrega_edge.preprocess import Preprocessing, preprocess
from medrega_export import questions as q
from medrega_export.gptq import Sample
from medrega_export.vision import VisionStage, run_torch

if TYPE_CHECKING:
    from medrega_export.checkpoint import Checkpoint

NOISE_IMAGES, NOISE_TOKENS, NOISE_SEED = 4, 24, 20261123


@dataclass(frozen=True)
class Material:
    """Prepared images `[n, 3, size, size]`, each once, and the sequences about them."""

    pixels: npt.NDArray[np.float32]
    samples: tuple[Sample, ...]


def from_questions(checkpoint: Checkpoint, stage: VisionStage, chosen: Sequence[q.Question], context: int) -> Material:
    """Embed questions; raises UsageError for one that is longer than the decoder's context."""
    numbers = Preprocessing(checkpoint.image_size)
    pixels, seen, samples = [], {}, []
    for question in chosen:
        if question.image not in seen:
            values, geometry = preprocess(read_image(question.image), numbers)
            seen[question.image] = (torch.from_numpy(run_torch(stage, values)[0]), geometry)
            pixels.append(values)
        image, geometry = seen[question.image]
        slots = [checkpoint.image_token] * checkpoint.image_tokens
        ids = q.spell(question, geometry, checkpoint.prompts, checkpoint.tokenizer, slots)
        if len(ids) > context:
            raise UsageError(f"Question '{question.id}' has {len(ids)} tokens with its answer; the context is {context}.")
        samples.append(_embed(checkpoint, ids, image))
    return Material(np.concatenate(pixels), tuple(samples))


def from_noise(checkpoint: Checkpoint, stage: VisionStage) -> Material:
    """Seeded noise in place of questions, for measuring a package that needs no calibration."""
    generator = np.random.default_rng(NOISE_SEED)
    shape = (NOISE_IMAGES, 3, checkpoint.image_size, checkpoint.image_size)
    pixels = generator.standard_normal(shape).astype(np.float32)
    slots = [checkpoint.image_token] * checkpoint.image_tokens
    samples = []
    for image in run_torch(stage, pixels):
        words = generator.integers(0, checkpoint.model.config.text_config.vocab_size, NOISE_TOKENS)
        ids = slots + [int(i) for i in words if i != checkpoint.image_token]
        samples.append(_embed(checkpoint, ids, torch.from_numpy(image)))
    return Material(pixels, tuple(samples))


def _embed(checkpoint: Checkpoint, ids: list[int], image: torch.Tensor) -> Sample:
    tokens = torch.tensor(ids)
    with torch.no_grad():
        embeddings = checkpoint.model.get_input_embeddings()(tokens).clone()
        embeddings[tokens == checkpoint.image_token] = image
    return Sample(tokens, embeddings)
