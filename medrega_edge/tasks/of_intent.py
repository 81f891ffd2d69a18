"""The request that answers an intent: by boxes, classes, a report, or words; or why there is none."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace

from medrega_edge.boxes import PixelBox
from medrega_edge.domain import Language, Modality, Task, language_of
from medrega_edge.errors import UsageError
from medrega_edge.i18n.message import Message
from medrega_edge.prompts.intent import Intent, Kind
from medrega_edge.prompts.intent.naming import excluded, is_one_and_pair, without_side
from medrega_edge.prompts.intent.phrases import has
from medrega_edge.tasks.about_image import BodyPart, KindOfImage
from medrega_edge.tasks.base import TaskRequest
from medrega_edge.tasks.bounds import Bound, bound_in, compares_numbers
from medrega_edge.tasks.class_choice import classification
from medrega_edge.tasks.classification import Classify
from medrega_edge.tasks.derived import FromBoxes
from medrega_edge.tasks.detection import Detect
from medrega_edge.tasks.identification import Identify
from medrega_edge.tasks.names_meant import is_shown, names_finding
from medrega_edge.tasks.organs import VisibleOrgans
from medrega_edge.tasks.refusals import impossible, unknown_name
from medrega_edge.tasks.reporting import Report
from medrega_edge.tasks.scene import Scene
from medrega_edge.tasks.segmentation import Segment
from medrega_edge.tasks.vqa import AnswerQuestion
from medrega_edge.vocabulary.answers import is_negated
from medrega_edge.vocabulary.generic_words import generic_labels, may_be_finding
from medrega_edge.vocabulary.label_kinds import is_finding
from medrega_edge.vocabulary.label_sets import (
    label_set_of,
    modality_name,
    named_set,
    names_class,
)
from medrega_edge.vocabulary.plain_text import simplified
from medrega_edge.vocabulary.presence import is_known
from medrega_edge.vocabulary.states import disease_word
from medrega_edge.vocabulary.terminology import BilingualName, Terminology
from medrega_edge.vocabulary.wording import names_cancer, without_homonyms

_OF_IMAGE = re.compile(
    r"\b(?:side|left|right|half) of (?:the|this) (?:image|picture|screen|photo|film|frame)\b"
    r"|(?:图像|图片|图|画面|照片)(?:里|中|上)?的?(?:左|右|哪一?[侧边])"
)


def is_trained(task: Task, tasks: Sequence[str]) -> bool:
    """Whether a package can do a task: one of its own, or a grounded report out of its reports."""
    return task in tasks or (task is Task.GROUNDED_REPORT and Task.REPORT in tasks)


def request_of(text: str, intent: Intent, scene: Scene) -> TaskRequest:
    """Return the request that answers an intent; raises UsageError for what no image or this package can tell."""
    match intent.kind:
        case _ if not intent.is_language:
            raise UsageError("task.no_language")
        case Kind.HELP:
            raise UsageError("task.help")
        case Kind.IMPOSSIBLE:
            raise impossible(intent.reason)
        case Kind.IDENTIFY if numbers := _PIXELS.search(text):
            return _identify(text, numbers, scene.tasks)
        case Kind.REPORT | Kind.IDENTIFY if Task.REPORT in scene.tasks:  # without a box, the whole image is named
            return Report()
        case Kind.GROUNDED_REPORT if is_trained(Task.GROUNDED_REPORT, scene.tasks):
            return Report(grounded=True)
        case Kind.MODALITY if has("body_part", simplified(text)) and scene.prompts.modalities and Task.REPORT in scene.tasks:
            return BodyPart(tells_kind=True)
        case Kind.MODALITY if scene.prompts.modalities or scene.modality:
            return KindOfImage()
        case Kind.BODY_PART | Kind.ORGANS if intent.unknown:
            raise unknown_name(text, intent, scene)
        case Kind.BODY_PART if scene.prompts.modalities and Task.REPORT in scene.tasks:
            return BodyPart(tells_kind=has("kind_of_image", simplified(text)))
        case Kind.ORGANS if _PLACE.search(simplified(text)) or _TOUCHES.search(simplified(text)):
            raise UsageError("task.impossible_relation")
        case Kind.ORGANS if disease_word(text) or has("enlarged", simplified(text)):
            raise UsageError("task.impossible")  # that an organ is there does not tell that it is enlarged
        case Kind.ORGANS if _SYSTEM.search(simplified(text)) and Task.VQA in scene.tasks:
            return AnswerQuestion(text)  # boxes do not tell which system an organ belongs to
        case Kind.ORGANS if Task.DETECT in scene.tasks:
            others = excluded(simplified(text), scene.terminology)
            if not others and _UNSEEN.search(simplified(text)):
                raise UsageError("task.impossible")
            return VisibleOrgans(tuple(english for english, _ in others))
        case Kind.CLASSIFY if _TELL_APART.search(simplified(text)) and not names_class(text, scene.modality):
            raise UsageError("task.impossible")  # arteries from veins
        case Kind.CLASSIFY if intent.unknown and not names_class(text, scene.modality):  # "glaucoma?": no set has it
            raise unknown_name(text, intent, scene)
        case Kind.CLASSIFY if (
            _VIEW.search(simplified(text)) and scene.modality is not Modality.ULTRASOUND and Task.VQA in scene.tasks
        ):
            return AnswerQuestion(_in_trained_words(text, scene))  # views are classes of echocardiograms alone
        case Kind.CLASSIFY if Task.CLASSIFY in scene.tasks:
            return classification(text, scene)
        case Kind.PRESENCE if (
            scene.modality is Modality.DERMOSCOPY and _MOLE.search(simplified(text)) and Task.CLASSIFY in scene.tasks
        ):
            return classification(text, scene)  # the box of a lesion does not tell that it is a mole
        case Kind.PRESENCE | Kind.CLASSIFY if (
            scene.modality is Modality.PATHOLOGY and names_cancer(text) and not intent.names
        ):
            return classification(text, scene)
        case Kind.PRESENCE | Kind.ANSWER | Kind.LOCATE if (
            scene.modality in (Modality.FUNDUS, Modality.OCT)
            and _DIABETIC.search(simplified(text))
            and Task.CLASSIFY in scene.tasks
        ):
            return Classify("macular-edema", question=text)  # the class, and not the fluid
        case Kind.ANSWER if (
            scene.modality is Modality.ULTRASOUND and _WHICH_VIEW.search(simplified(text)) and Task.CLASSIFY in scene.tasks
        ):
            return classification(text, scene)
        case Kind.PRESENCE | Kind.ANSWER if scene.modality is Modality.PATHOLOGY and _TISSUE.search(simplified(text)):
            return classification(text, scene)  # a box of the lung is no answer to "is this lung tissue?"
        case Kind.PRESENCE if _asks_for_cancer(text, intent) and Task.CLASSIFY in scene.tasks:
            return classification(text, scene)
        case Kind.PRESENCE if (
            (
                not is_shown(intent, scene)
                or not names_finding(intent)
                or all(scene.is_unfamiliar(english) for english, _ in intent.names)
            )
            and (
                label_set := named_set(text, scene.modality)
                or (names_cancer(text) and label_set_of(text, scene.modality))
                or ""
            )
            and Task.CLASSIFY in scene.tasks
        ):
            return Classify(label_set, question=text)  # "any sign of TB?"
        case (
            Kind.LOCATE | Kind.SEGMENT | Kind.PRESENCE | Kind.COUNT | Kind.MEASURE | Kind.SIDE | Kind.COMPARE | Kind.DISTANCE
        ) if Task.DETECT in scene.tasks:
            return _of_names(text, intent, scene)
    if Task.VQA in scene.tasks:
        structures = tuple(name for name in intent.names if not is_finding(name[0]) and not intent.generic)
        return AnswerQuestion(_in_trained_words(text, scene), about=structures)
    raise UsageError("task.unclear_question", tasks=list(scene.tasks))


def _in_trained_words(text: str, scene: Scene) -> str:
    """Return a question for the plane of a slice in the words that weights with answers of their own were trained on."""
    asks_plane = _PLANE.search(simplified(text)) is not None and scene.modality in (Modality.CT, Modality.MRI)
    return _PLANE_QUESTION[language_of(text)] if asks_plane and scene.prompts.answers else text


_PLANE = re.compile(
    r"\b(?:what|which) (?:imaging |scan(?:ning)? |anatomical )?(?:plane|orientation)\b"
    r"|\b(?:axial|coronal|sagittal|transverse)\b.*\bor\b|^\W*(?:is|was) (?:this|it|that) "
    r".*\b(?:axial|coronal|sagittal|transverse)\b"
    r"|(?:什么|哪一?个|哪种|啥)(?:扫描|成像)?(?:平面|断面|切面|方位)|(?:平面|断面|切面)(?:是|属于|为)?(?:什么|哪)|(?:横断|冠状|矢状|轴)[面位](?:吗|还是)"
)
_PLANE_QUESTION = {
    Language.EN: "What is the scanning plane of this image?",
    Language.ZH: "这个图像的扫描平面是什么?",
}
_TELL_APART = re.compile(r"\b(?:differentiate|distinguish|discriminate)\b|\btell\b.*\b(?:apart|from)\b|区分|区别|分辨")
_TISSUE = re.compile(r"\btissues?\b|\bbiops|组织|活检")
_PLACE = re.compile(r"\b(?:left|right|top|bottom|upper|lower|leftmost|rightmost|between)\b|[左右]侧|[左右]边|[上下]方")
_TOUCHES = re.compile(r"\b(?:touch\w*|adjacent|next to|near|beside|behind|border\w*|surround\w*)\b|相邻|挨着|紧邻|毗邻")
_UNSEEN = re.compile(
    r"\b(?:can(?:no|'?)t|not (?:be|visible|seen|shown|present|here|in)|isn'?t|aren'?t|missing|absent|invisible|unseen)\b"
    r"|看不到|看不见|不可见|没有显示|缺"
)
_SYSTEM = re.compile(r"\bsystem\b|系统")
GONE = re.compile(
    r"\ball (?:of )?(?:my|his|her|the|their) (?:own )?teeth\b|牙.{0,3}(?:齐|全)[吗不了]"
    r"|\b(?:missing|absent|lost|gone|lacking)\b|缺失|缺了|缺少|(?<!多)少了|掉了|缺几|缺牙|缺齿"
)
_LISTED = re.compile(r"\b(?:and|or)\b|[,，、和或及与]|[?？](?=.*\w)")
_DIABETIC = re.compile(r"\bdiabetic macular\b|(?<![a-z])dme(?![a-z])|糖尿病性?黄斑")
_MOLE = re.compile(r"\b(?:nevus|naevus|nevi|naevi|moles?)\b|痣")
_VIEW = re.compile(r"\bviews?\b|切面|体位")
_WHICH_VIEW = re.compile(
    r"\b(?:which|what) (?:(?:echo(?:cardiographic)?|apical|heart|cardiac) )?view (?:is|are) (?:this|it|we)\W*$"
    r"|(?:什么|哪一?个|哪种|啥)(?:超声|标准|心脏)?切面\W*$"
)

# "[30, 40, 90, 120]", "(240, 250)": a box, or a point.
_PIXELS = re.compile(r"(?<![a-z\d])(\d{1,5})\D{1,6}?(\d{1,5})(?:\D{1,6}?(\d{1,5})\D{1,6}?(\d{1,5}))?(?!\d)")

BOX = re.compile(r"(?<![a-z\d])" + r"[^\da-wz/%]{1,6}?".join([r"(\d{1,5})"] * 4) + r"(?![\d/])")
_AROUND = 20  # pixels, of the box that is proposed around a point


def _identify(text: str, numbers: re.Match[str], tasks: Sequence[str]) -> TaskRequest:
    """Return the request to name what lies in the box that a question writes out; raises UsageError for a point."""
    if Task.IDENTIFY not in tasks:
        raise UsageError("task.unclear_question", tasks=list(tasks))
    corners = [float(number) for number in numbers.groups() if number]
    if len(corners) < 4:
        x, y = corners
        around = (max(x - _AROUND, 0), max(y - _AROUND, 0), x + _AROUND, y + _AROUND)
        raise UsageError("task.point", box=",".join(f"{edge:.0f}" for edge in around))
    return Identify(PixelBox(*corners), text)


def _asks_for_cancer(text: str, intent: Intent) -> bool:
    """Whether a question asks if something is cancer, and no name of a cancer could answer: a lesion's box does not tell."""
    asked = without_homonyms(simplified(text))  # "edema around the tumour" asks for no tumour
    return names_cancer(asked) and bool(intent.names) and not any(names_cancer(english) for english, _ in intent.names)


def _of_names(text: str, intent: Intent, scene: Scene) -> TaskRequest:
    """Return a request about names; raises UsageError where the package knows none of them, or one is missing."""
    if not intent.names:
        is_of_two = intent.kind in (Kind.COMPARE, Kind.DISTANCE) and not (intent.unknown or intent.generic)
        raise UsageError("task.two_names") if is_of_two else unknown_name(text, intent, scene)
    if scene.modality and intent.kind in (Kind.PRESENCE, Kind.COUNT):
        elsewhere = [name for name in intent.names if _is_known_elsewhere(name[0], scene.modality, scene.terminology)]
        if elsewhere == [*intent.names]:  # that there is none would be said of what the weights never saw
            column = language_of(text) is Language.ZH
            shown = [name[column] for name in elsewhere]
            raise UsageError(
                "task.unlearned_in_kind",
                names=[*shown, *intent.unknown],
                kind=modality_name(scene.modality, language_of(text)),
            )
    if (
        intent.kind is Kind.PRESENCE
        and intent.unknown
        and any(map(may_be_finding, intent.unknown))
        and not any(is_finding(english) for english, _ in intent.names)
        and not _LISTED.search(simplified(text))
    ):
        raise unknown_name(text, replace(intent, generic=()), scene)  # "a hernia at L4?"
    is_of_many = {"tooth", "vertebra"} & {english.split()[-1] for english, _ in intent.names}
    may_be_gone = intent.kind is Kind.COUNT or (intent.kind in (Kind.PRESENCE, Kind.LOCATE) and is_of_many)
    if may_be_gone and GONE.search(simplified(text)):
        raise UsageError("task.impossible")  # boxes tell how many are there
    if intent.kind in (Kind.LOCATE, Kind.SEGMENT):
        names = [english for english, _ in intent.names]
        return Segment(names) if intent.kind is Kind.SEGMENT else Detect(names)
    is_one_word = len(intent.generic) == 1 and all(english in intent.meant for english, _ in intent.names)
    several = 1 if is_one_word and intent.kind is Kind.DISTANCE else len(intent.names)
    is_one_unknown = intent.kind in (Kind.COMPARE, Kind.DISTANCE) and intent.unknown and (several < 2 or intent.generic)
    if is_one_unknown:
        raise unknown_name(text, intent, scene)
    if (intent.kind is Kind.COMPARE and several < 2) or (
        intent.kind is Kind.DISTANCE and several != 2 and not (_is_one_and_generic(intent) or is_one_and_pair(intent.names))
    ):
        raise UsageError("task.two_names")
    others = {label for word in intent.generic if not names_cancer(word) for label in generic_labels(word)}
    # A polyp is no answer to "any cancer?", but to "any polyps? any cancer?".
    cancers = tuple(name for name in intent.names if names_cancer(name[0]) or name[0] in others)
    asks_for_cancer = intent.kind is Kind.PRESENCE and names_cancer(text)
    names_asked = cancers if asks_for_cancer and cancers else intent.names
    bound = bound_in(text) if intent.kind in (Kind.MEASURE, Kind.COUNT) else None
    return FromBoxes(
        intent.kind,
        names_asked,
        not is_negated(text),
        bool(_OF_IMAGE.search(simplified(text))),
        bound=bound if bound and _may_be_held(bound, intent.kind, names_asked) else None,
        compares_numbers=intent.kind is Kind.COUNT and compares_numbers(text),
    )


def _may_be_held(bound: Bound, kind: Kind, names: Sequence[BilingualName]) -> bool:
    """Whether sizes are held against a length, or the number of one name against a number."""
    return bool(bound.unit) if kind is Kind.MEASURE else not bound.unit and len(names) == 1


def _is_one_and_generic(intent: Intent) -> bool:
    """Whether the names are one, or a pair, and those of a generic word: "how far is the tumor from the kidney?"."""
    named = {without_side(english) for english, _ in intent.names if english not in intent.meant}
    return len(named) == 1 and len(intent.names) > 2


def without_unlearned(text: str, intent: Intent, scene: Scene) -> tuple[Intent, tuple[Message, ...]]:
    """Leave out the findings that no such image had, where others are asked for, and say so."""
    if intent.kind not in (Kind.PRESENCE, Kind.COUNT) or scene.modality is None:
        return intent, ()
    named = (name for name in intent.names if name[0] not in intent.meant)
    elsewhere = [name for name in named if _is_known_elsewhere(name[0], scene.modality, scene.terminology)]
    if not elsewhere or len(elsewhere) == len(intent.names):
        return intent, ()
    names = tuple(name for name in intent.names if name not in elsewhere)
    column = language_of(text) is Language.ZH
    return replace(intent, names=names), (Message("task.unlearned_beside", names=[name[column] for name in elsewhere]),)


def _is_known_elsewhere(label: str, modality: Modality, terminology: Terminology) -> bool:
    """Whether an image of a kind may show a finding, and none had it in the training data."""
    is_possible = is_finding(label) and terminology.can_show(modality, label)
    is_learned = any(is_known(modality, english) for english, _ in terminology.labels)  # by this package
    return is_possible and is_learned and not is_known(modality, label)
