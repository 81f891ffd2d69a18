"""The clauses of a text, and the pieces of it that ask by themselves."""

from __future__ import annotations

import re
from typing import NamedTuple

from medrega_edge.domain import Modality
from medrega_edge.prompts.intent import Kind, understand
from medrega_edge.prompts.intent.back_references import (
    ARE_THERE,
    ASKS_FOR_FINDING,
    BARE_NAMES,
    asks_of_a_side,
    extreme_organ,
    goes_on,
    named_in,
    points_back,
    with_finding_before,
)
from medrega_edge.prompts.intent.conjoined import one_for_each
from medrega_edge.prompts.intent.naming import named, words_of
from medrega_edge.prompts.intent.phrases import has
from medrega_edge.prompts.intent.spelling import plain_text
from medrega_edge.vocabulary.answers import offers_choice
from medrega_edge.vocabulary.generic_words import MARK, UNKNOWN
from medrega_edge.vocabulary.label_kinds import is_finding
from medrega_edge.vocabulary.label_sets import named_set
from medrega_edge.vocabulary.plain_text import simplified, without_list_signs
from medrega_edge.vocabulary.states import asks_if_normal
from medrega_edge.vocabulary.terminology import Terminology

# How a part begins that asks, or says what to do.
_BEGINS = (
    "how|what|which|in which|on which|where|whether|is|are|was|were|has|have|can|should|do|does|any|tell|say|see|check|show"
    "|find|locate|mark|outline|segment|measure|count|give|report|describe|classify|grade|stage|diagnose|name|identify|label|compare"
    "|write|estimate|compute"
)
_BOUNDARY = re.compile(
    r"[?？。;；\n]"
    r"|(?:(?<= size)|(?<= position)|(?<= location)|(?<= number)|(?<= side)) ?(?:,|/|,? and)(?= ?(?:the |its )?"
    r"(?:size|position|location|number|type|side|laterality)\b)"
    # Chinese is often typed without a sign between two questions: "息肉多大在哪".
    r"|(?<=多大)(?=在哪|几个|良性|恶性|是不?是|有没有)|(?<=在哪)(?=多大|有多大|几个|有几|良性|恶性|大小)"
    r"|(?<=在哪[里儿])(?=多大|有多大|几个|有几|良性|恶性|大小|有没有|是不?是)|(?<=几[个颗枚处])(?=在哪|多大|良性|恶性)"
    r"|(?<=[啊呀呢])(?=要不要|是不是|能不能|会不会|有没有|严重)|(?<=恶性)(?=多大|在哪)|(?<=吗)(?=有没有|在哪|多大|几个|是不?是|良性|能不能|严重)"
    r"|(?:(?<=位置)|(?<=大小)|(?<=多大)|(?<=在哪)|(?<=哪里)|(?<=哪儿)|(?<=数量)|(?<=个数)|(?<=数目))[、/]|(?<=位置)[及和与跟](?=大小|数量|形态|范围|性质|类型)"
    r"|(?:(?<=数目)|(?<=数量)|(?<=个数))[及和与跟](?=最大|最小|大小|位置|尺寸)"
    r"|(?<=大小)[及和与跟](?=位置|数量|形态|范围|性质|类型)|(?:(?<=性质)|(?<=类型))[及和与跟](?=位置|大小|数量)"
    r"|[,，](?! ?\d)|(?<!\d)[,，]|(?<=[a-z\u3400-\u9fff][a-z\u3400-\u9fff])[.!！](?=\s)"
    r"|然后|并且?(?!列)|以及(?=[有是在多几怎什哪其它测量标比判说给请把]|大小|位置|数量)|同时|顺便|最后"
    rf"|(?<=\w) [-\u2013\u2014]+ (?=(?:{_BEGINS})\b)"
    r"|(?:\b(?:and|then|also|plus)|&)(?= (?:please |then |also )?"
    rf"(?:{_BEGINS}|if (?:so|yes|there))\b)"
)
_ASKING = ("locate", "outline", "measure", "count", "side", "compare", "distance", "presence_strong")
_NAMELESS = ("report_strong", "all_well", "kind_of_image", "body_part", "organs", "classify")  # what asks without a name
_OF_IMAGE = (Kind.REPORT, Kind.BODY_PART, Kind.MODALITY, Kind.ORGANS, Kind.IDENTIFY, Kind.CLASSIFY)
# "if so, how big is it?": the answer itself tells whether there is one.
_IF_SO = re.compile(
    r"^(?:and |but )?if (?:so|yes|any|there (?:is|are)(?: one| any)?)\b|^(?:如果|要是|若)(?:是|有|存在)(?:的话)?|^有的话"
)
_QUESTION = re.compile(
    r"^(?:please |then |also |and )?(?:(?:tell|show) me |say |see |check )?(?:(?:at|in|on|from) (?=what|which))?"
    r"(?:is|are|was|were|does|do|did|has|have|how|what"
    r"|which|why|should|can|could|whether|if|any)\b|[吗么嘛否]$|没有?$|(?<![是要])不$|([\u3400-\u9fff])[不没]\1|啥|是否|有没有|有无|是.{1,12}还是|[\u3400-\u9fff]还是[\u3400-\u9fff]|第几|怎么|如何$|为什么|什么|哪[个些种侧边里儿颗几节根块]|多[大少长宽厚远重]|几[个处颗枚级腔期]"
)
_TAG = re.compile(
    r"^(?:is|are|isn'?t|aren'?t|does|do|doesn'?t|don'?t|has|have|can|could)(?:n'?t)? (?:there|it|they|he|she|you)$"
)


def asking_pieces(text: str, terminology: Terminology, modality: Modality | None) -> tuple[list[str], str, bool]:
    """Return the pieces of a text that ask, the history behind them, and whether one question was split into several.

    Of several structures in which one finding is asked for, each has a piece of its own.
    """
    said: list[str] = []
    history = ""  # "hand x-ray, any fracture?"
    sentences = _SENTENCES.findall(without_list_signs(simplified(text)))
    each_apart = [one_for_each(sentence, terminology) for sentence in sentences]
    if each_apart == sentences:
        return *_pieces(text, said, history, terminology, modality), False
    for sentence, apart in zip(sentences, each_apart, strict=True):
        if apart == sentence:
            said, history = _pieces(sentence, said, history, terminology, modality)
        else:
            first, *others = [piece.strip() for piece in apart.strip("? ").split("? ")]
            said, history = [*said, f"{history}{first}", *others], ""
    return said, history, True


def _pieces(
    text: str, said: list[str], history: str, terminology: Terminology, modality: Modality | None
) -> tuple[list[str], str]:
    """Split a text, and return the pieces `said` before it with its own, and the `history` that no piece has yet.

    A clause that does not ask joins the piece before it; before the first piece it joins the history.
    """
    for clause in clauses(text):
        piece = _IF_SO.sub("", clause.text).strip()
        short = _OPENS_ZH.sub("", piece)
        piece = short if goes_on(short) else piece
        if not piece or _PICK_ONE.match(piece) or is_conditional(piece) or (said and _BY_HOW_MUCH.match(piece)):
            continue
        is_told = clause.is_stated and _TELLS.search(piece) and not any(has(kind, piece, start=0) for kind in _ASKING)
        if said and _EITHER_SIDE.match(piece) and (has("compare", said[-1]) or has("side", said[-1])):
            continue  # "which lung is larger, left or right?"
        asks = _asks(piece, terminology, modality, clause.is_asked) and not is_told
        asks = asks or (not said and offers_choice(piece) and understand(piece, terminology, modality).kind is Kind.CLASSIFY)
        if asks or (said and _asks_anew(piece, said[-1], terminology, modality)):
            said, history = [*said, f"{history}{piece}"], ""
        elif said:
            said = [*said[:-1], f"{said[-1]}, {piece}{'?' if clause.is_asked else ''}"]  # else nobody sees that it asked
        else:
            history += f"{piece}, "
    return said, history


_SENTENCES = re.compile(r"[^?？。;；\n]*[?？。;；\n]?")
_OPENS_ZH = re.compile("^(?:请问|大概|大约|差不多|那么?|然后|还有|另外|顺便问一?下?)+")
_EITHER_SIDE = re.compile(
    r"^(?:the )?(?:left|right) or (?:the )?(?:left|right)(?: one| side)?\W*$|^[左右][边侧]?还是[左右][边侧]?$"
)


def is_conditional(piece: str) -> bool:
    """Whether a clause only says what to do if something is there, or not: "if visible", "如果没有请说明"."""
    return _IF_SHOWN.match(piece) is not None


_PICK_ONE = re.compile("^[二三四五]选一$")
_IF_SHOWN = re.compile(  # each answer tells whether it is
    r"^if (?:it is |they are |it's |you can |at all |any )*"
    r"(?:visible|present|possible|shown|there|seen|see (?:it|them|any))$"
    r"|^(?:如果|要是|若)(?:没有.{0,6}|有|能?看[得到见]+|可见|存在)(?:的话)?$"
    r"|^(?:如果|要是|若)?没有?(?:的话)?[请就则]*(?:说|告诉我?|写|注)(?:明|一声)?(?:没有)?$|^请?就?(?:说|告诉我|写)(?:明)?没有$"
)
_BY_HOW_MUCH = re.compile(r"^(?:and )?by how much$|^(?:相?差|大|小)了?多少$")  # each comparison says so
# A sentence that tells a history: it does not begin with what it asks for.
_TELLS = re.compile(
    r"^(?!(?:please |pls |now |first |then |also |and |can you |could you |would you )*"
    rf"(?:{_BEGINS}|box|circle|highlight|draw|look|trace|contour|did|could|who|when|why)\b)[a-z0-9]"
)


class Clause(NamedTuple):
    """A clause of a text, in plain script. `is_asked` and `is_stated`: a question mark, or a full stop, ends it."""

    text: str
    is_asked: bool
    is_stated: bool


_SHORT_ZH = re.compile(  # "肝脏在哪 左肾多大 有没有结石"
    r"^[\u3400-\u9fff]{1,8}(?:在哪[里儿]?|多[大长宽少]|几个|什么部位|什么类型|哪一?[侧边]|[吗没]|没有)[?？]?$"
    r"|^(?:有没有|有无)[\u3400-\u9fff]{1,6}[?？]?$|^(?:什么|哪个)部位[?？]?$"
)


def clauses(text: str) -> list[Clause]:
    """Return the clauses of a text in their order."""
    found, start, plain = list[Clause](), 0, without_list_signs(simplified(text))
    if all(map(_SHORT_ZH.search, pieces := plain.split())) and len(pieces) > 1:
        plain = "？".join(pieces)
    for match in (*_BOUNDARY.finditer(plain), None):
        end, mark = (match.start(), match.group() or ",") if match else (len(plain), ",")
        clause = plain[start:end].strip(" .!！")
        if re.search(r"\w", clause):
            is_asked = clause.endswith(("吗", "对吧", "是吧")) or (
                mark in "?？" and not plain[:end].endswith(" ")
            )  # "pain ?fracture"
            found.append(Clause(clause, is_asked, mark in ".!！"))
        start = match.end() if match else end
    return found


def asks_for_something(clause: str) -> bool:
    """Whether a clause is a question by its form, or says what to do with the image."""
    if _QUESTION.search(clause) or tells_to_say(clause):
        return True
    return any(has(kind, clause) for kind in (*_ASKING, *_NAMELESS) if kind != "locate")


def tells_to_say(clause: str) -> bool:
    """Whether a clause begins with a word for saying something: "name the layers"."""
    return _TELL_ME.search(clause) is not None


_TELL_ME = re.compile(
    r"^(?:please |pls |then |also |and )*(?:name|list|tell|say|give|grade|stage|describe|explain|identify|classify|diagnose"
    r"|compute|calculate|estimate|write)\b"
    r"|^(?:请|再|并|也|麻烦)*(?:告诉我|说说|说明|列出|给出|写出|描述|解释|判断|诊断|分析|评估|计算|算一?下|算出|估计)"
    r"|(?:给我|帮我|替我)?(?:算算|量量|测测|数数|[算量测数估评]一下)$"
)


def _asks(piece: str, terminology: Terminology, modality: Modality | None, is_asked: bool) -> bool:
    """Whether a part names something, or points back, and asks; "is there?" behind a statement does not."""
    piece = ARE_THERE.sub("", piece)  # "how many incisors, canines and molars are there?"
    if goes_on(piece) or ASKS_FOR_FINDING.search(piece) or asks_of_a_side(piece):
        return True
    if _WHAT_ABOUT.search(piece) and (found := named_in(piece, terminology, modality)) and BARE_NAMES.search(found.masked):
        if found.names and all(is_finding(name[0]) for name in found.names):
            return True  # "a brain tumor? and edema?", "脑水肿呢"
    if _FORMAT.match(piece) or TELLS_WHO.match(piece):
        return False
    if _WHERE_IS.match(piece):
        return True  # also what nobody knows
    is_asked = is_asked or _WHAT_OR_WHICH.match(piece) is not None
    if _CENTRE.search(piece):
        return False  # no answer tells it, but the reading says so
    masked = named(plain_text(piece, terminology)[0], terminology, modality).masked
    points = MARK in masked or points_back(piece) or (is_asked and UNKNOWN in masked)
    is_question = bool(_QUESTION.search(piece)) and not _TAG.search(piece)
    said = words_of(masked)
    is_question |= has("or_not", said)  # "effusion y/n"
    asks = is_question or any(has(kind, said) for kind in _ASKING)
    is_nameless = any(has(kind, said) for kind in _NAMELESS) or asks_if_normal(piece)
    intent = understand(piece, terminology, modality)
    if (intent.kind is Kind.COMPARE and _RATIO.search(piece)) or _SHARE.search(piece) or extreme_organ(piece):
        return True
    is_of_image = (is_question or tells_to_say(piece)) and intent.kind in _OF_IMAGE
    of_names = any(has(kind, said) for kind in ("compare", "distance", "side", "measure", "count"))
    is_of_image |= is_question and intent.kind is Kind.ANSWER and not of_names  # "what colour is it?"
    says = is_question or asks or is_asked or tells_to_say(piece)
    is_unlike = intent.reason is not None or not of_names  # "who's bigger?" only goes on
    is_refused = intent.kind is Kind.IMPOSSIBLE and is_unlike and (says or intent.reason == "score")  # "Bosniak class"
    if is_asked and named_set(piece, modality):
        return True
    return (points and asks) or is_nameless or is_of_image or is_refused or WHICH_OF_PAIR.match(piece) is not None


_WHAT_ABOUT = re.compile(r"^(?:and|what about|how about)\b|呢$")
WHICH_OF_PAIR = re.compile(  # "the left or the right eye? where is the disc?"
    r"^which (?:eye|breast|hand|foot|leg|arm)(?: is (?:it|this|that|shown))?\W*$|"
    r"^(?:is (?:this|it) )?(?:the |a )?(?:left|right) (?:or (?:the )?(?:left|right) )?"
    r"(?:breast|eye|arm|leg|hand|foot|knee|hip|shoulder)"
    r"(?: or (?:the )?(?:left|right)(?: [a-z]+)?)?\W*$"
    "|^(?:请问)?(?:这[张个幅]?(?:图|片子?)?是|是)?左(?:侧|边)?(?:乳|眼|手|腿|脚|肩)[\u3400-\u9fff]{0,2}还是右[\u3400-\u9fff]{0,4}\\W*$"
)
TELLS_WHO = re.compile(r"(?:have|has|had) (?!you|he|she|they|it|we|i|the|this|any)")  # "I'm 34 and have fair skin"
_FORMAT = re.compile(r"(?:answer|reply|respond|output|return)\b")  # "answer with its box only"
_WHERE_IS = re.compile(r"[\u3400-\u9fff]{2,8}在哪[里儿]?$|where(?:'s| is| are) (?:the|my|his|her|any) [a-z]+(?: [a-z]+)?$")
_WHAT_OR_WHICH = re.compile(r"(?:and )?(?:what|which) |.*(?:什么|哪[个种些]|第几)")
_CENTRE = re.compile(r"^[^?？]*(?:中心点?(?:的?坐标|位置)|\bcent(?:re|er)(?: point)?(?: coordinates)?)\W*$")
_SHARE = re.compile(
    r"占.{0,8}(?:比例|多少|几分之|百分之|多大)|(?:比例|占比)\W*$|心胸比|\bcardio ?-?thoracic (?:ratio|index)\b"
)
_RATIO = re.compile(r"\bratio\b|杯盘比|(?<![a-z])c ?[/:] ?d(?![a-z])|\bcdr\b")


def _asks_anew(piece: str, before: str, terminology: Terminology, modality: Modality | None) -> bool:
    """Whether a part that is no more than structures cannot go on with the question before: "enlarged heart? the lungs?"."""
    found = named_in(piece, terminology, modality)
    if _WHAT_ABOUT.search(piece) and with_finding_before(
        piece, [before], [understand(before, terminology, modality)], terminology, modality
    ):
        return True  # "a stone in the liver? and the kidneys?"
    if MARK in found.masked and named_set(before, modality) and not named_in(before, terminology, modality).names:
        return True  # "TB? effusion?"
    if not BARE_NAMES.search(found.masked) or not found.names or any(is_finding(name[0]) for name in found.names):
        return False
    intent = understand(before, terminology, modality)
    return intent.kind in (Kind.PRESENCE, Kind.ANSWER) and all(is_finding(name[0]) for name in intent.names)
