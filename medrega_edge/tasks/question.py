"""One question of a text, in words -> the request that answers it, with what it names and its answer does not regard."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace

from medrega_edge.boxes import PixelBox
from medrega_edge.domain import Language, Modality, Task, language_of
from medrega_edge.errors import UsageError
from medrega_edge.i18n.message import Message
from medrega_edge.prompts.intent import Intent, Kind, asked_text, unknown_parts
from medrega_edge.prompts.intent.naming import excluded, only_leaves_out, words_of
from medrega_edge.prompts.intent.phrases import has
from medrega_edge.prompts.intent.unread import has_content
from medrega_edge.tasks.asked import Asked
from medrega_edge.tasks.base import TaskRequest
from medrega_edge.tasks.body_part import deciding_parts
from medrega_edge.tasks.bounds import bound_in
from medrega_edge.tasks.classification import ClassifyByPart
from medrega_edge.tasks.derived import FromBoxes
from medrega_edge.tasks.detection import Detect
from medrega_edge.tasks.identification import Identify
from medrega_edge.tasks.left_out import (
    classes_unknown,
    listed_words,
    narrowing_words,
    notes_of,
    place_left_out,
    shows_one_side,
    side_left_out,
    structures_of_other_classes,
)
from medrega_edge.tasks.names_meant import affected_side, asks_for_unlearned, names_finding, with_names_meant
from medrega_edge.tasks.normality import IsNormal
from medrega_edge.tasks.of_intent import BOX, GONE, request_of, without_unlearned
from medrega_edge.tasks.refusals import unknown_name
from medrega_edge.tasks.scene import Scene
from medrega_edge.vocabulary.generic_words import generic_key
from medrega_edge.vocabulary.label_kinds import is_finding
from medrega_edge.vocabulary.label_sets import LABEL_SETS, LabelSet
from medrega_edge.vocabulary.plain_text import simplified
from medrega_edge.vocabulary.sites import is_part
from medrega_edge.vocabulary.states import asks_how_it_is, asks_if_normal, disease_word
from medrega_edge.vocabulary.wording import AREA, kind_left_out, narrower_kind, places_in


@dataclass(frozen=True)
class Question:
    """A question as it is typed, its clause that asks (`said`), how it was understood, and what it is asked about."""

    text: str
    said: str
    intent: Intent
    scene: Scene

    @property
    def plain(self) -> str:
        """The clause that asks, in simplified script and lower case."""
        return simplified(self.said)

    @property
    def is_chinese(self) -> bool:
        """Whether it is typed in Chinese."""
        return language_of(self.text) is Language.ZH

    @property
    def places(self) -> str:
        """The places within structures that it speaks of, as a list."""
        return listed_words((match.group() for match in places_in(self.plain)), self.said)

    def listed(self, words: tuple[str, ...]) -> str:
        """Return words as a list in its language."""
        return ("、" if self.is_chinese else ", ").join(words)

    def understood_as(self, intent: Intent) -> Question:
        """Return it with another intent."""
        return replace(self, intent=intent)


def request_of_question(text: str, intent: Intent, scene: Scene) -> TaskRequest:
    """Return the request that answers a question; raises UsageError for what has no answer, with its reason."""
    said = asked_text(text, scene.terminology, scene.modality)  # words of a history are no part of what is asked
    question = Question(text, said, intent, scene)
    if only_leaves_out(simplified(text), scene.terminology):
        raise UsageError("task.only_left_out")
    if request := _what_is_in_boxes(question) or _any_finding(question):
        return request
    question = question.understood_as(affected_side(said, with_names_meant(said, intent, scene), scene))
    if deciding_parts(said, scene.terminology):
        question = question.understood_as(replace(question.intent, kind=Kind.ANSWER, names=()))
    else:
        _refuse_what_no_image_tells(question)
        if request := _anything_else(question) or _state(question):
            return request
        _refuse_what_no_box_tells(question)
    return _of_names(_of_what_is_measured(question))


def _what_is_in_boxes(question: Question) -> Asked | None:
    """Ask what a box that the text writes out holds; further boxes are left out."""
    text, intent = question.text, question.intent
    boxes = BOX.findall(text) if Task.IDENTIFY in question.scene.tasks else []
    if len(boxes) <= (0 if intent.names else 1):
        return None  # one box and no name is read by its kind; "is it the liver at [8, 68, 58, 156]?" asks for the box
    notes = tuple(Message("task.question_left_out", question=", ".join(box)) for box in boxes[1:])
    identify = Identify(PixelBox(*map(float, boxes[0])), text)
    return Asked(text, replace(intent, kind=Kind.IDENTIFY, names=()), identify, notes=notes)


def _any_finding(question: Question) -> Asked | None:
    """Ask for whatever is not as usual in the image: "any abnormality?"."""
    text, intent, scene = question.text, question.intent, question.scene
    if not _asks_for_any_finding(question.said, intent, scene) or Task.REPORT not in scene.tasks:
        return None
    notes = notes_of(question.said, intent, scene.modality, question.places)
    nameless = replace(intent, kind=Kind.REPORT, names=(), generic=())
    return Asked(text, nameless, IsNormal(text), place=question.places, notes=notes)


def _refuse_what_no_image_tells(question: Question) -> None:
    intent = question.intent
    is_nameless = intent.kind is Kind.HELP or (intent.kind is Kind.REPORT and not intent.names)
    if GONE.search(question.said.casefold()) and is_nameless:
        raise UsageError("task.impossible")  # "which ones are missing?", "is anything missing?"
    if _WHICH_OF_PAIR.search(question.plain) and not _shows_both(question.said, question.scene.modality):
        raise UsageError("task.which_of_pair")


def _anything_else(question: Question) -> Asked | None:
    """Ask for findings other than those that are named: "is there anything other than the lung tumor?"."""
    text, intent, scene = question.text, question.intent, question.scene
    if not _OTHER_THAN.search(question.plain) or Task.REPORT not in scene.tasks:
        return None
    others = tuple(excluded(question.plain, scene.terminology)) or intent.names
    unknown_here = tuple(Message("task.unknown_beside", name=name) for name in intent.unknown)
    nameless = replace(intent, kind=Kind.REPORT, names=(), generic=())
    return Asked(text, nameless, IsNormal(text, (), others), notes=unknown_here)


def _state(question: Question) -> Asked | None:
    """Ask whether the image, or structures in it, are as usual, or what is wrong with them."""
    text, said, intent, scene = question.text, question.said, question.intent, question.scene
    asks = _asks_if_normal(said, intent) or _asks_what_is_wrong(said, intent) or asks_for_unlearned(said, intent, scene)
    if not asks or Task.REPORT not in scene.tasks:
        return None
    if intent.unknown and not intent.names:
        raise unknown_name(text, intent, scene)
    if intent.kind is Kind.COMPARE or names_finding(intent):  # the structures themselves, not what may be in them
        structures = tuple(name for name in scene.terminology.find(question.plain) if not is_finding(name[0]))
        intent = replace(intent, kind=Kind.REPORT, names=structures, generic=())
    is_whole = bool(intent.generic) or scene.modality is Modality.PATHOLOGY  # "is the brain normal?" asks for all of it
    names = () if is_whole else intent.names
    regarded = (*intent.names, *(("", word) for word in intent.aside if _OF_STATE.fullmatch(word)))
    aside = tuple(word for word in intent.aside if not any(word in each for pair in regarded for each in pair))
    intent = replace(intent, kind=Kind.REPORT, aside=aside)
    place = question.places or question.listed(tuple(name[question.is_chinese] for name in names if is_part(name[0])))
    others = tuple(excluded(question.plain, scene.terminology))
    notes = notes_of(said, intent, scene.modality, place)
    return Asked(text, intent, IsNormal(text, names, others), place=place, notes=notes)


def _refuse_what_no_box_tells(question: Question) -> None:
    text, said, intent, scene = question.text, question.said, question.intent, question.scene
    is_of_eye = scene.modality in (Modality.FUNDUS, Modality.OCT) and {name[0].split()[-1] for name in intent.names} == {
        "eye"
    }
    if is_of_eye and _SIDES_OR_WHICH.search(question.plain):
        raise UsageError("task.which_of_pair")
    if intent.kind is not Kind.PRESENCE or not intent.names:
        return
    if intent.unknown and _IS_THE.match(said):  # "is the polyp bleeding?"
        raise unknown_name(text, replace(intent, names=(), generic=()), scene)
    if not names_finding(intent) and (word := disease_word(said)):
        raise UsageError("task.state_unknown", word=word)


def _of_what_is_measured(question: Question) -> Question:
    """Return the question with the kind that a size, an area or an outline needs; raises UsageError for what has none."""
    said, intent, scene = question.said, question.intent, question.scene
    if _asks_if_enlarged(intent) and Task.DETECT in scene.tasks:
        intent = replace(intent, kind=Kind.MEASURE)
    if intent.kind in (Kind.MEASURE, Kind.ANSWER) and _WALL.search(question.plain):
        raise UsageError("task.impossible_outline")
    if _ORDINAL.search(question.plain):
        raise UsageError("task.only_extreme")
    if tooth := _TOOTH.search(said):
        raise unknown_name(question.text, replace(intent, generic=(), unknown=(tooth.group(),)), scene)
    is_outline = intent.kind is Kind.LOCATE and intent.asks_for_outline
    is_outline |= intent.kind in (Kind.LOCATE, Kind.MEASURE) and AREA.search(said) is not None
    return question.understood_as(replace(intent, kind=Kind.SEGMENT) if scene.has_masks and is_outline else intent)


def _of_names(question: Question) -> Asked:
    """Return the request for what a question names, with notes of all that its answer leaves out."""
    text, said, scene = question.text, question.said, question.scene
    intent, unlearned = without_unlearned(text, question.intent, scene)
    request = request_of(said, intent, scene)
    if label_sets := _label_sets(request):
        return _of_classes(question.understood_as(intent), request, label_sets)
    of_side = replace(intent, side=None) if shows_one_side(intent, scene.modality) else intent
    is_of_boxes = request.task is Task.DETECT
    place = place_left_out(said, of_side, scene.terminology) if is_of_boxes else ""
    notes = (*_unknown_beside(question.understood_as(intent), is_of_boxes), *unlearned)
    kind = _kind_left_out(question.understood_as(intent), is_of_boxes, place)
    if isinstance(request, FromBoxes) and intent.kind is Kind.PRESENCE and place:
        request = replace(request, says_yes=False)
    if isinstance(request, FromBoxes | Detect) and kind:
        shown = next(name[question.is_chinese] for name in intent.names if name[0] == kind[1])
        request = replace(request, says_yes=False) if isinstance(request, FromBoxes) else request
        return Asked(text, intent, request, place, (kind[0], shown), notes=notes)
    notes = (*notes, *notes_of(said, intent, scene.modality, place))
    if isinstance(request, FromBoxes) and intent.kind is Kind.COUNT and not request.bound and (bound := bound_in(said)):
        of_no_name = Message("task.words_left_out", words=[bound.shown.text(language_of(text))])
        notes = (*notes, of_no_name)
    return Asked(text, of_side, request, place, notes=notes)


def _label_sets(request: TaskRequest) -> list[LabelSet]:
    names = request.sets if isinstance(request, ClassifyByPart) else [getattr(request, "labels", None)]
    return [LABEL_SETS[str(name)] for name in names if isinstance(name, str) and name in LABEL_SETS]


def _of_classes(question: Question, request: TaskRequest, label_sets: list[LabelSet]) -> Asked:
    """Return a choice of classes, with what the question names beside them."""
    is_answer = question.intent.kind is Kind.ANSWER  # "which view is this?" of an echocardiogram
    intent = replace(question.intent, kind=Kind.CLASSIFY) if is_answer else question.intent
    unknown = classes_unknown(question.said, question.intent, label_sets)
    side = side_left_out(question.said)
    others = structures_of_other_classes(question.said, question.scene.terminology, label_sets)
    place = question.listed(others)
    if others and intent.kind is Kind.PRESENCE and intent.generic:  # a tumor of the pancreas is no glioma
        finding = intent.generic[0]
        named = tuple(f"{other}{finding}" if question.is_chinese else f"{other} {finding}" for other in others)
        raise unknown_name(question.text, replace(intent, names=(), generic=(), unknown=named), question.scene)
    return Asked(question.text, intent, request, place, classes_unknown=unknown, notes=(side,) if side else ())


def _unknown_beside(question: Question, is_of_boxes: bool) -> tuple[Message, ...]:
    """Say which parts of a list of names no label has."""
    intent, said = question.intent, question.said
    is_plain = is_of_boxes and intent.names and not (intent.generic or intent.typos or intent.unknown)
    is_list = intent.kind in (Kind.LOCATE, Kind.SEGMENT, Kind.MEASURE, Kind.COUNT) and not re.search("[?？]", said)
    unknown = unknown_parts(said, question.scene.terminology).values() if is_plain and is_list else ()
    return tuple(
        Message("task.unknown_beside", name=part)
        for part in unknown
        if has_content(words_of(part)) and not _OF_ASKER.match(part)
    )


def _kind_left_out(question: Question, is_of_boxes: bool, place: str) -> tuple[str, str] | None:
    """Return the words for one kind of a finding, "flat", and its English label: boxes do not tell kinds."""
    intent, labels = question.intent, [english for english, _ in question.intent.names]
    if intent.kind is not Kind.PRESENCE:
        return narrower_kind(question.said, labels) if is_of_boxes else None
    if kind := kind_left_out(question.said, labels):
        return kind
    words = narrowing_words(intent, place) if intent.names else []
    return (question.listed(tuple(words)), labels[0]) if words else None


_OTHER_THAN = re.compile(  # "is there anything other than the lung tumor?", "除了息肉还有别的问题吗"
    r"\b(?:anything|something|any(?:thing)? (?:finding|abnormality|lesion|problem)s?)(?: abnormal| wrong| else)?"
    r" (?:other than|besides|apart from|except)\b"
    r"|除了?.{1,8}(?:还有|还能|之外|以外|外).{0,6}(?:问题|异常|病变|发现|毛病)"
)
_OF_STATE = re.compile(
    r"(?:breast|chest|eye|head|乳腺|乳房|胸部|眼部?|头部|腹部|皮肤"
    r"|normal|abnormal|wrong|ok|okay|fine|healthy|problems?|anything|unusual|issues?|looks?"
    r"|[正异]常|健康|问题|毛病|干净|怎么样?|咋样?|怎样|如何|好着?|要紧| )+"
)
_IS_THE = re.compile(r"^\W*(?:is|are) (?:the|this|these|his|her|my|both) (?!.*\b(?:and|or|in|on|with)\b)", re.IGNORECASE)
_OF_ASKER = re.compile(r"^(?:i|i'm|i am|my|we|he|she)\b|^[我他她俺]")
_WALL = re.compile(
    r"\bthick(?:ness)?\b.*\b(?:wall|myocardium|muscle|cortex|retina|macula|fovea|choroid|intima)\b"
    r"|\b(?:wall|myocardial|cortical|(?:central )?(?:retinal|macular|foveal|subfield)|choroidal|intima-?media) thickness\b"
    r"|(?:壁|心肌|皮质|视网膜|黄斑|中[央心]凹|脉络膜|内中?膜).{0,4}厚"
)
_ORDINAL = re.compile(  # "second largest", "the two biggest", "largest to smallest"
    r"\b(?:second|third|fourth|2nd|3rd|4th|two|three|four|five|\d+|last)[ -](?:\w+ )?"
    r"(?:largest|biggest|longest|smallest|tiniest)\b"
    r"|\b(?:largest|biggest|smallest)\b.{0,12}\b(?:and|to|or)\b.{0,8}\b(?:largest|biggest|smallest)\b"
    r"|第[二三四2-9]大(?!臼)|第[二三四2-9]小|最大的?[两三几二2-9]个|最[大小]的?.{0,2}[和与跟到].{0,2}最[大小]"
)
_TOOTH = re.compile(r"\b(?:tooth|teeth) (?:number |no\.? ?|#)?\d{1,2}\b|\d{1,2}号牙|牙位?\d{2}\b", re.IGNORECASE)
_SIDES_OR_WHICH = re.compile(r"\b(?:left|right|which|what side)\b|[左右哪]|o[ds]\b")
_WHICH_OF_PAIR = re.compile(
    r"\bo\.?d\.? or o\.?s\b|\bwhich side is (?:this|the) (?:breast|eye|arm|leg|hand|foot|knee|hip|shoulder)\b"
    r"|\bwhich (?:breast|eye|arm|leg|hand|foot|knee|hip|shoulder) (?:is|are) (?:this|that|it|shown|imaged|seen)\b"
    r"|\b(?:left or (?:the |a )?right|right or (?:the |a )?left) "
    r"(?:breast|eye|arm|leg|hand(?!-? side)|foot|knee|hip|shoulder)\b"
    r"|^\W*(?:is (?:this|it) )?(?:the |a )?(?:left|right) (breast|eye|arm|leg|hand|foot|knee|hip|shoulder)"
    r" or (?:the )?(?:left|right)(?: \1)?\W*$"
    r"|哪一?[侧边只个]的?(?:乳腺|乳房|眼睛?|手|腿|脚|肩膀?|膝盖?)\W*$|左(?:侧|边)?(?:乳|眼|手|腿|脚|肩)\w*还是右"
)


def _shows_both(text: str, modality: Modality | None) -> bool:
    """Whether an image holds both of a pair: a slice shows both breasts."""
    return modality in (Modality.CT, Modality.MRI) and re.search("breast|乳", simplified(text)) is not None


def _asks_if_normal(text: str, intent: Intent) -> bool:
    """Whether a question asks if the image, or structures in it, are normal."""
    is_of_state = intent.kind in (
        Kind.ANSWER,
        Kind.CLASSIFY,
        Kind.REPORT,
        Kind.PRESENCE,
        Kind.BODY_PART,
        Kind.COMPARE,
        Kind.COUNT,
    )
    if names_finding(intent):
        return False
    is_how_it_is = bool(intent.names) and intent.kind is not Kind.IMPOSSIBLE and asks_how_it_is(text)
    return is_how_it_is or (is_of_state and asks_if_normal(text))


def _asks_if_enlarged(intent: Intent) -> bool:
    """Whether a question asks if structures are larger than usual: boxes tell how large they are."""
    return intent.asks_if_enlarged and intent.kind is Kind.ANSWER and bool(intent.names) and not names_finding(intent)


_WHAT_IS_WRONG = re.compile(
    r"\bwhat(?: ?'?s| is| are)? (?:the )?(?:wrong|matter|problems?|abnormal(?:ity|ities)?|issues?|trouble) (?:with|in|of)\b"
    r"|\bwhat(?: ?'?s| is) (?:filling|inside|within) \b"
    r"|\bwhat (?:[a-z]+ )?(?:abnormalit\w+|findings|problems|patholog\w+|lesions|diseases) (?:are|is|can|do|does)\b"
    r"|[里内中]面?的?[那这]?[\u3400-\u9fff]{0,8}?[是为]个?(?:什么|啥)\W*$"
    r"|[里上中]面?有(?:什么|啥)(?:东西)?[吗么呢]|有(?:了)?(?:什么|啥|哪些|何)(?:问题|异常|毛病|病变?|情况)"
)


def _asks_what_is_wrong(text: str, intent: Intent) -> bool:
    """Whether a question asks what is wrong with structures that it names: a report would tell of the whole image."""
    are_structures = bool(intent.names) and (bool(intent.generic) or not names_finding(intent))
    return (
        intent.kind in (Kind.ANSWER, Kind.REPORT) and are_structures and _WHAT_IS_WRONG.search(simplified(text)) is not None
    )


_ANY_FINDING = re.compile(r"\b(?:abnormal\w*|lesions?|patholog\w+|anomal\w+)\b|异常|病变|病灶|毛病|问题")
_OF_MANY_ORGANS = (Modality.CT, Modality.MRI, Modality.XRAY)  # where the word alone tells no finding


def _asks_for_any_finding(text: str, intent: Intent, scene: Scene) -> bool:
    """Whether a question asks for whatever is not as usual, in a kind of image of many organs: "有没有异常"."""
    plain = simplified(text)
    is_any = bool(intent.generic) and not intent.unknown and intent.side is None and _ANY_FINDING.search(plain) is not None
    is_any = is_any and {*map(generic_key, intent.generic)} == {"lesion"} and not scene.terminology.find(plain)
    is_any = is_any and intent.kind is Kind.PRESENCE and not has("where", plain)
    return is_any and (scene.modality in _OF_MANY_ORGANS or all(scene.is_unfamiliar(name[0]) for name in intent.names))
