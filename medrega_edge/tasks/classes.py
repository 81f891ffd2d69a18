"""The class of an image in a label set: decided once, whatever the language and the task."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from medrega_edge.domain import Language, Task
from medrega_edge.inference.language_model import Generation, Wording
from medrega_edge.tasks.base import TaskContext
from medrega_edge.vocabulary.label_sets import LABEL_SETS, LabelSet
from medrega_edge.vocabulary.presence import class_from


class Decision(NamedTuple):
    """The chosen labels of a set by their index, with their probability, and the generation that chose them."""

    chosen: Sequence[int]
    probability: float
    generation: Generation


# Probability of a class from which on it may be stated: of 514 chosen on val, 87 % are right from here on, 70 % from 0.7 to
# 0.8 (2026-11-29).
CERTAIN_CLASS = 0.8


def decide(context: TaskContext, label_set: LabelSet) -> Decision:
    """Choose among the labels of a set; a label is at most as likely as the one of a wider set that holds it.

    Raises UsageError where the weights were not trained for it.
    """
    decision = _chosen(context, label_set)
    if not label_set.wider:
        return decision
    whole = _chosen(context, wider := LABEL_SETS[label_set.wider])
    best = wider.names(Language.EN)[whole.chosen[0]]
    is_held = all(label_set.wider_labels[index] == best for index in decision.chosen)
    return decision._replace(probability=min(decision.probability, whole.probability if is_held else 1 - whole.probability))


def _chosen(context: TaskContext, label_set: LabelSet) -> Decision:
    """Choose among the labels of one set.

    Both languages choose together where their log-priors are known, else the English question does. Raises UsageError where
    the weights were not trained for it.
    """
    templates = context.prompts.templates.get(Task.CLASSIFY, {})
    other = Language.EN if context.language is Language.ZH else Language.ZH
    languages = [each for each in (context.language, other) if each in templates]
    wordings = [_wording(context, label_set, each) for each in languages]
    if wordings and all(wording.log_priors for wording in wordings):
        generation, best, probability = context.language_model.choose_by_likelihood(context.image, wordings)
        return Decision([best], probability, generation)
    language = Language.EN if Language.EN in templates else context.language
    names = label_set.names(language)
    question = context.prompts.classify_question(names, language, label_set.multiple)
    prompt = context.prompts.prompt(Task.CLASSIFY, language, question, names)
    generation, chosen, probability = context.choose(prompt, names, label_set.multiple)
    return Decision(chosen, probability, generation)


def _wording(context: TaskContext, label_set: LabelSet, language: Language) -> Wording:
    names = label_set.names(language)
    question = context.prompts.classify_question(names, language, label_set.multiple)
    prompt = context.prompts.prompt(Task.CLASSIFY, language, question, names)
    priors = [] if label_set.multiple else context.prompts.label_priors_of(names, language)
    return Wording(prompt, context.encode_candidates(prompt, names), priors)


def unfamiliar_classes(context: TaskContext, label_set: LabelSet, chosen: Sequence[int]) -> list[str]:
    """Return the chosen classes that no image like this one had in the training data, in the language of the answer."""
    shown = label_set.names(context.language)
    return [shown[index] for index in chosen if context.is_unfamiliar_name(label_set.labels[index][0])]


def unproven_classes(context: TaskContext, label_set: LabelSet, decision: Decision) -> list[str]:
    """Return the chosen classes that val images do not prove at such a probability, in the language of the answer."""
    shown, modality = label_set.names(context.language), context.image_modality()
    least = {index: class_from(modality, label_set.labels[index][0]) for index in decision.chosen}
    return [shown[index] for index in decision.chosen if decision.probability < least[index]]


def is_certain(context: TaskContext, label_set: LabelSet, decision: Decision) -> bool:
    """Whether a decision is stated, and not "perhaps"."""
    is_doubted = unfamiliar_classes(context, label_set, decision.chosen) or unproven_classes(context, label_set, decision)
    return decision.probability >= CERTAIN_CLASS and not is_doubted


def other_class(context: TaskContext, english: str) -> tuple[str, ...]:
    """Return the names of the class that an image has instead of this one, in the language of the answer.

    Empty where it has this class, where its class is uncertain, and where the name is that of no class in such images.
    """
    sets = [each for each in LABEL_SETS.values() if english in each.names(Language.EN)]
    if not sets or Task.CLASSIFY not in context.prompts.templates:
        return ()
    modality = context.image_modality()
    for label_set in (each for each in sets if modality in each.modalities):
        decision = decide(context, label_set)
        is_other = label_set.names(Language.EN).index(english) not in decision.chosen
        if is_other and is_certain(context, label_set, decision):
            return tuple(label_set.names(context.language)[index] for index in decision.chosen)
    return ()
