"""Questions that the body part of an image answers: it is recognised from the image, the rest is anatomy.

Weights recognise the body part nearly always, and guess what organs of a system or a function are in it.
"""

from __future__ import annotations

import math
from operator import itemgetter

from medrega_edge.domain import Language, Task
from medrega_edge.inference.language_model import Generation
from medrega_edge.prompts.templates import Prompt
from medrega_edge.tasks.base import TaskContext
from medrega_edge.tasks.presence import polar_answers
from medrega_edge.vocabulary.body_parts import part_of, parts_with, question

_RELIABILITY = 0.95  # of the anatomy: an image of an abdomen may lack the kidneys
_CERTAIN = 0.9  # probability of a body part from which on it counts
_LEAST_PARTS = 3  # that weights can name, for them to recognise body parts


def answer_by_body_part(context: TaskContext, text: str, prompt: Prompt) -> tuple[Generation, float] | None:
    """Answer a question that the body part decides; None for any other, and where the weights recognise no body parts.

    Beside the generation stands the probability of the answer.
    """
    parts = parts_with(text)
    if not parts or context.terminology.find(text) or (shares := recognise_part(context)) is None:
        return None
    if (words := polar_answers(context, prompt)) is None:
        return None
    yes = 0.5 + _RELIABILITY * (math.fsum(shares.get(part, 0.0) for part in parts) - 0.5)
    generation, _, _ = context.choose(prompt, [words.likeliest[yes >= 0.5]])
    return generation, max(yes, 1 - yes)


def certain_part(context: TaskContext) -> str | None:
    """The body part of an image where it is recognised for certain."""
    part, share = max((recognise_part(context) or {}).items(), key=itemgetter(1), default=("", 0.0))
    return part if share >= _CERTAIN else None


def recognise_part(context: TaskContext) -> dict[str, float] | None:
    """Probability of each body part; None where the weights have no answers that name them."""
    named = [
        (answer, part) for answer in context.prompts.answers.get(Language.EN, ()) if (part := part_of(answer)) is not None
    ]
    if len({part for _, part in named}) < _LEAST_PARTS:
        return None
    prompt = context.prompts.prompt(Task.VQA, Language.EN, question())
    candidates = context.encode_candidates(prompt, [answer for answer, _ in named])
    log_probs = context.language_model.sequence_log_probs(context.image, prompt, candidates)
    shares: dict[str, float] = {}
    for log_prob, (_, part) in zip(log_probs, named, strict=True):
        shares[part] = shares.get(part, 0.0) + math.exp(log_prob)
    return shares
