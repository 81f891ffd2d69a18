"""Questions that the body part of an image answers: it is recognised from the image, the rest is anatomy.

Weights recognise the body part nearly always, and guess what organs of a system or a function are in it.
"""

from __future__ import annotations

import math
from functools import lru_cache
from operator import itemgetter

from medrega_edge.domain import Language, Task
from medrega_edge.inference.language_model import Generation
from medrega_edge.prompts.templates import Prompt
from medrega_edge.tasks.base import TaskContext
from medrega_edge.tasks.presence import polar_answers
from medrega_edge.tasks.reporting import choose_body_part
from medrega_edge.vocabulary.body_parts import group_of, other_part, part_of, parts_with, question
from medrega_edge.vocabulary.terminology import Terminology

_RELIABILITY = 0.95  # of the anatomy: an image of an abdomen may lack the kidneys
_CERTAIN = 0.9  # probability of a body part from which on it counts
_LEAST_PARTS = 3  # that answers can name, for them to tell body parts apart


def deciding_parts(text: str, terminology: Terminology) -> frozenset[str]:
    """Return the body parts that make the answer to a question yes; empty for any other, and for one about a name."""
    parts = parts_with(text)
    return parts if parts and not terminology.find(text) else frozenset()


def answer_by_body_part(context: TaskContext, text: str, prompt: Prompt) -> tuple[Generation, float] | None:
    """Answer a question that the body part decides; None for any other, and where the weights recognise no body part.

    Beside the generation stands the probability of the answer.
    """
    parts = deciding_parts(text, context.terminology)
    if not parts or (shares := recognise_part(context)) is None:
        return None
    if (words := polar_answers(context, prompt)) is None:
        return None
    yes = 0.5 + _RELIABILITY * (math.fsum(shares.get(part, 0.0) for part in parts) - 0.5)
    generation, _, _ = context.choose(prompt, [words[yes >= 0.5]])
    return generation, max(yes, 1 - yes)


def certain_part(context: TaskContext) -> str | None:
    """Return the body part of an image where it is recognised for certain: one that `can_hold` knows.

    Where a report of the image names another one than the answers to questions, none is certain.
    """
    if (reported := _reported_part(context)) is None:
        return None
    name, probability = reported
    if name and (part := other_part(name)):
        return part if probability >= _CERTAIN else None
    part, share = max((_share_of(context, name, probability) or {}).items(), key=itemgetter(1), default=("", 0.0))
    is_agreed = name is None or group_of(name) in (part, None)
    return part if share >= _CERTAIN and is_agreed else None


def recognise_part(context: TaskContext) -> dict[str, float] | None:
    """Return the probability of chest, abdomen, pelvis, head and neck; None where the image shows none, or none is known.

    Reports know more body parts than answers to questions: these take a heart for an abdomen. Among the five, the answers
    are right more often (closed questions of SLAKE's validation split: 81.8 against 80.1 %).
    """
    reported = _reported_part(context)
    return _share_of(context, *reported) if reported else None


def _reported_part(context: TaskContext) -> tuple[str | None, float] | None:
    modality = context.image_modality()
    if modality is None or not context.prompts.modalities or not context.terminology.labels:
        return None
    _, reported, probability = choose_body_part(context, modality)
    return reported, probability


def _share_of(context: TaskContext, reported: str | None, probability: float) -> dict[str, float] | None:
    if reported and (part := part_of(reported, "organs")):
        return {part: probability}
    return _answered_part(context) if reported and part_of(reported, "reported_as") else None


def _answered_part(context: TaskContext) -> dict[str, float] | None:
    named = _named_parts(context.prompts.answers.get(Language.EN, ()))
    if len({part for _, part in named}) < _LEAST_PARTS:
        return None
    prompt = context.prompts.prompt(Task.VQA, Language.EN, question())
    candidates = context.encode_candidates(prompt, [answer for answer, _ in named])
    log_probs = context.language_model.sequence_log_probs(context.image, prompt, candidates)
    shares: dict[str, float] = {}
    for log_prob, (_, part) in zip(log_probs, named, strict=True):
        shares[part] = shares.get(part, 0.0) + math.exp(log_prob)
    return shares


@lru_cache(maxsize=4)
def _named_parts(answers: tuple[str, ...]) -> list[tuple[str, str]]:
    """Return the known answers that name a body part, each with it."""
    return [(answer, part) for answer in answers if (part := part_of(answer, "answers"))]
