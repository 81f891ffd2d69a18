"""Detection: locate what is named.

Names that the weights were trained on are always asked for in the program's English wording, and shown in the language of
the answer, so a structure has the same box in both languages.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from medrega_edge.answer import LIKELY, SURE, Answer
from medrega_edge.domain import Language, Modality, Task
from medrega_edge.errors import UsageError
from medrega_edge.i18n.message import Message
from medrega_edge.inference.grammars import NamedRegion
from medrega_edge.prompts.intent import understand, unknown_parts
from medrega_edge.prompts.region_markup import REF_OPEN, parse
from medrega_edge.prompts.templates import ABSENT_ANSWER, DETECT_QUESTION, sentence_of_regions
from medrega_edge.tasks.base import (
    TaskContext,
    TaskRequest,
    TaskResult,
    box_scores,
    check_text,
    check_words,
    combine,
    generation_warnings,
    not_found,
    scored,
)
from medrega_edge.tasks.classes import other_class
from medrega_edge.vocabulary.body_parts import can_hold, has_home, shown_part
from medrega_edge.vocabulary.label_kinds import wider_label
from medrega_edge.vocabulary.label_sets import modality_name
from medrega_edge.vocabulary.presence import certain_from, floor, is_known
from medrega_edge.vocabulary.terminology import BilingualName

_LETTERS = re.compile(r"[^\W\d_]")


@dataclass(frozen=True)
class Detect(TaskRequest):
    """Locate structures and lesions.

    Each of `names` is a name, several names, or a question that holds them, in English or Chinese. The package's
    terminology resolves them; weights without a terminology are asked in these words.
    """

    names: Sequence[str]

    def __post_init__(self) -> None:
        """Refuse names without a word: UsageError. A single text counts as one name."""
        object.__setattr__(self, "names", (self.names,) if isinstance(self.names, str) else tuple(self.names))
        check_text(self.words)
        check_words(self.words)

    @property
    def task(self) -> Task:
        """Kind of task."""
        return Task.DETECT

    @property
    def words(self) -> str:
        """The names as one enumeration."""
        return ", ".join(self.names)

    def run(self, context: TaskContext) -> TaskResult:
        """Locate one structure after the other; raises UsageError where no name is known."""
        text = context.clean(self.words)
        check_words(text)
        if not context.terminology.labels:
            return _detect_freely(context, text)
        names: dict[BilingualName, None] = {}
        typos: dict[str, str] = {}
        for each in self.names:
            found, slips = _names_in(context, context.clean(each))
            names |= dict.fromkeys(found)
            typos |= slips
        if not names:
            raise UsageError("task.no_known_name")
        results = [locate(context, name) for name in names]
        present = list(dict.fromkeys(detection.label for result in results for detection in result.detections))
        sentences = [sentence_of_regions(present, context.language)] if present else []
        sentences += [result.text for result in results if not result.detections]
        combined = combine(results, ("" if context.language is Language.ZH else " ").join(sentences))
        notes = [Message("answer.typo", typed=typed, meant=meant) for typed, meant in typos.items()]
        if _LETTERS.search(context.terminology.mask(text)):
            notes += _unknown_part_warnings(unknown_parts(text, context.terminology))
        searched = tuple(name[context.language is Language.ZH] for name in names)
        return replace(combined, warnings=(*notes, *combined.warnings), searched=searched)

    def finish(self, answer: Answer) -> Answer:
        """Say which names are probably here, and which are best guesses."""
        guesses = answer.best_guesses
        names = list(dict.fromkeys(region.label for region in answer.regions))
        whole = sentence_of_regions(names, answer.language) if names else ""
        likely = [name for name in names if name not in guesses]
        probable = [name for name in likely if answer.best_confidence(name) < SURE]
        sure = [name for name in likely if name not in probable]
        some = [_some_guessed(answer, name) for name in likely]
        if not (guesses or probable or any(some)) or not answer.text.startswith(whole):
            return answer
        sentences = [sentence_of_regions(sure, answer.language)] if sure else []
        sentences += [Message("answer.probably", names=probable).text(answer.language)] if probable else []
        sentences += [message.text(answer.language) for message in some if message]
        sentences += [Message("answer.best_guess", names=guesses).text(answer.language)] if guesses else []
        sentences += [rest] if (rest := answer.text.removeprefix(whole).strip()) else []
        return replace(answer, text=("" if answer.language is Language.ZH else " ").join(sentences))


def _some_guessed(answer: Answer, label: str) -> Message | None:
    """Say how many of the boxes of a name are best guesses; None unless most are."""
    boxes = [region for region in answer.regions if region.label == label]
    guesses = sum(map(answer.is_best_guess, boxes))
    return (
        Message("answer.some_guessed", name=label, count=len(boxes), guesses=guesses) if 2 * guesses > len(boxes) else None
    )


def _names_in(context: TaskContext, text: str) -> tuple[Sequence[BilingualName], Mapping[str, str]]:
    """Return the names in a text, and the slips in them with what they mean."""
    names = context.terminology.find(text)
    if not _LETTERS.search(context.terminology.mask(text)):
        return names, {}
    intent = understand(text, context.terminology, context.image_modality())  # a slip, or a generic word, as "tumor"
    return (names, {}) if names and not intent.typos else (intent.names, intent.typos)


def locate(context: TaskContext, name: BilingualName) -> TaskResult:
    """Locate one structure whose name is known; the text is empty, or says that it is not found.

    A name is not found where such an image cannot show it, and where its best box is below the floor. A structure that is
    known together with others, too, as the heart with the mediastinum, gets their box where it has none of its own, and
    where only the wider name was learned from images of this kind.
    """
    english, label = name[0], name[context.language is Language.ZH]
    modality = context.image_modality()
    shared = wider_label(english, modality)
    wider = next((each for each in context.terminology.labels if each[0] == shared), None)
    if wider is None:
        return _locate(context, english, label)
    learned_wider_only = modality is not None and is_known(modality, wider[0]) and not is_known(modality, english)
    attempts: tuple[TaskResult, ...] = ()
    for attempt in (wider[0], english) if learned_wider_only else (english, wider[0]):
        located = _locate(context, attempt, label)
        attempts = (*attempts, located)
        if located.detections:
            break
    else:
        return attempts[learned_wider_only]  # the name that was asked for is not found
    generations = tuple(generation for each in attempts for generation in each.generations)
    told = Message("task.wider_box", name=label, wider=wider[context.language is Language.ZH])
    warnings = located.warnings if attempt == english else (*located.warnings, told)
    return replace(located, warnings=warnings, generations=generations)


def _locate(context: TaskContext, english: str, label: str) -> TaskResult:
    def absent_text(warnings: Sequence[Message]) -> str:
        return not_found([(label if context.language is Language.EN else english, label)], context.language, warnings)

    if (impossible := why_not(context, english, label)) is not None:
        return TaskResult(absent_text((impossible,)), warnings=(impossible,))
    prompt = context.prompts.prompt(Task.DETECT, Language.EN, DETECT_QUESTION[Language.EN].format(x=english))
    model = context.language_model
    absent = model.encode_continuation(ABSENT_ANSWER[Language.EN].format(name=english), prompt.question)[0]
    encoded = model.encode_continuation(english, REF_OPEN)
    generation = context.generate(prompt, NamedRegion(model.vocabulary, encoded, absent, limit=context.max_region_tokens))
    parsed = parse(generation.raw_text)
    if not parsed.regions:
        cut = generation.finish == "length"  # before a box was whole: that is no absence
        warnings = (*generation_warnings(generation), *([] if cut else _unlearned(context, english, label)))
        return TaskResult("" if cut else absent_text(warnings), warnings=warnings, generations=(generation,))
    presence = generation.steps[0].probability
    scores = box_scores(generation, 1.0 if presence is None else presence)
    boxes = [box for region in parsed.regions for box in region.boxes]
    detections = tuple(scored(label, boxes, scores))
    warnings = generation_warnings(generation, parsed.problems)
    best = max((1.0 if each.score is None else context.confidence(english, each.score) for each in detections), default=0.0)
    if best < floor():
        unlearned = _unlearned(context, english, label)
        warnings = (*warnings, *(unlearned or [Message("task.below_floor", name=label, score=best)]))
        return TaskResult(absent_text(warnings), warnings=warnings, generations=(generation,))
    doubts = _doubts(context, english, label, best)
    return TaskResult("", detections, warnings=(*warnings, *doubts), generations=(generation,))


def _doubts(context: TaskContext, english: str, label: str, best: float) -> list[Message]:
    """Say why a box is no proof that a name is there: the class of the image, or what such boxes are worth."""
    if instead := other_class(context, english):
        return [Message("task.other_class", name=label, classes=instead)]
    if context.is_unfamiliar():
        return [Message("task.unfamiliar_image")]
    modality = context.image_modality()
    if modality is None:
        return []
    if not is_known(modality, english):
        return [Message("task.unknown_in_kind", name=label, modality=modality_name(modality, context.language))]
    if best < LIKELY:
        return []
    if context.is_unfamiliar_name(english):
        return [Message("task.unfamiliar_name", name=label)]
    return [Message("task.where_not_whether", name=label)] if best < certain_from(modality, english) else []


def _unlearned(context: TaskContext, english: str, label: str) -> list[Message]:
    """Say that no such image had a name in the training data, so that it is not found tells nothing."""
    modality = context.image_modality()
    if modality is None or not any(is_known(other, english) for other in Modality):
        return []
    if is_known(modality, english):
        is_unlearned = context.is_unfamiliar_name(english)
        return [Message("task.absence_unfamiliar", name=label)] if is_unlearned else []
    return [Message("task.absence_unlearned", name=label, modality=modality_name(modality, context.language))]


def why_not(context: TaskContext, english: str, label: str) -> Message | None:
    """Say that an image of this kind, or of this body part, cannot show a label; None where it can.

    The kind is that of the file and the one that is recognised for certain: one of them has to show it.
    """
    modalities = list(context.certain_modalities()) if context.prompts.label_modalities else []
    if modalities and not any(context.prompts.can_show(modality, english) for modality in modalities):
        return Message("task.impossible_name", label=label, modality=modality_name(modalities[0], context.language))
    if not has_home(english) or (part := context.certain_part()) is None or can_hold(part, english):
        return None
    return Message("task.impossible_in_part", label=label, part=shown_part(part, context.language))


def _detect_freely(context: TaskContext, question: str) -> TaskResult:
    """Locate with weights that have no list of names: the question goes to them as it is."""
    result = context.generate_regions(context.prompts.prompt(Task.DETECT, context.language, question))
    labels = list(dict.fromkeys(detection.label for detection in result.detections))
    if labels and result.text.strip(" ,，、.。") in ("", *labels, ", ".join(labels)):
        return replace(result, text=sentence_of_regions(labels, context.language))
    return result


def _unknown_part_warnings(parts: Iterable[int]) -> list[Message]:
    """Number the parts that name nothing, without their words, which may identify a patient."""
    return [Message("task.unknown_part", part=part) for part in parts]
