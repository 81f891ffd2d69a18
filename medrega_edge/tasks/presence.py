"""Is a structure in the image, yes or no: the language model's words and the certainty of a box decide together.

Weights that were shown boxes only where somebody drew them put a box on most organs that an image of that kind can hold.
Its certainty tells more than the words do, and both tell more than either.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from medrega_edge.answer import Answer, Region
from medrega_edge.domain import Language
from medrega_edge.i18n.message import Message
from medrega_edge.inference.confidence import logit
from medrega_edge.inference.language_model import Generation
from medrega_edge.prompts.intent import Kind, understand
from medrega_edge.prompts.templates import PresenceWeights, Prompt
from medrega_edge.tasks.base import TaskContext
from medrega_edge.tasks.detection import locate
from medrega_edge.vocabulary.answers import is_yes
from medrega_edge.vocabulary.terminology import BilingualName

_LEAST = 1e-3  # probabilities nearer to 0 or 1 count as this


@dataclass(frozen=True)
class Evidence:
    """Probability of yes among the words for yes and no, and of the most certain box; 0 where none was found."""

    words: float
    box: float

    @property
    def log_odds(self) -> tuple[float, float]:
        """Log-odds of both, finite for 0 and 1 too."""
        return logit(self.words, _LEAST), logit(self.box, _LEAST)


Found = dict[BilingualName, list[Region]]
Derived = tuple[str, dict[str, Any]]


def of_name(answer: Answer, name: BilingualName) -> list[Region]:
    """Return the regions of a name, the most certain first."""
    label = name[answer.language is Language.ZH]
    regions = [region for region in answer.regions if region.label == label]
    return sorted(regions, key=lambda region: -(region.confidence or 0))


def shown(name: BilingualName, answer: Answer) -> str:
    """Return a name in the language of an answer."""
    return name[answer.language is Language.ZH]


def joined(messages: Sequence[Message | str], answer: Answer) -> str:
    """Return messages and sentences as one text in the language of an answer."""
    texts = [message.text(answer.language) if isinstance(message, Message) else message for message in messages]
    return ("" if answer.language is Language.ZH else " ").join(texts)


def absence(found: Found, answer: Answer) -> list[Message]:
    """Say which names have no region."""
    absent = [shown(name, answer) for name, regions in found.items() if not regions]
    return [Message("answer.not_found", names=absent)] if absent else []


def presence(found: Found, answer: Answer) -> Derived:
    """Say which names are there, which perhaps, and which are not."""
    guesses = answer.best_guesses
    there = [shown(name, answer) for name, regions in found.items() if regions]
    sure = [name for name in there if name not in guesses]
    unsure = [name for name in there if name in guesses]
    messages = [Message("answer.found", names=sure)] if sure else []
    messages += [Message("answer.perhaps", names=unsure)] if unsure else []
    return joined([*messages, *absence(found, answer)], answer), {
        "present": {name[0]: bool(regions) for name, regions in found.items()}
    }


def asked_structure(context: TaskContext, question: str) -> tuple[BilingualName, ...]:
    """The names of the one structure, or pair of structures, whose presence a question asks for; none for any other."""
    intent = understand(question, context.terminology, context.image_modality())
    stems = {english.removeprefix("left ").removeprefix("right ") for english, _ in intent.names}
    is_about_one = intent.kind is Kind.PRESENCE and not intent.generic and len(stems) == 1
    return intent.names if is_about_one else ()


@dataclass(frozen=True)
class Polar:
    """Probability of yes among the words for yes and no, and the likeliest word for each."""

    yes: float
    likeliest: dict[bool, str]


def polar_answers(context: TaskContext, prompt: Prompt) -> Polar | None:
    """What the words say to a question for yes or no; None where the weights know no such words."""
    answers = context.prompts.answers.get(context.language, ())
    polar = [(answer, said) for answer in answers if (said := is_yes(answer)) is not None]
    if len({said for _, said in polar}) < 2:
        return None
    candidates = context.encode_candidates(prompt, [answer for answer, _ in polar])
    log_probs = context.language_model.sequence_log_probs(context.image, prompt, candidates)
    likeliest = {
        said: max((log_prob, answer) for log_prob, (answer, mine) in zip(log_probs, polar, strict=True) if mine is said)[1]
        for said in (True, False)
    }
    yes = math.fsum(math.exp(log_prob) for log_prob, (_, said) in zip(log_probs, polar, strict=True) if said)
    return Polar(yes, likeliest)


def gather(context: TaskContext, prompt: Prompt, names: Sequence[BilingualName]) -> tuple[Evidence, dict[bool, str]] | None:
    """What speaks for a structure, and the likeliest words for yes and for no; None where the weights know no such words."""
    if (words := polar_answers(context, prompt)) is None:
        return None
    boxes = [detection.score or 0.0 for name in names for detection in locate(context, name).detections]
    return Evidence(words.yes, max(boxes, default=0.0)), words.likeliest


def probability(evidence: Evidence, weights: PresenceWeights) -> float:
    """Probability that the structure is in the image."""
    words, box = evidence.log_odds
    return 1 / (1 + math.exp(-(weights.words * words + weights.box * box + weights.bias)))


def answer_presence(context: TaskContext, question: str, prompt: Prompt) -> tuple[Generation, float] | None:
    """Answer a question for the presence of one structure; None for any other, and where the package has no weights for it.

    Beside the generation stands the probability of the answer.
    """
    if context.prompts.presence is None or not (names := asked_structure(context, question)):
        return None
    if (gathered := gather(context, prompt, names)) is None:
        return None
    evidence, words = gathered
    yes = probability(evidence, context.prompts.presence)
    generation, _, _ = context.choose(prompt, [words[yes >= 0.5]])
    return generation, max(yes, 1 - yes)
