"""The names that a question means and does not say: by "it", by generic words, by exceptions, in this image."""

from __future__ import annotations

import re
from dataclasses import replace

from medrega_edge.domain import Language, Modality, language_of
from medrega_edge.errors import UsageError
from medrega_edge.prompts.intent import Intent, Kind, names_of_words, understand
from medrega_edge.prompts.intent.naming import excluded, without_side
from medrega_edge.prompts.intent.phrases import pattern
from medrega_edge.tasks.bounds import compares_numbers
from medrega_edge.tasks.refusals import unknown_name
from medrega_edge.tasks.scene import Scene
from medrega_edge.vocabulary.body_parts import can_hold
from medrega_edge.vocabulary.generic_words import generic_key, generic_labels
from medrega_edge.vocabulary.label_kinds import is_finding
from medrega_edge.vocabulary.label_sets import candidate_sets, label_set_of, names_class
from medrega_edge.vocabulary.plain_text import simplified
from medrega_edge.vocabulary.presence import is_known
from medrega_edge.vocabulary.sites import findings_at
from medrega_edge.vocabulary.terminology import BilingualName
from medrega_edge.vocabulary.wording import names_cancer, superlative

_ABNORMAL = re.compile(r"\babnormal|异常", re.IGNORECASE)
_OTHER_THAN = re.compile(
    r"\b(?:besides|other than|apart from|except|but not|without)\b|除了?|以外|之外|除外|不要|不含|不包括"
)
_OF_A_LESION = (Kind.MEASURE, Kind.SIDE)
_ONE_LESION = re.compile(  # "how large is it?": of the lesion, where the image is all that was shown
    r"\b(?:it|this)\b|^\W*how (?:big|large|wide|long|many [cm]m(?: across)?)\W*$"
    r"|^\W*(?:what(?: ?'?s| is) )?(?:the )?size(?: in [cm]m)?\W*$"
    r"|^\W*(?:它|这个)?(?:有|大小)?多[大少长宽](?:一个)?\W*$"
    r"|^\W*(?:on )?(?:which|what) side\W*$|^\W*(?:it )?(?:on the )?left or (?:on the )?right\W*$"
    r"|^\W*(?:位置)?(?:是|在|位于|处于)*(?:哪一?[侧边]|左[侧边]?还是右[侧边]?)\W*$"
    r"|它|[几多少][个]?(?:毫米|厘米|公分|mm|cm)大?"
    r"|^\W*(?:(?:最?[长大短]径|直径|大小|尺寸)[和与跟、]?)+(?:各|分别)?(?:是|有)?多[少大]\W*$"
)
_ONE_BREAST = re.compile(r"\b(?:left|right) breast\b|[左右](?:侧|边)?(?:乳)", re.IGNORECASE)
_GRADE = re.compile(r"\bwhat grade\b|\bgrade of\b|瘤[^，。]{0,4}几级|几级[^，。]{0,3}瘤")
_HEART_VENTRICLES = {"left ventricle", "right ventricle"}  # in an image of the head, "the ventricles" are those of the brain
_BRAIN_VENTRICLES = {"left lateral ventricle", "right lateral ventricle", "third ventricle", "fourth ventricle"}


def with_names_meant(text: str, intent: Intent, scene: Scene) -> Intent:
    """Return the intent with the names that "it", generic words and exceptions mean; raises UsageError for none."""
    is_nameless = not (intent.names or intent.unknown) and intent.kind in _OF_A_LESION
    if is_nameless and intent.kind is Kind.SIDE and scene.modality in (Modality.MAMMOGRAPHY, Modality.FUNDUS, Modality.OCT):
        raise UsageError("task.which_of_pair")
    if (
        intent.kind is Kind.SIDE
        and scene.modality in (Modality.MAMMOGRAPHY, Modality.ULTRASOUND)
        and _ONE_BREAST.search(text)
    ):
        raise UsageError("task.which_of_pair")
    if scene.modality in (Modality.FUNDUS, Modality.OCT) and intent.unknown and intent.names:  # "does this eye have AMD?"
        intent = replace(intent, names=tuple(name for name in intent.names if without_side(name[0]) != "eye"))
    if is_nameless and _ONE_LESION.search(simplified(text)):
        lesion = understand("lesion", scene.terminology, scene.modality)
        intent = replace(intent, names=lesion.names, generic=lesion.generic)
    if intent.generic and intent.names and _OTHER_THAN.search(simplified(text)):
        others = excluded(simplified(text), scene.terminology) or scene.terminology.find(simplified(text))
        intent = replace(intent, names=tuple(name for name in intent.names if name not in others))
        if not intent.names:
            raise unknown_name(text, intent, scene)
    if intent.meant and intent.names and intent.kind not in (Kind.REPORT, Kind.GROUNDED_REPORT):
        are_findings = all(is_finding(english) for english, _ in intent.names)
        part = scene.body_part() if are_findings else None
        if part and intent.kind is Kind.PRESENCE and _ABNORMAL.search(simplified(text)) and not _can_hold_any(part, intent):
            return replace(intent, kind=Kind.REPORT, names=(), generic=())  # what else is not as usual, a report tells
        names = intent.names
        if are_findings:
            names = _had_by_such(text, intent, scene) or _in_body_part(text, intent, scene.body_part())
        are_both_asked = intent.kind in (Kind.COMPARE, Kind.DISTANCE)
        intent = replace(intent, names=names if are_both_asked else _familiar(names, intent, scene))
    intent = _of_known_findings(text, _of_known_vertebrae(intent, scene), scene)
    if intent.kind is Kind.SIDE and intent.unknown and not names_finding(intent):  # "tuberculosis, and in which lung?"
        raise unknown_name(text, intent, scene)
    if intent.kind is Kind.SIDE and not names_finding(intent):  # "which side of the brain is the infarct on?"
        words = tuple(word for word in intent.generic if any(map(is_finding, generic_labels(word))))
        findings = names_of_words(words, scene.terminology, scene.modality)
        if words and not (findings and all(scene.modality and is_known(scene.modality, english) for english, _ in findings)):
            raise unknown_name(text, replace(intent, generic=words), scene)
        intent = replace(intent, names=findings, generic=words) if words else intent
    if intent.kind in (Kind.COMPARE, Kind.PRESENCE) and len(intent.names) > 1 and compares_numbers(text):
        intent = replace(intent, kind=Kind.COUNT)
    if intent.kind is Kind.COMPARE and len(intent.names) == 1 and superlative(text) is not None:
        intent = replace(intent, kind=Kind.LOCATE)  # "which is the largest gland?"
    if intent.kind is Kind.ORGANS and intent.generic:  # "which tubes are there?"
        listed = names_of_words(intent.generic, scene.terminology, scene.modality)
        intent = replace(intent, kind=Kind.LOCATE, names=listed) if listed else intent
    if intent.kind is Kind.CLASSIFY and _GRADE.search(simplified(text)) and names_finding(intent):
        raise UsageError("task.impossible_score")
    if intent.kind is Kind.CLASSIFY and (
        _chooses_findings(text, intent, scene)
        or (intent.unknown and names_finding(intent) and not names_class(text, scene.modality))
        or _asks_for_known_cancer(text, intent, scene)
    ):
        said = {match.group() for match in pattern("class_words", simplified(text)).finditer(simplified(text))}
        classes = sorted(word for word in said if not any(word in name for pair in intent.names for name in pair))
        intent = replace(intent, kind=Kind.PRESENCE, narrowing=(*intent.narrowing, *classes))
    if {english for english, _ in intent.names} >= _HEART_VENTRICLES and scene.body_part() == "head":
        of_brain = tuple(label for label in scene.terminology.labels if label[0] in _BRAIN_VENTRICLES)
        not_of_heart = tuple(name for name in intent.names if name[0] not in _HEART_VENTRICLES)
        intent = replace(intent, names=(*not_of_heart, *of_brain) if of_brain else intent.names)
    return intent


_OF_PLACES = (Kind.LOCATE, Kind.SEGMENT, Kind.SIDE, Kind.MEASURE, Kind.COUNT)


def _of_known_findings(text: str, intent: Intent, scene: Scene) -> Intent:
    """Return the question for the findings of a structure that such images had, where its one label is of none of them.

    In an X-ray "an abnormality in the lungs" is no "lung lesion", but a nodule or pneumonia.
    """
    if scene.modality is None or intent.kind not in _OF_PLACES or not intent.generic or not intent.names:
        return intent
    if is_shown(intent, scene) or not all(is_finding(english) for english, _ in intent.names):
        return intent
    here = findings_at([english for english, _ in scene.terminology.find(simplified(text)) if not is_finding(english)])
    had = tuple(
        name
        for name in scene.terminology.labels
        if name[0] in here & intent.meant and is_known(scene.modality, name[0]) and not scene.is_unfamiliar(name[0])
    )
    return replace(intent, names=had, alike=tuple(english for english, _ in had)) if had else intent


def _of_known_vertebrae(intent: Intent, scene: Scene) -> Intent:
    """Return the question with the vertebrae that such images have by level, or by one label: "the lumbar vertebrae"."""
    if scene.modality is None or not intent.names or intent.kind not in _OF_PLACES:
        return intent
    levels = tuple(
        name for name in scene.terminology.labels if _LEVEL.fullmatch(name[0]) and is_known(scene.modality, name[0])
    )
    of_all = tuple(name for name in scene.terminology.labels if name[0] == "vertebra" and is_known(scene.modality, name[0]))
    is_vertebra = {english for english, _ in intent.names} == {"vertebra"} and intent.kind is not Kind.COUNT
    if levels and not of_all and is_vertebra:
        return replace(intent, names=levels, alike=tuple(english for english, _ in levels))
    are_levels = bool(intent.generic) and all(_LEVEL.fullmatch(english) for english, _ in intent.names)
    if not (are_levels and of_all) or levels:
        return intent
    return replace(intent, names=of_all, generic=(), narrowing=(*intent.narrowing, *intent.generic))


_LEVEL = re.compile(r"[CTL]\d{1,2} vertebra")


def _had_by_such(text: str, intent: Intent, scene: Scene) -> tuple[BilingualName, ...]:
    """Return what a word for any finding means where no such image had what it means elsewhere: a bleed, in a head CT."""
    if {*map(generic_key, intent.generic)} != {"lesion"} or scene.terminology.find(simplified(text)):
        return ()  # a tumor of the kidney stays one
    english = {name[0] for name in intent.names}
    if not english <= intent.meant or scene.modality is None or not all(map(scene.is_unfamiliar, english)):
        return ()
    part = scene.body_part()
    others = (name for name in scene.terminology.labels if name[0] in intent.meant - english)
    shown = (name for name in others if is_known(scene.modality, name[0]) and (part is None or can_hold(part, name[0])))
    return tuple(name for name in shown if not scene.is_unfamiliar(name[0]))


def _familiar(names: tuple[BilingualName, ...], intent: Intent, scene: Scene) -> tuple[BilingualName, ...]:
    """Leave out what such images never showed, where a generic word means something else, too; each word means something."""
    for labels in (*map(generic_labels, intent.generic), frozenset(intent.alike)):
        meant = {name[0] for name in names} & labels
        if familiar := {label for label in meant if not scene.is_unfamiliar(label)}:
            names = tuple(name for name in names if name[0] not in meant - familiar)
    return names


_WHICH_IS_ILL = re.compile(
    r"\bwhich (?:side|lung|kidney|eye|breast|hemisphere|half|part|side of the \w+)\b.*"
    r"\b(?:affected|abnormal|worse|diseased|involved|sick|ill|bad)\b"
    r"|哪一?[侧边个](?:肺|肾|大?脑|半球)?.{0,5}(?:有问题|异常|不正常|严重|厉害|受累|有病|烂|坏)"
)


_WHICH_OF_MANY_IS_ILL = re.compile(
    r"哪(?:一?[颗节根枚]|几[颗节根枚个]|些)(?:牙齿?|椎间盘|椎[骨体]|肋骨)?.{0,3}(?:有问题|异常|不正常|坏|有病|有毛病)"
    r"|\bwhich (?:tooth|teeth|vertebrae?|ribs?) (?:is|are|looks?|has|have) (?:[a-z]+ )?"
    r"(?:bad|abnormal|diseased|problems?|decayed|ill|affected)\b"
)


def affected_side(text: str, intent: Intent, scene: Scene) -> Intent:
    """Return the question for the side, or the places, of the findings of structures, where it asks which is affected."""
    plain = simplified(text)
    asks_which = _WHICH_OF_MANY_IS_ILL.search(plain) is not None  # "which tooth is bad?"
    asks_side = intent.kind in (Kind.REPORT, Kind.SIDE, Kind.COMPARE) and _WHICH_IS_ILL.search(plain) is not None
    if not (asks_side or asks_which) or names_finding(intent) or scene.modality is None:
        return intent
    here = findings_at([english for english, _ in intent.names])
    had = [
        name
        for name in scene.terminology.labels
        if name[0] in here and is_known(scene.modality, name[0]) and not scene.is_unfamiliar(name[0])
    ]
    if asks_which and not had:
        raise UsageError("task.impossible")
    return (
        replace(
            intent,
            kind=Kind.LOCATE if asks_which else Kind.SIDE,
            names=tuple(had),
            generic=(),
            alike=tuple(name[0] for name in had),
        )
        if had
        else intent
    )


def names_finding(intent: Intent) -> bool:
    """Whether one of the names is a finding."""
    return any(is_finding(english) for english, _ in intent.names)


def _can_hold_any(part: str, intent: Intent) -> bool:
    return any(can_hold(part, english) for english, _ in intent.names)


def _in_body_part(text: str, intent: Intent, part: str | None) -> tuple[BilingualName, ...]:
    """Return the findings that an image of a body part can show; raises UsageError where it can show none of them."""
    names = tuple(name for name in intent.names if part is None or can_hold(part, name[0]))
    if not names:
        column = language_of(text) is Language.ZH
        raise UsageError(
            "task.known_elsewhere", word=", ".join(intent.generic), names=[name[column] for name in intent.names]
        )
    return names


def _chooses_findings(text: str, intent: Intent, scene: Scene) -> bool:
    """Whether a question lets choose among findings that boxes tell and no set of classes: "pneumonia or atelectasis?"."""
    are_findings = len(intent.names) > 1 and all(is_finding(name[0]) for name in intent.names) and not intent.generic
    are_known = scene.modality is not None and any(is_known(scene.modality, name[0]) for name in intent.names)
    return are_findings and are_known and not names_class(text, scene.modality)


def _asks_for_known_cancer(text: str, intent: Intent, scene: Scene) -> bool:
    """Whether a question asks if it is cancer, in a kind of image in which boxes of cancers tell it and no classes do."""
    are_known = bool(intent.generic) and all(is_finding(english) for english, _ in intent.names)
    are_known = are_known and bool(intent.names) and is_shown(intent, scene)
    return (
        names_cancer(text)
        and are_known
        and not candidate_sets(text, scene.modality)
        and not label_set_of(text, scene.modality)
    )


def is_shown(intent: Intent, scene: Scene) -> bool:
    """Whether such images show one of the names, as far as the training data tell."""
    return any(scene.modality is None or is_known(scene.modality, english) for english, _ in intent.names)


def asks_for_unlearned(text: str, intent: Intent, scene: Scene) -> bool:
    """Whether a question asks for anything abnormal in structures, and such images had no label for it.

    For a lesion of a structure such images had other findings: "pathology in the lung".
    """
    if intent.kind is not Kind.PRESENCE or not (intent.generic and names_finding(intent)) or is_shown(intent, scene):
        return False
    if _ABNORMAL.search(simplified(text)):
        return True
    structures = [english for english, _ in scene.terminology.find(simplified(text))]
    is_lesion = {*map(generic_key, intent.generic)} == {"lesion"}
    return is_lesion and any(scene.modality and is_known(scene.modality, finding) for finding in findings_at(structures))
