"""Classification: choose among labels for the whole image."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from medrega_edge.domain import Language, Modality, Task
from medrega_edge.errors import UsageError
from medrega_edge.i18n.message import Message
from medrega_edge.prompts.templates import LABEL_SEPARATOR, MODALITY_QUESTION, Prompt, PromptBook
from medrega_edge.tasks.base import Detection, TaskContext, TaskRequest, TaskResult, check_text, generation_warnings
from medrega_edge.tasks.chain_of_thought import find_regions, with_regions
from medrega_edge.tasks.classes import CERTAIN_CLASS, decide, unfamiliar_classes, unproven_classes
from medrega_edge.tasks.reporting import choose_body_part
from medrega_edge.vocabulary.body_parts import holds_any, shown_part
from medrega_edge.vocabulary.label_sets import LABEL_SETS, LabelSet, modality_name


@dataclass(frozen=True)
class Classify(TaskRequest):
    """Choose one of `labels`, or with `multiple` one or more; `labels` may be the name of a label set, as "skin".

    With `regional_chain_of_thought` the regions that `question` names, else those of a report, are located first. They stand
    in the prompt, except for a label set that the weights know: an image has one class in it, however it is asked for.
    """

    labels: Sequence[str] | str
    multiple: bool = False
    regional_chain_of_thought: bool = False
    question: str = ""

    def __post_init__(self) -> None:
        """Refuse an unknown set and fewer than two labels: UsageError. A repeated label counts once."""
        check_text(self.question)
        if not isinstance(self.labels, str):
            object.__setattr__(self, "labels", _distinct(self.labels))
        elif self.labels not in LABEL_SETS:
            raise UsageError("task.unknown_label_set", name=self.labels, sets=list(LABEL_SETS))

    @property
    def task(self) -> Task:
        """Kind of task."""
        return Task.CLASSIFY

    @property
    def words(self) -> str:
        """The question; without one, the labels unless they are those of a set."""
        return self.question or ("" if isinstance(self.labels, str) else ", ".join(self.labels))

    def run(self, context: TaskContext) -> TaskResult:
        """Choose; raises UsageError where the labels are alike without their special tokens."""
        labels, modalities = self._candidates(context)
        first = TaskResult("")
        if self.regional_chain_of_thought:
            first = find_regions(context, context.clean(self.question))
        unproven: list[str] = []
        if label_set := self._whole_set(context, labels):
            labels = label_set.names(context.language)
            decision = decide(context, label_set)
            chosen, probability, generation = decision
            unproven = unproven_classes(context, label_set, decision) if probability >= CERTAIN_CLASS else []
        elif (whole := self._set_of_some(context, labels)) is not None:
            return _choose_of_some(context, whole, labels)
        else:
            multiple = self.multiple or (isinstance(self.labels, str) and LABEL_SETS[self.labels].multiple)
            prompt = classification_prompt(context.prompts, labels, context.language, multiple, first.detections)
            generation, chosen, probability = context.choose(prompt, labels, multiple)
        names = [labels[index] for index in chosen]
        trained = modalities is not None
        warnings = [] if trained else [Message("task.untrained_labels")]
        warnings += [*first.warnings, *generation_warnings(generation)]
        if modalities and (modality := context.image_modality()) and modality not in modalities:
            labels_for = [modality_name(each, context.language) for each in modalities]
            shown = modality_name(modality, context.language)
            warnings.append(Message("task.labels_of_other_modality", modalities=labels_for, modality=shown))
        elif (
            (parts := label_set.parts if label_set else ())
            and (part := context.certain_part())
            and not holds_any(part, parts)
        ):
            warnings.append(Message("task.labels_of_other_part", part=shown_part(part, context.language)))
        elif label_set and (unfamiliar := unfamiliar_classes(context, label_set, chosen)):
            warnings.append(Message("task.unfamiliar_class", names=unfamiliar))
        elif unproven:
            warnings.append(Message("task.unproven_class", names=unproven))
        return TaskResult(
            LABEL_SEPARATOR.join(names),
            first.detections,
            tuple((name, probability) for name in names),
            tuple(warnings),
            (*first.generations, generation),
            certifiable=trained and not self.regional_chain_of_thought,
        )

    def _whole_set(self, context: TaskContext, labels: Sequence[str]) -> LabelSet | None:
        """Return the set that the labels are all of, where the weights know it; its class does not hang on the regions."""
        if not context.terminology.labels:
            return None
        return next(
            (
                each
                for each in LABEL_SETS.values()
                if each.multiple >= self.multiple and any(set(labels) == set(each.names(one)) for one in Language)
            ),
            None,
        )

    def _set_of_some(self, context: TaskContext, labels: Sequence[str]) -> tuple[LabelSet, Language] | None:
        """Return the set that the labels are some of, if the weights know it for such an image, and the labels' language."""
        if not context.terminology.labels or self.multiple or self.regional_chain_of_thought:
            return None
        modality = context.image_modality()
        return next(
            (
                (each, one)
                for each in LABEL_SETS.values()
                for one in Language
                if not each.multiple and modality in each.modalities and set(labels) < set(each.names(one))
            ),
            None,
        )

    def _candidates(self, context: TaskContext) -> tuple[tuple[str, ...], tuple[Modality, ...] | None]:
        """Return the labels, and the modalities that they are for: empty where unknown, None where never trained."""
        if isinstance(self.labels, str):
            label_set = LABEL_SETS[self.labels]
            return label_set.names(context.language), label_set.modalities
        labels = _distinct(map(context.clean, self.labels))
        for label_set in LABEL_SETS.values():
            if any(set(labels) <= set(label_set.names(language)) for language in Language):
                return labels, label_set.modalities
        return labels, None if context.terminology.labels else ()  # weights without a terminology: their labels are unknown


def _choose_of_some(context: TaskContext, whole: tuple[LabelSet, Language], labels: Sequence[str]) -> TaskResult:
    """Choose among some labels of a set, by the whole of it: where one fits best that is not offered, none is stated."""
    label_set, language = whole
    chosen, probability, generation = decide(context, label_set)
    best = label_set.names(language)[chosen[0]]
    warnings = generation_warnings(generation)
    if best in labels:
        return TaskResult(best, labels=((best, probability),), warnings=warnings, generations=(generation,))
    prompt = classification_prompt(context.prompts, labels, language)
    guessed, (first, *_), among = context.choose(prompt, labels)
    least = min(among, 1 - probability)
    left_out = Message("task.label_not_offered", name=label_set.names(context.language)[chosen[0]])
    return TaskResult(
        labels[first],
        labels=((labels[first], least),),
        warnings=(*warnings, left_out),
        generations=(generation, guessed),
        certifiable=False,
        confidence=least,
        is_unsure=True,
    )


@dataclass(frozen=True)
class ClassifyByPart(TaskRequest):
    """Choose a class out of the one among several label sets that is for the body part in the image."""

    sets: tuple[str, ...]
    question: str
    regional_chain_of_thought: bool = False

    @property
    def task(self) -> Task:
        """Kind of task."""
        return Task.CLASSIFY

    @property
    def words(self) -> str:
        """The question."""
        return self.question

    def run(self, context: TaskContext) -> TaskResult:
        """Choose; raises UsageError where no set, or more than one, is for the body part."""
        modality = context.image_modality()
        fitting: Sequence[str] = ()
        if modality and context.prompts.modalities:
            _, part, _ = choose_body_part(context, modality)
            fitting = [each for each in self.sets if part in LABEL_SETS[each].parts]
        if len(fitting) != 1:
            raise UsageError("task.no_fitting_set", sets=list(fitting or self.sets))
        by_set = Classify(fitting[0], False, self.regional_chain_of_thought, self.question)
        return by_set.run(context)


def _distinct(labels: Iterable[str]) -> tuple[str, ...]:
    """Return the labels, each once; raises UsageError for fewer than two, and for an empty one."""
    distinct = tuple(dict.fromkeys(labels))
    if len(distinct) < 2 or not all(label.strip() for label in distinct):
        raise UsageError("task.too_few_labels")
    return distinct


def classification_prompt(
    prompts: PromptBook,
    labels: Sequence[str],
    language: Language,
    multiple: bool = False,
    regions: Sequence[Detection] = (),
) -> Prompt:
    """Return the prompt that asks to choose among labels; raises UsageError where the weights were not trained for it."""
    question = prompts.classify_question(labels, language, multiple)
    return prompts.prompt(Task.CLASSIFY, language, with_regions(question, regions, language), labels)


@dataclass(frozen=True)
class RecognisedModality:
    """What the weights take an image for; `modality` is None for no medical image."""

    modality: Modality | None
    confidence: float


def recognise_modality(context: TaskContext) -> RecognisedModality | None:
    """Classify the modality of an image; None where the weights were not trained to."""
    modalities = context.prompts.modalities
    if not modalities:
        return None
    names = list(modalities)
    prompt = context.prompts.prompt(Task.CLASSIFY, Language.EN, MODALITY_QUESTION, names)
    _, chosen, probability = context.choose(prompt, names)
    name = modalities[names[chosen[0]]]
    return RecognisedModality(Modality(name) if name else None, probability)
