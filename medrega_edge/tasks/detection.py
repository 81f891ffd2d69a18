"""Detection: locate what is named.

Names that the weights were trained on are always asked for in the program's English wording, and shown in the language of
the answer, so a structure has the same box in both languages.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from medrega_edge.answer import Answer
from medrega_edge.domain import Language, Modality, Task
from medrega_edge.errors import UsageError
from medrega_edge.i18n.message import Message
from medrega_edge.inference.grammars import NamedRegion
from medrega_edge.prompts.intent import understand
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
    scored,
)
from medrega_edge.tasks.classes import other_class
from medrega_edge.vocabulary.terminology import BilingualName


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
        names = context.terminology.find(text)
        if not names:  # a slip, or a generic word, as "tumor"
            names = list(understand(text, context.terminology, context.image_modality()).names)
        if not names:
            raise UsageError("task.no_known_name")
        results = [locate(context, name) for name in names]
        present = list(dict.fromkeys(detection.label for result in results for detection in result.detections))
        sentences = [sentence_of_regions(present, context.language)] if present else []
        sentences += [result.text for result in results if not result.detections]
        combined = combine(results, ("" if context.language is Language.ZH else " ").join(sentences))
        unknown = _unknown_part_warnings(context.terminology.unknown_parts(text))
        searched = tuple(name[context.language is Language.ZH] for name in names)
        return replace(combined, warnings=(*unknown, *combined.warnings), searched=searched)

    def finish(self, answer: Answer) -> Answer:
        """Say which names are best guesses."""
        guesses = answer.best_guesses
        names = list(dict.fromkeys(region.label for region in answer.regions))
        whole = sentence_of_regions(names, answer.language) if names else ""
        if not guesses or not answer.text.startswith(whole):
            return answer
        sure = [name for name in names if name not in guesses]
        sentences = [sentence_of_regions(sure, answer.language)] if sure else []
        sentences.append(Message("answer.best_guess", names=guesses).text(answer.language))
        sentences += [rest] if (rest := answer.text.removeprefix(whole).strip()) else []
        return replace(answer, text=("" if answer.language is Language.ZH else " ").join(sentences))


def locate(context: TaskContext, name: BilingualName) -> TaskResult:
    """Locate one structure whose name is known; the text is empty, or says that it is absent."""
    english, label = name[0], name[context.language is Language.ZH]
    if (impossible := _impossible(context, english)) is not None:
        warning = Message("task.impossible_name", label=label, modality=impossible.value)
        return TaskResult(ABSENT_ANSWER[context.language].format(name=label), warnings=(warning,))
    prompt = context.prompts.prompt(Task.DETECT, Language.EN, DETECT_QUESTION[Language.EN].format(x=english))
    model = context.language_model
    absent = model.encode_continuation(ABSENT_ANSWER[Language.EN].format(name=english), prompt.question)[0]
    encoded = model.encode_continuation(english, REF_OPEN)
    generation = context.generate(prompt, NamedRegion(model.vocabulary, encoded, absent, limit=context.max_region_tokens))
    parsed = parse(generation.raw_text)
    if not parsed.regions:
        cut = generation.finish == "length"  # before a box was whole: that is no absence
        text = "" if cut else ABSENT_ANSWER[context.language].format(name=label)
        return TaskResult(text, warnings=generation_warnings(generation), generations=(generation,))
    presence = generation.steps[0].probability
    scores = box_scores(generation, 1.0 if presence is None else presence)
    boxes = [box for region in parsed.regions for box in region.boxes]
    warnings = generation_warnings(generation, parsed.problems)
    if instead := other_class(context, english):
        warnings = (*warnings, Message("task.other_class", name=label, classes=instead))
    return TaskResult("", tuple(scored(label, boxes, scores)), warnings=warnings, generations=(generation,))


def _impossible(context: TaskContext, english: str) -> Modality | None:
    """Return the image's modality where neither it, nor another one that the image may be of, can show a label."""
    if not context.prompts.label_modalities:
        return None
    modalities = list(context.certain_modalities())
    can_show = any(context.prompts.can_show(modality, english) for modality in modalities)
    return modalities[0] if modalities and not can_show else None


def _detect_freely(context: TaskContext, question: str) -> TaskResult:
    """Locate with weights that have no list of names: the question goes to them as it is."""
    result = context.generate_regions(context.prompts.prompt(Task.DETECT, context.language, question))
    labels = list(dict.fromkeys(detection.label for detection in result.detections))
    if labels and result.text.strip(" ,，、.。") in ("", *labels, ", ".join(labels)):
        return replace(result, text=sentence_of_regions(labels, context.language))
    return result


def _unknown_part_warnings(parts: Sequence[int]) -> list[Message]:
    """Number the parts that name nothing, without their words, which may identify a patient."""
    return [Message("task.unknown_part", part=part) for part in parts]
