"""Why a question has no answer: its names are unknown, or no image tells what it asks."""

from __future__ import annotations

from medrega_edge.domain import Language, language_of
from medrega_edge.errors import UsageError
from medrega_edge.prompts.intent import Intent, unknown_word
from medrega_edge.tasks.scene import Scene
from medrega_edge.vocabulary.generic_words import may_be_finding
from medrega_edge.vocabulary.label_sets import modality_name
from medrega_edge.vocabulary.presence import is_known
from medrega_edge.vocabulary.sites import findings_at
from medrega_edge.vocabulary.typos import nearest
from medrega_edge.vocabulary.usual_labels import usual

_OFFERED = 12  # names in a refusal


def unknown_name(text: str, intent: Intent, scene: Scene) -> UsageError:
    """Return the refusal of a question whose names are unknown: the word, the nearest names, and what is offered.

    Of a finding in a structure, "liver mets", the findings there are offered first.
    """
    language = language_of(text)
    column = language is Language.ZH
    separator = "、" if column else ", "
    generic = () if intent.unknown and intent.names else intent.generic
    word = separator.join(dict.fromkeys((*generic, *intent.unknown))) or unknown_word(text)
    is_of_field = intent.generic or intent.unknown  # "uterus" is no slip of "gluteus"
    near = nearest(word, [label[column] for label in scene.terminology.labels]) if word and not is_of_field else []
    if not word:
        return UsageError("task.no_known_name")
    if near:
        return UsageError("task.unknown_name", word=word, near=near)
    if scene.modality is None:
        return UsageError("task.unknown_name_only", word=word)
    kind = modality_name(scene.modality, language)
    usually = usual(scene.terminology.labels, scene.modality, scene.body_part())
    alike = [label for label in usually if not scene.is_unfamiliar(label[0])] or usually
    of_field = may_be_finding(word)
    here = findings_at([english for english, _ in scene.terminology.find(text)]) if of_field else set()
    nearer = [label for label in scene.terminology.labels if label[0] in here and is_known(scene.modality, label[0])]
    offered = [label[column] for label in dict.fromkeys((*nearer, *alike))][:_OFFERED]
    return UsageError("task.unknown_name_here", word=word, kind=kind, offered=offered)


def impossible(reason: str | None) -> UsageError:
    """Return the refusal of what no image tells; `reason` is that of the intent."""
    match reason:
        case "age" | "identity":
            return UsageError("task.impossible_patient")
        case "function":
            return UsageError("task.impossible_function")
        case "outline":
            return UsageError("task.impossible_outline")
        case "part":
            return UsageError("task.impossible_part")
        case "relation":
            return UsageError("task.impossible_relation")
        case "brightness":
            return UsageError("task.impossible_brightness")
        case "score":
            return UsageError("task.impossible_score")
        case "future" | "care":
            return UsageError("task.impossible_care")
        case "time":
            return UsageError("task.impossible_time")
        case _:
            return UsageError("task.impossible")
