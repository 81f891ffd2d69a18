"""What a free question or a loose set of parameters asks for: the request."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace

from medrega_edge.boxes import PixelBox
from medrega_edge.domain import Language, Modality, Task, language_of
from medrega_edge.errors import UsageError
from medrega_edge.i18n.message import Message
from medrega_edge.prompts.intent import Intent, Kind, asked_text, understand, unknown_parts
from medrega_edge.prompts.intent.background import with_signs, with_topic_in_place, without_background
from medrega_edge.prompts.intent.naming import excluded, only_leaves_out, words_of
from medrega_edge.prompts.intent.parts import parts, without_how_sure, without_tag
from medrega_edge.prompts.intent.phrases import has, pattern
from medrega_edge.prompts.intent.unread import has_content
from medrega_edge.tasks.asked import Asked
from medrega_edge.tasks.base import TaskRequest, check_text, check_words, parse_task
from medrega_edge.tasks.body_part import deciding_parts
from medrega_edge.tasks.bounds import bound_in
from medrega_edge.tasks.classification import Classify, ClassifyByPart
from medrega_edge.tasks.derived import FromBoxes
from medrega_edge.tasks.detection import Detect
from medrega_edge.tasks.identification import Identify
from medrega_edge.tasks.left_out import (
    classes_unknown,
    listed_words,
    narrowing_words,
    notes_of,
    other_findings_left_out,
    place_left_out,
    questions_left_out,
    shows_one_side,
    side_left_out,
    structures_of_other_classes,
)
from medrega_edge.tasks.names_meant import affected_side, asks_for_unlearned, names_finding, with_names_meant
from medrega_edge.tasks.normality import IsNormal
from medrega_edge.tasks.of_intent import BOX, GONE, is_trained, request_of, without_unlearned
from medrega_edge.tasks.organs import VisibleOrgans
from medrega_edge.tasks.refusals import unknown_name
from medrega_edge.tasks.reporting import Report
from medrega_edge.tasks.scene import Scene
from medrega_edge.tasks.several import Several
from medrega_edge.tasks.vqa import AnswerQuestion
from medrega_edge.vocabulary.generic_words import generic_key
from medrega_edge.vocabulary.label_kinds import is_finding
from medrega_edge.vocabulary.label_sets import (
    LABEL_SETS,
    named_set,
)
from medrega_edge.vocabulary.plain_text import in_simplified_script, simplified
from medrega_edge.vocabulary.presence import is_known
from medrega_edge.vocabulary.sites import is_part
from medrega_edge.vocabulary.states import asks_how_it_is, asks_if_normal, disease_word
from medrega_edge.vocabulary.terminology import Terminology
from medrega_edge.vocabulary.wording import AREA, kind_left_out, narrower_kind, places_in

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


def parse_intent(text: str, scene: Scene) -> TaskRequest:
    """Turn a free question about an image into a request.

    Weights without a terminology get the question as it is typed. Raises UsageError for what no image or this package
    cannot tell, and for a name that the package does not know.
    """
    request = _parsed(text, scene)
    if not isinstance(request, Asked):
        return request
    left: tuple[Message, ...] = ()
    if request.intent.kind not in _OF_WHOLE_TEXT:
        left = questions_left_out(with_topic_in_place(text), request.intent, scene.terminology, scene.modality)
        left = left or other_findings_left_out(text)
    elif isinstance(request.request, VisibleOrgans) and not _OF_STRUCTURES.search(simplified(text)):
        left = (Message("task.structures_only"),)
    return replace(request, notes=(*request.notes, *left))


_OF_STRUCTURES = re.compile(r"organ|structure|anatom|bone|部位|器官|脏器|结构|解剖|骨")


_OF_WHOLE_TEXT = (Kind.REPORT, Kind.GROUNDED_REPORT, Kind.ANSWER, Kind.ORGANS)  # their answers regard all of it


def _parsed(text: str, scene: Scene) -> TaskRequest:
    check_text(text)
    check_words(text)
    if scene.terminology.labels:
        text = without_tag(without_how_sure(with_topic_in_place(with_signs(without_background(in_simplified_script(text))))))
        questions = parts(text, scene.terminology, scene.modality, scene.before)
        if several := _several(text, questions, scene) or _several(text, _alternatives_apart(text, scene), scene):
            return several
    intent = understand(text, scene.terminology, scene.modality)
    if not scene.terminology.labels:
        return _asked_freely(text, intent, scene.tasks)
    said = asked_text(text, scene.terminology, scene.modality)  # words of a history are no part of what is asked
    if only_leaves_out(simplified(text), scene.terminology):
        raise UsageError("task.only_left_out")
    boxes = BOX.findall(text) if Task.IDENTIFY in scene.tasks else []
    if len(boxes) > (0 if intent.names else 1):  # "is it the liver at [8, 68, 58, 156]?"
        notes = tuple(Message("task.question_left_out", question=", ".join(box)) for box in boxes[1:])
        identify = Identify(PixelBox(*map(float, boxes[0])), text)
        return Asked(text, replace(intent, kind=Kind.IDENTIFY, names=()), identify, notes=notes)
    if _asks_for_any_finding(said, intent, scene) and Task.REPORT in scene.tasks:
        place = listed_words((match.group() for match in places_in(simplified(said))), said)
        notes = notes_of(said, intent, scene.modality, place)
        return Asked(text, replace(intent, kind=Kind.REPORT, names=(), generic=()), IsNormal(text), place=place, notes=notes)
    intent = affected_side(said, with_names_meant(said, intent, scene), scene)
    if deciding_parts(said, scene.terminology):
        intent = replace(intent, kind=Kind.ANSWER, names=())
    elif GONE.search(said.casefold()) and (intent.kind is Kind.HELP or (intent.kind is Kind.REPORT and not intent.names)):
        raise UsageError("task.impossible")  # "which ones are missing?", "is anything missing?"
    elif _WHICH_OF_PAIR.search(simplified(said)) and not _shows_both(said, scene.modality):
        raise UsageError("task.which_of_pair")
    elif _OTHER_THAN.search(simplified(said)) and Task.REPORT in scene.tasks:
        others = tuple(excluded(simplified(said), scene.terminology)) or intent.names
        unknown_here = tuple(Message("task.unknown_beside", name=name) for name in intent.unknown)
        return Asked(
            text, replace(intent, kind=Kind.REPORT, names=(), generic=()), IsNormal(text, (), others), notes=unknown_here
        )
    elif (
        _asks_if_normal(said, intent) or _asks_what_is_wrong(said, intent) or asks_for_unlearned(said, intent, scene)
    ) and Task.REPORT in scene.tasks:
        if intent.unknown and not intent.names:
            raise unknown_name(text, intent, scene)
        if intent.kind is Kind.COMPARE or names_finding(intent):  # the structures themselves, not what may be in them
            structures = tuple(name for name in scene.terminology.find(simplified(said)) if not is_finding(name[0]))
            intent = replace(intent, kind=Kind.REPORT, names=structures, generic=())
        is_whole = bool(intent.generic) or scene.modality is Modality.PATHOLOGY  # "is the brain normal?" asks for all of it
        names = () if is_whole else intent.names
        regarded = (*intent.names, *(("", word) for word in intent.aside if _OF_STATE.fullmatch(word)))
        aside = tuple(word for word in intent.aside if not any(word in each for pair in regarded for each in pair))
        intent = replace(intent, kind=Kind.REPORT, aside=aside)
        column = language_of(text) is Language.ZH
        parts_of_organs = ("、" if column else ", ").join(name[column] for name in names if is_part(name[0]))
        places = (match.group() for match in places_in(simplified(said)))
        place = listed_words(places, said) or parts_of_organs
        others = tuple(name for name in excluded(simplified(said), scene.terminology))
        notes = notes_of(said, intent, scene.modality, place)
        return Asked(text, intent, IsNormal(text, names, others), place=place, notes=notes)
    elif (
        scene.modality in (Modality.FUNDUS, Modality.OCT)
        and {english.split()[-1] for english, _ in intent.names} == {"eye"}
        and _SIDES_OR_WHICH.search(simplified(said))
    ):
        raise UsageError("task.which_of_pair")
    elif (
        intent.kind is Kind.PRESENCE and intent.names and intent.unknown and _IS_THE.match(said)
    ):  # "is the polyp bleeding?"
        raise unknown_name(text, replace(intent, names=(), generic=()), scene)
    elif intent.names and not names_finding(intent) and intent.kind is Kind.PRESENCE and (word := disease_word(said)):
        raise UsageError("task.state_unknown", word=word)
    if _asks_if_enlarged(intent) and Task.DETECT in scene.tasks:
        intent = replace(intent, kind=Kind.MEASURE)
    if intent.kind is Kind.MEASURE and _WALL.search(simplified(said)):
        raise UsageError("task.impossible_outline")
    is_outline = intent.kind is Kind.LOCATE and intent.asks_for_outline
    is_outline |= intent.kind in (Kind.LOCATE, Kind.MEASURE) and AREA.search(said) is not None
    if _ORDINAL.search(simplified(said)):
        raise UsageError("task.only_extreme")
    if tooth := _TOOTH.search(said):
        raise unknown_name(text, replace(intent, generic=(), unknown=(tooth.group(),)), scene)
    if scene.has_masks and is_outline:
        intent = replace(intent, kind=Kind.SEGMENT)
    intent, unlearned = without_unlearned(text, intent, scene)
    request = request_of(said, intent, scene)
    is_plain = request.task is Task.DETECT and intent.names and not intent.generic and not intent.typos
    of_side = replace(intent, side=None) if shows_one_side(intent, scene.modality) else intent
    place = place_left_out(said, of_side, scene.terminology) if request.task is Task.DETECT else ""
    is_list = intent.kind in (Kind.LOCATE, Kind.SEGMENT, Kind.MEASURE, Kind.COUNT) and not re.search("[?？]", said)
    parts_unknown = unknown_parts(said, scene.terminology).values() if is_plain and is_list and not intent.unknown else ()
    unknown = tuple(part for part in parts_unknown if has_content(words_of(part)) and not _OF_ASKER.match(part))
    kind = kind_left_out(said, [english for english, _ in intent.names]) if intent.kind is Kind.PRESENCE else None
    if request.task is Task.DETECT and kind is None and intent.kind is not Kind.PRESENCE:
        kind = narrower_kind(said, [english for english, _ in intent.names])
    names_of_sets = request.sets if isinstance(request, ClassifyByPart) else [getattr(request, "labels", None)]
    if label_sets := [LABEL_SETS[str(name)] for name in names_of_sets if isinstance(name, str) and name in LABEL_SETS]:
        unknown_classes = classes_unknown(said, intent, label_sets)
        side = side_left_out(said)
        others_named = structures_of_other_classes(said, scene.terminology, label_sets)
        place = ("、" if language_of(text) is Language.ZH else ", ").join(others_named)
        return Asked(text, intent, request, place, classes_unknown=unknown_classes, notes=(side,) if side else ())
    if intent.kind is Kind.PRESENCE and intent.names and not kind and (narrowing := narrowing_words(intent, place)):
        kind = (", " if language_of(text) is Language.EN else "、").join(narrowing), intent.names[0][0]
    if isinstance(request, FromBoxes) and intent.kind is Kind.PRESENCE and place:
        request = replace(request, says_yes=False)
    notes = (*(Message("task.unknown_beside", name=part) for part in unknown), *unlearned)
    if isinstance(request, FromBoxes | Detect) and kind:
        column = language_of(text) is Language.ZH
        shown = next(name[column] for name in intent.names if name[0] == kind[1])
        if isinstance(request, FromBoxes):
            request = replace(request, says_yes=False)
        return Asked(text, intent, request, place, (kind[0], shown), notes=notes)
    notes = (*notes, *notes_of(said, intent, scene.modality, place))
    if isinstance(request, FromBoxes) and intent.kind is Kind.COUNT and not request.bound and (bound := bound_in(said)):
        notes = (
            *notes,
            Message("task.words_left_out", words=[bound.shown.text(language_of(text))]),
        )  # it does not say of which name
    return Asked(text, of_side, request, place, notes=notes)


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
    r"|\b(?:left or (?:the |a )?right|right or (?:the |a )?left) "
    r"(?:breast|eye|arm|leg|hand(?!-? side)|foot|knee|hip|shoulder)\b"
    r"|^\W*(?:is (?:this|it) )?(?:the |a )?(?:left|right) (breast|eye|arm|leg|hand|foot|knee|hip|shoulder)"
    r" or (?:the )?(?:left|right)(?: \1)?\W*$"
    r"|哪一?[侧边只个]的?(?:乳腺|乳房|眼睛?|手|腿|脚|肩膀?|膝盖?)\W*$|左(?:侧|边)?(?:乳|眼|手|腿|脚|肩)\w*还是右"
)


def _shows_both(text: str, modality: Modality | None) -> bool:
    """Whether an image holds both of a pair: a slice shows both breasts."""
    return modality in (Modality.CT, Modality.MRI) and re.search("breast|乳", simplified(text)) is not None


_OR = re.compile(r"\b(?:or|and)\b|还是|或者?|[和与及、]|[?？](?=.*\w)")


def _alternatives_apart(text: str, scene: Scene) -> list[str]:
    """Return a question for each of two findings that no one set of classes tells: "DR or macular oedema?"; else none."""
    plain = simplified(text)
    plain = pattern("or_not", plain).sub(" ", plain)
    alternatives = [each.strip(" ?？") for each in _OR.split(plain)]
    if len(alternatives) != 2 or not all(alternatives):
        return []
    sets = [named_set(each, scene.modality) for each in alternatives]
    told = [label_set or _finding_of(each, scene) for label_set, each in zip(sets, alternatives, strict=True)]
    return [f"{each}?" for each in alternatives] if any(sets) and all(told) and told[0] != told[1] else []


def _finding_of(text: str, scene: Scene) -> str | None:
    """Return the one finding that a text names, if such images had it in the training data; None for any other text."""
    intent = understand(text, scene.terminology, scene.modality)
    if len(intent.names) != 1 or intent.unknown or intent.generic or not names_finding(intent):
        return None
    return intent.names[0][0] if scene.modality is None or is_known(scene.modality, intent.names[0][0]) else None


def _several(text: str, questions: Sequence[str], scene: Scene) -> Several | None:
    """Return a request of all questions that have an answer, and say why others have none; None without questions.

    Raises UsageError where none has an answer.
    """
    asked: list[Asked] = []
    refused: list[Message] = []
    for question in questions:
        try:
            request = parse_intent(question, scene)
        except UsageError as error:
            is_unsaid = error.message.code == "task.impossible"  # which of the questions?
            refused.append(Message("task.part_impossible", question=question) if is_unsaid else error.message)
        else:  # a part may ask several questions itself
            asked += request.questions if isinstance(request, Several) else [request] if isinstance(request, Asked) else []
            refused += request.refused if isinstance(request, Several) else ()
    reasons = tuple(dict.fromkeys(refused))
    reasons = tuple(each for each in reasons if each.code != "task.help") or reasons
    if not asked and len(reasons) == 1:
        raise UsageError.of(reasons[0])
    if not asked and reasons:
        raise UsageError("task.none_answered", reasons=reasons)
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
    if names_finding(intent):
        return False
    is_how_it_is = bool(intent.names) and intent.kind is not Kind.IMPOSSIBLE and asks_how_it_is(text)
    return is_how_it_is or (is_of_state and asks_if_normal(text))


def _asks_if_enlarged(intent: Intent) -> bool:
    """Whether a question asks if structures are larger than usual: boxes tell how large they are."""
    return intent.asks_if_enlarged and intent.kind is Kind.ANSWER and bool(intent.names) and not names_finding(intent)


_WHAT_IS_WRONG = re.compile(
    r"\bwhat(?: ?'?s| is| are)? (?:the )?(?:wrong|matter|problems?|abnormal(?:ity|ities)?|issues?|trouble) (?:with|in|of)\b"
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


def _asked_freely(text: str, intent: Intent, tasks: Sequence[str]) -> TaskRequest:
    if intent.kind is Kind.LOCATE and Task.DETECT in tasks:
        return Detect((text,))
    if intent.kind in (Kind.REPORT, Kind.GROUNDED_REPORT) and is_trained(_TASKS[intent.kind], tasks):
        return Report(intent.kind is Kind.GROUNDED_REPORT)
    if Task.VQA in tasks:
        return AnswerQuestion(text)
    raise UsageError("task.unclear_question", tasks=list(tasks))


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
