"""Is a structure in the image: its box decides, whatever the task and the language.

`locate` finds the box and says why it may be no proof; here its confidence becomes yes, perhaps or no.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from medrega_edge.answer import LIKELY, SURE, Answer, Region, is_doubt
from medrega_edge.domain import Language
from medrega_edge.i18n.message import Message
from medrega_edge.prompts.intent import Kind, understand
from medrega_edge.prompts.templates import Prompt
from medrega_edge.tasks.base import TaskContext, TaskResult, not_found
from medrega_edge.tasks.detection import locate
from medrega_edge.vocabulary.answers import asks_yes_or_no, is_yes
from medrega_edge.vocabulary.terminology import BilingualName

_UNCLEAR = 0.2  # confidence of the best box below which it is no more than a place to look at

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


def absence(found: Found, answer: Answer) -> list[str]:
    """Say which names have no region."""
    absent = not_found([name for name, regions in found.items() if not regions], answer.language, answer.warnings)
    return [absent] if absent else []


def presence(found: Found, answer: Answer, says_yes: bool = True) -> Derived:
    """Say which names are there, which perhaps, and which are not; `says_yes` begins with a yes what is there."""
    guesses = answer.best_guesses
    there = [shown(name, answer) for name, regions in found.items() if regions]
    sure = [name for name in there if name not in guesses]
    unsure = [name for name in there if name in guesses]
    likely = [name for name in sure if answer.best_confidence(name) < SURE]
    certain = [name for name in sure if name not in likely]
    if says_yes:
        said = Message("answer.found", names=certain), Message("answer.found_likely", names=likely)
    else:
        said = Message("answer.found_plain", names=certain), Message("answer.found_likely_plain", names=likely)
    messages = [message for message, names in zip(said, (certain, likely), strict=True) if names]
    unclear = [name for name in unsure if answer.best_confidence(name) < _UNCLEAR]
    perhaps = [name for name in unsure if name not in unclear]
    messages += [Message("answer.perhaps", names=perhaps)] if perhaps else []
    messages += [Message("answer.unclear", names=unclear)] if unclear else []
    return joined([*messages, *absence(found, answer)], answer), {
        "present": {name[0]: bool(regions) for name, regions in found.items()},
        "best_guesses": [name[0] for name in found if shown(name, answer) in unsure],
    }


def asked_structure(context: TaskContext, question: str) -> tuple[BilingualName, ...]:
    """The names of the one structure, or pair of structures, whose presence a question asks for; none for any other."""
    intent = understand(question, context.terminology, context.image_modality())
    stems = {english.removeprefix("left ").removeprefix("right ") for english, _ in intent.names}
    is_about_one = intent.kind is Kind.PRESENCE and not intent.generic and len(stems) == 1
    return intent.names if is_about_one else ()


def polar_answers(context: TaskContext, prompt: Prompt) -> dict[bool, str] | None:
    """The likeliest word for yes and for no; None where the weights do not know both."""
    answers = context.prompts.answers.get(context.language, ())
    polar = [(answer, said) for answer in answers if (said := is_yes(answer)) is not None]
    if len({said for _, said in polar}) < 2:
        return None
    candidates = context.encode_candidates(prompt, [answer for answer, _ in polar])
    log_probs = context.language_model.sequence_log_probs(context.image, prompt, candidates)
    return {
        said: max((log_prob, answer) for log_prob, (answer, mine) in zip(log_probs, polar, strict=True) if mine is said)[1]
        for said in (True, False)
    }


@dataclass(frozen=True)
class Presence:
    """Whether a name is in the image: its boxes, the confidence of the best, 0 for none, and whether that is no proof."""

    name: BilingualName
    located: TaskResult
    confidence: float
    is_doubted: bool

    @property
    def is_found(self) -> bool:
        """Whether the name is said to be there."""
        return self.confidence >= LIKELY and not self.is_doubted

    @property
    def is_perhaps(self) -> bool:
        """Whether there is a box that does not prove it."""
        return self.confidence > 0 and not self.is_found


def look_for(context: TaskContext, name: BilingualName) -> Presence:
    """Locate a name, and tell what its best box is worth."""
    located = locate(context, name)
    scores = [1.0 if each.score is None else context.confidence(name[0], each.score) for each in located.detections]
    return Presence(name, located, max(scores, default=0.0), any(map(is_doubt, located.warnings)))


def answer_presence(context: TaskContext, question: str, prompt: Prompt) -> TaskResult | None:
    """Answer a question for the presence of one structure by yes or no, from its boxes; None for any other question."""
    names = asked_structure(context, question) if asks_yes_or_no(question) else ()
    if not names or (words := polar_answers(context, prompt)) is None:
        return None
    best = max((look_for(context, name) for name in names), key=lambda one: (one.is_found, one.confidence))
    generation, _, _ = context.choose(prompt, [words[best.confidence >= LIKELY]])
    return TaskResult(
        generation.raw_text.strip(),
        warnings=best.located.warnings,
        generations=(generation, *best.located.generations),
        confidence=max(best.confidence, 1 - best.confidence),
        is_unsure=best.is_perhaps,
    )
