"""What a free question or a loose set of parameters asks for: the request, and the CT window to look in."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace

from medrega_edge.boxes import PixelBox
from medrega_edge.domain import Language, Modality, Task, language_of
from medrega_edge.errors import UsageError
from medrega_edge.i18n.message import Message
from medrega_edge.prompts.intent import Intent, Kind, asked_text, understand, unknown_parts
from medrega_edge.prompts.intent.naming import excluded, only_leaves_out
from medrega_edge.prompts.intent.parts import parts, without_how_sure
from medrega_edge.prompts.intent.phrases import has
from medrega_edge.tasks.about_image import BodyPart, KindOfImage
from medrega_edge.tasks.base import TaskRequest, check_text, check_words, parse_task
from medrega_edge.tasks.body_part import deciding_parts
from medrega_edge.tasks.class_choice import classification
from medrega_edge.tasks.classification import Classify, ClassifyByPart
from medrega_edge.tasks.derived import Asked, FromBoxes
from medrega_edge.tasks.detection import Detect
from medrega_edge.tasks.identification import Identify
from medrega_edge.tasks.left_out import (
    OF_ONE_SIDE,
    classes_unknown,
    narrowing_words,
    notes_of,
    place_left_out,
    questions_left_out,
    side_left_out,
)
from medrega_edge.tasks.names_meant import affected_side, asks_for_unlearned, is_shown, names_finding, with_names_meant
from medrega_edge.tasks.normality import IsNormal
from medrega_edge.tasks.organs import VisibleOrgans
from medrega_edge.tasks.refusals import impossible, unknown_name
from medrega_edge.tasks.reporting import Report
from medrega_edge.tasks.scene import Scene
from medrega_edge.tasks.segmentation import Segment
from medrega_edge.tasks.several import Several
from medrega_edge.tasks.vqa import AnswerQuestion
from medrega_edge.vocabulary.answers import is_negated
from medrega_edge.vocabulary.label_sets import (
    LABEL_SETS,
    label_set_of,
    modality_name,
    named_set,
    names_class,
)
from medrega_edge.vocabulary.presence import is_known
from medrega_edge.vocabulary.terminology import Terminology
from medrega_edge.vocabulary.wording import (
    AREA,
    asks_if_normal,
    disease_word,
    generic_key,
    generic_labels,
    is_finding,
    is_part,
    kind_left_out,
    may_be_finding,
    names_cancer,
    place_in,
    simplified,
)

_TASKS = {  # of kinds of question that name no place
    Kind.CLASSIFY: Task.CLASSIFY,
    Kind.MODALITY: Task.CLASSIFY,
    Kind.IDENTIFY: Task.IDENTIFY,
    Kind.REPORT: Task.REPORT,
    Kind.BODY_PART: Task.REPORT,
    Kind.GROUNDED_REPORT: Task.GROUNDED_REPORT,
    Kind.ANSWER: Task.VQA,
    Kind.HELP: Task.VQA,
    Kind.IMPOSSIBLE: Task.VQA,
}


def guess_task(
    text: str, tasks: Sequence[str], terminology: Terminology, box: PixelBox | None = None, labels: Sequence[str] | str = ()
) -> Task:
    """Tell which of a package's `tasks` is meant where none is named.

    A box asks what it holds, labels ask to choose. Raises UsageError where the package answers none that fits.
    """
    if box is not None:
        return Task.IDENTIFY
    if labels:
        return Task.CLASSIFY
    task = _TASKS.get(understand(text, terminology).kind, Task.DETECT)
    if task not in (Task.IDENTIFY, Task.CLASSIFY) and is_trained(task, tasks):
        return task
    if Task.VQA in tasks:
        return Task.VQA
    raise UsageError("task.unclear_question", tasks=list(tasks))


def is_trained(task: Task, tasks: Sequence[str]) -> bool:
    """Whether a package can do a task: one of its own, or a grounded report out of its reports."""
    return task in tasks or (task is Task.GROUNDED_REPORT and Task.REPORT in tasks)


def parse_intent(text: str, scene: Scene) -> TaskRequest:
    """Turn a free question about an image into a request.

    Weights without a terminology get the question as it is typed. Raises UsageError for what no image or this package
    cannot tell, and for a name that the package does not know.
    """
    request = _parsed(text, scene)
    if isinstance(request, Asked) and request.intent.kind not in _OF_WHOLE_TEXT:
        left = questions_left_out(text, request.intent, scene.terminology, scene.modality)
        return replace(request, notes=(*request.notes, *left))
    return request


_OF_WHOLE_TEXT = (Kind.REPORT, Kind.GROUNDED_REPORT, Kind.ANSWER, Kind.ORGANS)  # their answers regard all of it


def _parsed(text: str, scene: Scene) -> TaskRequest:
    check_text(text)
    check_words(text)
    text = without_how_sure(text) if scene.terminology.labels else text
    if scene.terminology.labels:
        questions = parts(text, scene.terminology, scene.modality, scene.before)
        if several := _several(text, questions or _classes_of_two_sets(text, scene.modality), scene):
            return several
    intent = understand(text, scene.terminology, scene.modality)
    if not scene.terminology.labels:
        return _asked_freely(text, intent, scene.tasks)
    said = asked_text(text, scene.terminology, scene.modality)  # words of a history are no part of what is asked
    if only_leaves_out(simplified(text), scene.terminology):
        raise UsageError("task.only_left_out")
    boxes = _BOX.findall(text) if Task.IDENTIFY in scene.tasks else []
    if len(boxes) > (0 if intent.names else 1):  # "is it the liver at [8, 68, 58, 156]?"
        notes = tuple(Message("task.question_left_out", question=", ".join(box)) for box in boxes[1:])
        identify = Identify(PixelBox(*map(float, boxes[0])), text)
        return Asked(text, replace(intent, kind=Kind.IDENTIFY, names=()), identify, notes=notes)
    if _asks_for_any_finding(said, intent, scene) and Task.REPORT in scene.tasks:
        place = match.group() if (match := place_in(simplified(said).casefold())) else ""
        notes = notes_of(said, intent, scene.modality, place)
        return Asked(text, replace(intent, kind=Kind.REPORT, names=(), generic=()), IsNormal(text), place=place, notes=notes)
    intent = affected_side(said, with_names_meant(said, intent, scene), scene)
    if deciding_parts(said, scene.terminology):
        intent = replace(intent, kind=Kind.ANSWER, names=())
    elif _GONE.search(said.casefold()) and (intent.kind is Kind.HELP or (intent.kind is Kind.REPORT and not intent.names)):
        raise UsageError("task.impossible")  # "which ones are missing?", "is anything missing?"
    elif _WHICH_OF_PAIR.search(simplified(said)):
        raise UsageError("task.which_of_pair")
    elif (_asks_if_normal(said, intent) or asks_for_unlearned(said, intent, scene)) and Task.REPORT in scene.tasks:
        if intent.unknown and not intent.names:
            raise unknown_name(text, intent, scene)
        if intent.kind is Kind.COMPARE or names_finding(intent):  # the structures themselves, not what may be in them
            structures = tuple(name for name in scene.terminology.find(simplified(said)) if not is_finding(name[0]))
            intent = replace(intent, kind=Kind.REPORT, names=structures, generic=())
        is_whole = bool(intent.generic) or scene.modality is Modality.PATHOLOGY  # "is the brain normal?" asks for all of it
        names = () if is_whole else intent.names
        if intent.kind in (Kind.CLASSIFY, Kind.COUNT, Kind.BODY_PART):
            intent = replace(intent, kind=Kind.REPORT)
        column = language_of(text) is Language.ZH
        parts_of_organs = ("、" if column else ", ").join(name[column] for name in names if is_part(name[0]))
        place = match.group() if (match := place_in(simplified(said).casefold())) else parts_of_organs
        others = tuple(name for name in excluded(simplified(said), scene.terminology))
        notes = notes_of(said, intent, scene.modality, place)
        return Asked(text, intent, IsNormal(text, names, others), place=place, notes=notes)
    elif (
        scene.modality in (Modality.FUNDUS, Modality.OCT)
        and {english.split()[-1] for english, _ in intent.names} == {"eye"}
        and _SIDES_OR_WHICH.search(simplified(said))
    ):
        raise UsageError("task.which_of_pair")
    elif intent.names and not names_finding(intent) and intent.kind is Kind.PRESENCE and (word := disease_word(said)):
        raise UsageError("task.state_unknown", word=word)
    if intent.kind is Kind.MEASURE and _WALL.search(simplified(said)):
        raise UsageError("task.impossible_outline")
    is_outline = (intent.kind is Kind.LOCATE and intent.asks_for_outline) or (
        intent.kind is Kind.MEASURE and AREA.search(said) is not None
    )
    if _ORDINAL.search(simplified(said).casefold()):
        raise UsageError("task.only_extreme")
    if tooth := _TOOTH.search(said):
        raise unknown_name(text, replace(intent, generic=(), unknown=(tooth.group(),)), scene)
    if scene.has_masks and is_outline:
        intent = replace(intent, kind=Kind.SEGMENT)
    intent, unlearned = _without_unlearned(text, intent, scene)
    request = _request(said, intent, scene)
    is_plain = request.task is Task.DETECT and intent.names and not intent.generic and not intent.typos
    place = place_left_out(said, intent, scene.terminology) if request.task is Task.DETECT else ""
    unknown = tuple(unknown_parts(said, scene.terminology)) if is_plain and not intent.unknown else ()
    kind = kind_left_out(said, [english for english, _ in intent.names]) if intent.kind is Kind.PRESENCE else None
    names_of_sets = request.sets if isinstance(request, ClassifyByPart) else [getattr(request, "labels", None)]
    if label_sets := [LABEL_SETS[str(name)] for name in names_of_sets if isinstance(name, str) and name in LABEL_SETS]:
        unknown_classes = classes_unknown(said, intent, label_sets)
        side = side_left_out(said)
        return Asked(text, intent, request, classes_unknown=unknown_classes, notes=(side,) if side else ())
    if intent.kind is Kind.PRESENCE and intent.names and not kind and (narrowing := narrowing_words(intent, place)):
        kind = " ".join(narrowing) if language_of(text) is Language.EN else "、".join(narrowing), intent.names[0][0]
    if isinstance(request, FromBoxes) and intent.kind is Kind.PRESENCE and place:
        request = replace(request, says_yes=False)
    if isinstance(request, FromBoxes) and kind:
        request = replace(request, says_yes=False)
        column = language_of(text) is Language.ZH
        shown = next(name[column] for name in intent.names if name[0] == kind[1])
        return Asked(text, intent, request, unknown, place, (kind[0], shown), notes=unlearned)
    notes = (*unlearned, *notes_of(said, intent, scene.modality, place))
    intent = replace(intent, side=None) if scene.modality in OF_ONE_SIDE else intent
    return Asked(text, intent, request, unknown, place, notes=notes)


_WALL = re.compile(
    r"\bthick(?:ness)?\b.*\b(?:wall|myocardium|muscle|cortex|retina)\b|\b(?:wall|myocardial|cortical|retinal) thickness\b"
    r"|(?:壁|心肌|皮质|视网膜).{0,4}厚"
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
    r"|\b(?:left or right|right or left) (?:breast|eye|arm|leg|hand(?!-? side)|foot|knee|hip|shoulder)\b"
    r"|^\W*(?:is (?:this|it) )?(?:the |a )?(?:left|right) (breast|eye|arm|leg|hand|foot|knee|hip|shoulder)"
    r" or (?:the )?(?:left|right)(?: \1)?\W*$"
    r"|哪一?[侧边只个]的?(?:乳腺|乳房|眼睛?|手|腿|脚|肩膀?|膝盖?)\W*$|左(?:侧|边)?(?:乳|眼|手|腿|脚|肩)\w*还是右"
)
_OF_IMAGE = re.compile(
    r"\b(?:side|left|right|half) of (?:the|this) (?:image|picture|screen|photo|film|frame)\b"
    r"|(?:图像|图片|图|画面|照片)(?:里|中|上)?的?(?:左|右|哪一?[侧边])"
)


_OR = re.compile(r"\bor\b|还是|或者?|[?？](?=.*\w)")


def _classes_of_two_sets(text: str, modality: Modality | None) -> list[str]:
    """Return a question for each alternative that only a set of its own tells: "DR or macular oedema?"; else none."""
    alternatives = [each.strip(" ?？") for each in _OR.split(simplified(text).casefold())]
    if len(alternatives) != 2:
        return []
    first, second = (named_set(each, modality) for each in alternatives)
    return [f"{each}?" for each in alternatives] if first and second and first != second else []


def _several(text: str, questions: Sequence[str], scene: Scene) -> Several | None:
    """Return a request of all questions that have an answer, and say why others have none; None where none has."""
    asked: list[Asked] = []
    refused: list[Message] = []
    for question in questions:
        try:
            request = parse_intent(question, scene)
        except UsageError as error:
            refused.append(error.message)
        else:
            assert isinstance(request, Asked)
            asked.append(request)
    return Several(text, tuple(asked), tuple(refused)) if asked else None


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
    return is_of_state and not names_finding(intent) and asks_if_normal(text)


_ANY_FINDING = re.compile(r"\b(?:abnormal\w*|lesions?|patholog\w+|anomal\w+)\b|异常|病变|病灶|毛病|问题")
_OF_MANY_ORGANS = (Modality.CT, Modality.MRI, Modality.XRAY)  # where the word alone tells no finding


def _asks_for_any_finding(text: str, intent: Intent, scene: Scene) -> bool:
    """Whether a question asks for whatever is not as usual, in a kind of image of many organs: "有没有异常"."""
    plain = simplified(text).casefold()
    is_any = bool(intent.generic) and not intent.unknown and intent.side is None and _ANY_FINDING.search(plain) is not None
    is_any = is_any and {*map(generic_key, intent.generic)} == {"lesion"} and not scene.terminology.find(plain)
    is_any = is_any and intent.kind is Kind.PRESENCE and not has("where", plain)
    return is_any and (scene.modality in _OF_MANY_ORGANS or all(scene.is_unfamiliar(name[0]) for name in intent.names))


def _asked_freely(text: str, intent: Intent, tasks: Sequence[str]) -> TaskRequest:
    if intent.kind is Kind.LOCATE and Task.DETECT in tasks:
        return Detect((text,))
    if intent.kind in (Kind.REPORT, Kind.GROUNDED_REPORT) and is_trained(_TASKS[intent.kind], tasks):
        return Report(intent.kind is Kind.GROUNDED_REPORT)
    if Task.VQA in tasks:
        return AnswerQuestion(text)
    raise UsageError("task.unclear_question", tasks=list(tasks))


def _request(text: str, intent: Intent, scene: Scene) -> TaskRequest:
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
        case Kind.MODALITY if (
            has("body_part", simplified(text).casefold()) and scene.prompts.modalities and Task.REPORT in scene.tasks
        ):
            return BodyPart(tells_kind=True)
        case Kind.MODALITY if scene.prompts.modalities or scene.modality:
            return KindOfImage()
        case Kind.BODY_PART | Kind.ORGANS if intent.unknown:
            raise unknown_name(text, intent, scene)
        case Kind.BODY_PART if scene.prompts.modalities and Task.REPORT in scene.tasks:
            return BodyPart(tells_kind=has("kind_of_image", simplified(text).casefold()))
        case Kind.ORGANS if _PLACE.search(text.casefold()) or _TOUCHES.search(text.casefold()):
            raise UsageError("task.impossible_relation")
        case Kind.ORGANS if disease_word(text) or has("enlarged", simplified(text).casefold()):
            raise UsageError("task.impossible")  # that an organ is there does not tell that it is enlarged
        case Kind.ORGANS if _SYSTEM.search(text.casefold()) and Task.VQA in scene.tasks:
            return AnswerQuestion(text)  # boxes do not tell which system an organ belongs to
        case Kind.ORGANS if Task.DETECT in scene.tasks:
            others = excluded(simplified(text), scene.terminology)
            if not others and _UNSEEN.search(text.casefold()):
                raise UsageError("task.impossible")
            return VisibleOrgans(tuple(english for english, _ in others))
        case Kind.CLASSIFY if intent.unknown and not names_class(text, scene.modality):  # "glaucoma?": no set has it
            raise unknown_name(text, intent, scene)
        case Kind.CLASSIFY if (
            _VIEW.search(text.casefold()) and scene.modality is not Modality.ULTRASOUND and Task.VQA in scene.tasks
        ):
            return AnswerQuestion(text)  # views are classes of echocardiograms alone
        case Kind.CLASSIFY if Task.CLASSIFY in scene.tasks:
            return classification(text, scene)
        case Kind.PRESENCE if (
            scene.modality is Modality.DERMOSCOPY and _MOLE.search(text.casefold()) and Task.CLASSIFY in scene.tasks
        ):
            return classification(text, scene)  # the box of a lesion does not tell that it is a mole
        case Kind.PRESENCE | Kind.ANSWER | Kind.LOCATE if (
            scene.modality in (Modality.FUNDUS, Modality.OCT)
            and _DIABETIC.search(text.casefold())
            and Task.CLASSIFY in scene.tasks
        ):
            return Classify("macular-edema", question=text)  # the class, and not the fluid
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
        return AnswerQuestion(text, about=structures)
    raise UsageError("task.unclear_question", tasks=list(scene.tasks))


_PLACE = re.compile(r"\b(?:left|right|top|bottom|upper|lower|leftmost|rightmost|between)\b|[左右]侧|[左右]边|[上下]方")
_TOUCHES = re.compile(r"\b(?:touch\w*|adjacent|next to|near|beside|behind|border\w*|surround\w*)\b|相邻|挨着|紧邻|毗邻")
_UNSEEN = re.compile(
    r"\b(?:can(?:no|'?)t|not (?:be|visible|seen|shown|present|here|in)|isn'?t|aren'?t|missing|absent|invisible|unseen)\b"
    r"|看不到|看不见|不可见|没有显示|缺"
)
_SYSTEM = re.compile(r"\bsystem\b|系统")
_GONE = re.compile(
    r"\ball (?:of )?(?:my|his|her|the|their) (?:own )?teeth\b|牙.{0,3}(?:齐|全)[吗不了]"
    r"|\b(?:missing|absent|lost|gone|lacking)\b|缺失|缺了|缺少|(?<!多)少了|掉了|缺几|缺牙|缺齿"
)
_LISTED = re.compile(r"\b(?:and|or)\b|[,，、和或及与]|[?？](?=.*\w)")
_DIABETIC = re.compile(r"\bdiabetic macular\b|(?<![a-z])dme(?![a-z])|糖尿病性?黄斑")
_MOLE = re.compile(r"\b(?:nevus|naevus|nevi|naevi|moles?)\b|痣")
_VIEW = re.compile(r"\bviews?\b|切面|体位")

# "[30, 40, 90, 120]", "(240, 250)": a box, or a point.
_PIXELS = re.compile(r"(?<![a-z\d])(\d{1,5})\D{1,6}?(\d{1,5})(?:\D{1,6}?(\d{1,5})\D{1,6}?(\d{1,5}))?(?!\d)")

_BOX = re.compile(r"(?<![a-z\d])" + r"[^\da-wz/%]{1,6}?".join([r"(\d{1,5})"] * 4) + r"(?![\d/])")
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
    return names_cancer(text) and bool(intent.names) and not any(names_cancer(english) for english, _ in intent.names)


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
            raise UsageError("task.unlearned_in_kind", names=shown, kind=modality_name(scene.modality, language_of(text)))
    if (
        intent.kind is Kind.PRESENCE
        and intent.unknown
        and any(map(may_be_finding, intent.unknown))
        and not any(is_finding(english) for english, _ in intent.names)
        and not _LISTED.search(text.casefold())
    ):
        raise unknown_name(text, replace(intent, generic=()), scene)  # "a hernia at L4?"
    is_of_many = {"tooth", "vertebra"} & {english.split()[-1] for english, _ in intent.names}
    may_be_gone = intent.kind is Kind.COUNT or (intent.kind in (Kind.PRESENCE, Kind.LOCATE) and is_of_many)
    if may_be_gone and _GONE.search(text.casefold()):
        raise UsageError("task.impossible")  # boxes tell how many are there
    if intent.kind in (Kind.LOCATE, Kind.SEGMENT):
        names = [english for english, _ in intent.names]
        return Segment(names) if intent.kind is Kind.SEGMENT else Detect(names)
    several = len(intent.names)
    is_one_unknown = intent.kind in (Kind.COMPARE, Kind.DISTANCE) and intent.unknown and (several < 2 or intent.generic)
    if is_one_unknown:
        raise unknown_name(text, intent, scene)
    if (intent.kind is Kind.COMPARE and several < 2) or (
        intent.kind is Kind.DISTANCE and several != 2 and not _is_one_and_generic(intent)
    ):
        raise UsageError("task.two_names")
    others = {label for word in intent.generic if not names_cancer(word) for label in generic_labels(word)}
    # A polyp is no answer to "any cancer?", but to "any polyps? any cancer?".
    cancers = tuple(name for name in intent.names if names_cancer(name[0]) or name[0] in others)
    asks_for_cancer = intent.kind is Kind.PRESENCE and names_cancer(text)
    names_asked = cancers if asks_for_cancer and cancers else intent.names
    return FromBoxes(intent.kind, names_asked, not is_negated(text), bool(_OF_IMAGE.search(simplified(text))))


def _is_one_and_generic(intent: Intent) -> bool:
    """Whether the names are one, and those that a generic word stands for: "how far is the tumour from the aorta?"."""
    return sum(english not in intent.meant for english, _ in intent.names) == 1 and len(intent.names) > 2


def _without_unlearned(text: str, intent: Intent, scene: Scene) -> tuple[Intent, tuple[Message, ...]]:
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


def with_regions_first(request: TaskRequest) -> TaskRequest:
    """Return a request that locates the relevant regions first, where words alone answer it; others stay as they are."""
    if isinstance(request, Asked):
        return replace(request, request=with_regions_first(request.request))
    if isinstance(request, AnswerQuestion | Classify | ClassifyByPart):
        return replace(request, regional_chain_of_thought=True)
    return request


def build_request(
    task: Task | str,
    question: str = "",
    *,
    box: PixelBox | None = None,
    labels: Sequence[str] | str = (),
    multiple: bool = False,
    regional_chain_of_thought: bool = False,
) -> TaskRequest:
    """Build the request that a line of a batch or the options of a command describe.

    Raises UsageError for an unknown task, for parameters that do not go with it, and for those that it lacks.
    """
    task = parse_task(task)
    if regional_chain_of_thought and task not in (Task.VQA, Task.CLASSIFY):
        raise UsageError("task.cot_of_other_task", task=task.value)
    if box is not None and task is not Task.IDENTIFY:
        raise UsageError("task.box_of_other_task", task=task.value)
    if labels and task is not Task.CLASSIFY:
        raise UsageError("task.labels_of_other_task", task=task.value)
    if multiple and task is not Task.CLASSIFY:
        raise UsageError("task.several_of_other_task", task=task.value)
    match task:
        case Task.DETECT:
            return Detect((question,))
        case Task.IDENTIFY:
            if box is None:
                raise UsageError("task.no_box")
            return Identify(box, question)
        case Task.CLASSIFY:
            if not labels:
                raise UsageError("task.no_labels")
            return Classify(labels, multiple, regional_chain_of_thought, question)
        case Task.VQA:
            return AnswerQuestion(question, regional_chain_of_thought)
        case Task.REPORT | Task.GROUNDED_REPORT:
            return Report(task is Task.GROUNDED_REPORT)


# What a question speaks of -> the window in which a radiologist would look for it; the first that fits.
_WINDOW_WORDS = (
    ("mediastinum", re.compile(r"mediastin|纵隔", re.IGNORECASE)),
    ("lung", re.compile(r"\blungs?\b|pulmon|pneumo|bronch|肺|支气管", re.IGNORECASE)),
    ("brain", re.compile(r"brain|cerebr|cerebell|ventricular system|intracranial|stroke|脑|颅内", re.IGNORECASE)),
    ("bone", re.compile(r"\bbones?\b|fractur|vertebra|skull|\bribs?\b|femur|骨|椎", re.IGNORECASE)),
    ("liver", re.compile(r"\bliver\b|hepat|肝", re.IGNORECASE)),
)


def window_preset_for(question: str) -> str:
    """Name of the preset in which to look for what a question asks; soft tissue when it does not say."""
    return next((name for name, words in _WINDOW_WORDS if words.search(question)), "soft")
