"""The questions of a text that asks several: "locate the liver and tell me if there is a lesion in it"."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import NamedTuple

from medrega_edge.domain import Modality
from medrega_edge.prompts.intent import Intent, Kind, names_of_words, understand, unknown_word
from medrega_edge.prompts.intent.conjoined import one_for_each
from medrega_edge.prompts.intent.naming import Named, named, without_side, words_of
from medrega_edge.prompts.intent.phrases import has
from medrega_edge.prompts.intent.reading import in_plain_words
from medrega_edge.prompts.intent.spelling import plain_text
from medrega_edge.vocabulary.answers import offers_choice
from medrega_edge.vocabulary.label_sets import named_set
from medrega_edge.vocabulary.terminology import BilingualName, Terminology
from medrega_edge.vocabulary.wording import (
    MARK,
    asks_if_normal,
    findings_at,
    generic_labels,
    is_finding,
    may_be_finding,
    places_in,
    simplified,
    without_list_signs,
)

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
    r"|(?<=恶性)(?=多大|在哪)|(?<=吗)(?=有没有|在哪|多大|几个|是不?是|良性|能不能|严重)"
    r"|(?:(?<=位置)|(?<=大小)|(?<=多大)|(?<=在哪)|(?<=哪里)|(?<=哪儿)|(?<=数量)|(?<=个数))[、/]|(?<=位置)[及和与跟](?=大小|数量|形态|范围)|(?<=大小)[及和与跟](?=位置|数量|形态|范围|性质)"
    r"|[,，](?! ?\d)|(?<!\d)[,，]|(?<=[a-z\u3400-\u9fff][a-z\u3400-\u9fff])[.!！](?=\s)"
    r"|然后|并且?(?!列)|以及(?=[有是在多几怎什哪其它测量标比判说给请把]|大小|位置|数量)|同时|顺便|最后"
    r"|(?:\b(?:and|then|also|plus)|&)(?= (?:please |then |also )?"
    rf"(?:{_BEGINS}|if (?:so|yes|there))\b)"
)
_ASKING = ("locate", "outline", "measure", "count", "side", "compare", "distance", "presence_strong")
_NAMELESS = ("report_strong", "all_well", "kind_of_image", "body_part", "organs", "classify")  # what asks without a name
_OF_IMAGE = (Kind.REPORT, Kind.BODY_PART, Kind.MODALITY, Kind.ORGANS, Kind.IDENTIFY, Kind.CLASSIFY)
_OF_TWO = {Kind.COMPARE, Kind.DISTANCE}
_TOLD_TOGETHER = {Kind.MODALITY, Kind.BODY_PART}  # by one answer
# What stands for the names of the part before.
_INSIDE = re.compile(
    r"\b(?:in|inside|within|on) (?:(?:one|any|either|both|each|all) of )?(?:it|them|there)\b"
    r"|(?:它们?|其)?(?:里面|里头|其中|上面|内部)"
)
_DRAWS = re.compile(r"\b(?:box|circle|draw|outline|line|rectangle|contour)\b")
_AROUND = re.compile(r" (?:around|surrounding) (?:it|them)\b")  # no label tells where an edema lies
_PRONOUN = re.compile(r"\b(?:it|its|them|they|their)\b|\b(?:both(?: of them)?|each(?: one| of them)?)$|它们?")
_OF_SIDE = re.compile(
    r"\bthe (left|right) one(?=\W*$| (?:smaller|larger|bigger|shorter|longer|wider|enlarged|normal|too|as well)\b)"
    r"|^(?:and |what about |how about )+(?:the )?(left|right)(?: side)?(?=\W*$)"
)  # of the pair before: "where is the right one?"
_LEFT_OR_RIGHT_ZH = re.compile(
    "^(?:是)?(?:分别)?(?:位于|在)?((?:图像?|图片|画面|片子)(?:上|里|中)?的?)?左([\\u3400-\\u9fff]{0,3})还是(?:在)?右\\2$"
    "|^(?:是)?(?:分别)?(?:位于|在)?右([\\u3400-\\u9fff]{0,3})还是(?:在)?左\\3$"
)
_SIDED_ZH = re.compile("^那?([左右])[边侧](?:也)?(?:有没有|有吗|有|呢)[吗么呢]?$")
_BOTH_SIDES = re.compile("^(?:是)?(?:双侧|两侧|两边)(?:都)?(?:有)?[吗么]$")
_WHERE = re.compile(r"^(?:and )?where(?: is it| are they)?$|^(?:位置在|位于|在)哪[里儿]?$")
_AND_ONE = re.compile(r"^(?:and |what about |how about )*the (?:left|right) one\W*$")
# "if so, how big is it?": the answer itself tells whether there is one.
_IF_SO = re.compile(
    r"^(?:and |but )?if (?:so|yes|any|there (?:is|are)(?: one| any)?)\b|^(?:如果|要是|若)(?:是|有|存在)(?:的话)?|^有的话"
)
_HOW_SURE = re.compile(  # the answer says so itself
    r"(?<=\w)[,;.?]* *(?:and )?how (?:sure|certain|confident) (?:are you|is (?:that|it|this))"
    r"(?: about (?:it|that|this))?\W*$"
    r"|(?<=\w)[，,。？? ]*(?:你)?(?:有)?(?:多大|多少|几成)的?(?:把握|可信度|置信度)\W*$",
    re.IGNORECASE,
)
_LEFT_OUT = re.compile(r"\b(?:don'?t|do not|not the|without|except)\b|(?:不要|不用|不必|别)(?:再)?[标圈框画勾]|不含|不包括")
_MOST = 6
# A question that only goes on from the part before: "how big", "how many", "哪一侧".
_GOES_ON = re.compile(
    r"^(?:please |then |also |and )?(?:(?:show|tell|point out to) me where(?: it is| they are)?"
    r"|where(?: exactly| precisely)?(?: is the (?:largest|biggest|smallest)(?: one)?)?"
    r"|box|mark|circle|outline|segment|show|what size"
    r"|(?:box|mark|circle|outline|segment|show|measure) (?:only )?the (?:largest|biggest|smallest)(?: one)?"
    r"|(?:its |the )?(?:size|number|count|location|position|side|laterality|type|malignancy)"
    r"|how (?:big|large|wide|long|many)(?: is the (?:largest|biggest|smallest)(?: one)?)?"
    r"|(?:on |in )?(?:which|what) (?:side|hemisphere|lobe|segment|zone|quadrant|part|level|finger|toe|bone"
    r"|lung|kidney|breast|eye|hand|leg|half)"
    r"|(?:tell me |say )?which (?:one |of them |of the two )?is (?:the )?(?:larger|bigger|smaller|largest|biggest|smallest)"
    r"(?: one)?)$"
    r"|^(?:它的?)?(?:性质|类型)$|^(?:它的?)?大小(?:怎样|怎么样|如何)$|^(?:最大|最小)的(?:[那一][个处颗块枚])?(?:有)?(?:多[大少长宽]|在哪[里儿]?)$|^(?:告诉我|说下|说一下)?(?:个数|数量|总数)(?:是多少)?$"
    r"|^(?:它的?)?(?:边界|边缘|形态|形状|密度|信号|回声|质地)\w{1,6}$|^(?:再)?(?:测|量)量?一?[下量](?:有)?(?:多[大长宽])?$"
    r"|^(?:有)?(?:几|多少)(?:个)?(?:毫米|厘米|公分)$|^(?:位置在|位于)哪[里儿]?$|^(?:最大径|长径|大小|直径)(?:是|有)?多少$|^最[上下左右前后][面边方]?的?那?[个节颗]?是哪一?[个节颗]$|^最[大小长]的(?:那[个条块颗处])?(?:是|有)?哪一?[个条块颗处根]$"
    r"|^最[上下左右前后][面边方]?的?(?:那个|那节|那颗)?呢$|^(?:and )?(?:what|which) (?:type|kind)$"
    r"|^(?:请|再|帮我)?(?:框|圈|标|勾|画|量)(?:一下|出)?最[大小]的?(?:那个|一个|那块)?(?:出来)?$"
    r"|^(?:有|共|一共)?几个框$"
    r"|^(?!告诉我面积)(?:请|再|并|帮我)?(?:说明|报告|告诉我|给出|测出|写出|标明|注明|测量|测|量)(?:一下)?(?:其|它们?的?)?"
    r"(?:像素)?(?:大小|尺寸|位置|数量|个数|最?[大长]径|面积)$|^(?:请|再|帮我)?定位(?:一下)?$"
    r"|^(?:在?(?:ct|mri|b超|x光|片子?|图像?|图片|这张图)?[上里中]?)?(?:能不能|能|可以|可)?"
    r"(?:有|看到|看见|看得到|看得见|看出来)[吗么不没]$"
    r"|^面积(?:分别)?(?:是|有)?多[少大]$|^(?:相距|相隔|离得?|隔)(?:有)?多远$"
    r"|^(?:请|帮我|帮忙|麻烦[你您]?)*(?:把)?(?:都|全部?|全都)?(?:框|圈|标|勾|画|分割)(?:画|注|记|一下)?(?:出来?)?$"
    r"|^(?:请问)?(?:是)?在(?:哪一?个|什么)(?:位置|地方|部位)$|^有几个(?:区域|部分|地方|框|病灶)?$"
    r"|^(?:说出|告诉我|给出|说明)最[大小]的?(?:那?一?个|那个)?的?(?:大小|尺寸|直径|位置)$"
    r"|^哪一?[侧边](?:更|比较|最)?(?:重|严重|多|明显)(?:些|一些|一点)?$"
    r"|^(?:请|再|帮我)?(?:指出|找出|标出|圈出|框出|说出|告诉我)最[大小长]的?(?:那?一?[个颗枚处]|那个)?$"
    r"|^(?:请|再|帮我)?(?:估计|估算|评估)(?:一下)?(?:其|它的?)?(?:大小|尺寸|面积|最?[大长]径)$"
    r"|^(?:是)?(?:在|位于)?[上下][\u3400-\u9fff]{0,2}还是(?:在)?[上下][\u3400-\u9fff]{0,2}$"
    r"|^(?:位置|大小|尺寸|数量|个数|形态)$|^(?:大概)?在?几点(?:钟)?(?:的?(?:方向|位置))?$|^(?:是|属于)?哪一?[种类型]的?$"
    r"|^(?:说明|说|告诉我|写明)?(?:一?共|总共)?有?几[个枚颗处]$|^(?:在)?哪一?个?(?:肾|肺|乳房?|眼睛?|半球)$"
    r"|^在(?:图像?|图片|片子|画面)?[上里中]?的?(?:什么|哪一?个)(?:位置|地方|部位)$|^(?:很|特别)?(?:严重|危险|要紧)(?:吗|不)?$"
    r"|^(?:请)?(?:判断|说明|指出|告诉我)?(?:它|其)?(?:是|属于)?(?:哪一?种|什么|哪一?类)(?:类型|种类|性质|型)的?$"
    r"|^(?:in the |on the |is it )?(?:left|right) or (?:in |on )?(?:the )?(?:left|right)(?: [a-z]+)?$"
    r"|^which (?:side|lung|one) is (?:the )?(?:worse|worst|more (?:severe|affected|involved))$"
    r"|^(?:有|各有|分别|都|各)?(?:在哪[里儿]?|多[大少长宽高]|几[个处颗枚]|多少个|大小|大小多少"
    r"|在?哪一?[侧边](?:的?(?:肺|肾|乳房?|眼睛?|脑|卵巢))?|说明类型|在?哪一?个?(?:脑叶|肺叶|肝叶|叶|肝段|段|象限|节段)|^位于哪一?个?(?:脑叶|肺叶|叶|段|象限)"
    r"|(?:告诉我|说说|看看)?(?:其中|它们)?(?:哪一?个|谁)(?:更|比较|最)?[大小](?:一些|一点|些|点)?)[呢?？]?$"
)
_FARTHEST_ZH = re.compile("^(最[上下左右前后][面边方]?)的?(?:那个|那节|那颗)?呢$")
_WHICH_TYPE = re.compile(r"^(?:and )?(?:what|which) (?:type|kind)$")
_FROM = re.compile(r"^(?:and )?how (?:far|close)(?: away)? (?:from|to)\b|^(?=[离距])")
TYPE_OF_LESION = "what type of lesion is it", "这是什么类型的病变"
_WHAT_IS_IT = re.compile(  # after a finding was named
    r"^(?:and )?what (?:is|could|might|may) (?:it|this|that)(?: be)?(?: most likely| probably)?$"
    r"|^(?:and )?what (?:is|are) (?:it|they) most likely$"
    r"|^(?:and )?(?:the |its )?(?:type|kind|nature)$|^(?:它的?)?(?:性质|类型)$|^(?:是|属于)?哪一?[种类型]的?$"
    r"|^(?:请)?(?:判断|说明|指出|告诉我)?(?:它|其)?(?:是|属于)?(?:哪一?种|什么|哪一?类)(?:类型|种类|性质|型)的?$"
    r"|^(?:告诉我|说说|看看)?(?:它|这)是(?:个)?(?:什么|啥)(?:东西)?$|^(?:它)?(?:最?可能|大概|考虑)是?(?:什么|哪种)(?:病变|肿瘤|类型|性质)?的?$"
)
_QUESTION = re.compile(
    r"^(?:please |then |also |and )?(?:(?:tell|show) me |say |see |check )?(?:is|are|was|were|does|do|did|has|have|how|what"
    r"|which|why|should|can|could|whether|if|any)\b|[吗么嘛]$|没有?$|([\u3400-\u9fff])不\1|是否|有没有|有无|是.{1,12}还是|[\u3400-\u9fff]还是[\u3400-\u9fff]|第几|怎么|为什么|什么|哪[个些种侧边里儿颗几节根块]|多[大少长宽厚远重]|几[个处颗枚级腔期]"
)
_TAG = re.compile(
    r"^(?:is|are|isn'?t|aren'?t|does|do|doesn'?t|don'?t|has|have|can|could)(?:n'?t)? (?:there|it|they|he|she|you)$"
)


def without_how_sure(text: str) -> str:
    """Return a text without the question how sure the answer is: each answer has its confidence."""
    return _HOW_SURE.sub("", text)


def parts(text: str, terminology: Terminology, modality: Modality | None, before: BilingualName = ("", "")) -> list[str]:
    """Return the questions of a text, each with names of its own; fewer than two where it is one question.

    Each part has to ask by itself. They ask in different ways, or one has a name that is unknown: one answer would drop it.
    A part that points back to the names of the part before gets them; the first one those of the question `before`.
    """
    if _RANKED.match(simplified(text)) or _OFFERED.match(simplified(text)):
        return []  # "rank the liver, the pancreas and the kidneys by size"
    said, history, is_of_each = _asking_pieces(text, terminology, modality)
    is_one = not 2 <= len(said) <= _MOST or any(_LEFT_OUT.search(piece) for piece in (history, *said))
    whole_text = None if is_one else understand(text, terminology, modality)
    if whole_text is None or whole_text.kind is Kind.GROUNDED_REPORT:
        return []
    whole: list[str] = []
    intents: list[Intent] = []
    all_names: list[BilingualName] = []
    for piece in said:
        if _WHERE.match(piece) and not before[0] and intents and intents[-1].kind in (Kind.REPORT, Kind.CLASSIFY):
            before = ("abnormality", "异常")
        if _LARGER_OF_ALL.search(piece) and len(all_names) > 1:
            before = enumerated(list(dict.fromkeys(all_names)))
        filled = (
            (_WHICH_OF_PAIR.match(piece) and piece)
            or _of_other_side(piece, whole[-1:])
            or _with_finding_before(piece, whole[-1:], intents[-1:], terminology, modality)
            or _with_names_before(piece, before, terminology)
        )
        filled = _in_structure_before(filled, intents[-1:], terminology, modality) or filled
        intent = understand(filled, terminology, modality)
        whole.append(filled)
        all_names += intent.names
        intents.append(intent)
        of_class = intent.kind is Kind.CLASSIFY and not intent.names and (not intent.unknown or modality == "dermoscopy")
        if of_class:
            before = before if before[0] else ("lesion", "病变")
        else:
            before = _said_names(piece, intent, terminology, modality) or _extreme_organ(piece) or before
            if before[0] and _IS_WRONG.search(piece) and not any(is_finding(name[0]) for name in intent.names):
                before = f"abnormality in the {before[0]}", f"{before[1]}异常"
        if intent.side and not _SIDE_SAID.search(before[0]):  # "a stone on the left? how big?"
            before = f"{before[0]} on the {intent.side}", f"{_SIDES_ZH[intent.side]}{before[1]}"
    kinds, have_names = {intent.kind for intent in intents}, {bool(intent.names) for intent in intents}
    are_told = all(set(intent.names) <= set(whole_text.names) for intent in intents)
    asked = {  # what one answer regards
        (intent.side, intent.unknown, asks_if_normal(piece), *(place.group() for place in places_in(piece)))
        for piece, intent in zip(whole, intents, strict=True)
    }
    are_alike = len(kinds) == len(have_names) == len(asked) == 1 and kinds != {Kind.ANSWER} and are_told
    if kinds <= _OF_TWO and len({frozenset(intent.names) for intent in intents}) > 1:
        return whole  # two comparisons are not one of four
    if is_of_each or any(map(_WHICH_OF_PAIR.match, said)):
        return whole
    return [] if are_alike or kinds == _TOLD_TOGETHER else whole


def _asking_pieces(text: str, terminology: Terminology, modality: Modality | None) -> tuple[list[str], str, bool]:
    """Return the pieces of a text that ask, each with what only tells, what tells behind all, and whether one is of several.

    Of several structures in which one finding is asked for, each has a piece of its own.
    """
    said: list[str] = []
    history = ""  # "hand x-ray, any fracture?"
    sentences = _SENTENCES.findall(without_list_signs(simplified(text)))
    each = [one_for_each(sentence, terminology) for sentence in sentences]
    if each == sentences:
        return *_pieces(text, said, history, terminology, modality), False
    for sentence, apart in zip(sentences, each, strict=True):
        if apart == sentence:
            said, history = _pieces(sentence, said, history, terminology, modality)
        else:
            first, *others = [each.strip() for each in apart.strip("? ").split("? ")]
            said, history = [*said, f"{history}{first}", *others], ""
    return said, history, True


def _pieces(
    text: str, said: list[str], history: str, terminology: Terminology, modality: Modality | None
) -> tuple[list[str], str]:
    """Add the pieces of a text that ask to those that are `said` before it; `history` is what was told before them."""
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


_OPENS_ZH = re.compile("^(?:请问|大概|大约|差不多|那么?|然后|还有|另外|顺便问一?下?)+")
_EITHER_SIDE = re.compile(
    r"^(?:the )?(?:left|right) or (?:the )?(?:left|right)(?: one| side)?\W*$|^[左右][边侧]?还是[左右][边侧]?$"
)


def is_conditional(piece: str) -> bool:
    """Whether a clause only says what to do if something is there, or not: "if visible", "如果没有请说明"."""
    return _IF_SHOWN.match(piece) is not None


def _of_other_side(piece: str, before: Sequence[str]) -> str | None:
    """Return the question for a state of the other side: "左边股骨头正常吗？右边呢？"."""
    sided = _SIDED_ZH.match(piece)
    if not (sided and before and asks_if_normal(before[0]) and len(set(_SIDE_SAID.findall(before[0]))) == 1):
        return None
    return _SIDE_SAID.sub(sided[1], before[0])


_SIDE_SAID = re.compile(r"\b(?:left|right)\b|[左右]")
_ON_SIDE = re.compile(r" on the (?:left|right)$|^[左右]侧(?!.*[和、])")
_IS_WRONG = re.compile(r"\bwhat(?: ?'?s| is) wrong\b|有(?:什么|啥)(?:问题|毛病|异常)")
_SIDES_ZH = {"left": "左侧", "right": "右侧"}
_PICK_ONE = re.compile("^[二三四五]选一$")
_IF_SHOWN = re.compile(  # each answer tells whether it is
    r"^if (?:it is |they are |it's |you can |at all |any )*"
    r"(?:visible|present|possible|shown|there|seen|see (?:it|them|any))$"
    r"|^(?:如果|要是|若)(?:没有.{0,6}|有|能?看[得到见]+|可见|存在)(?:的话)?$"
    r"|^(?:如果|要是|若)?没有?(?:的话)?[请就则]*(?:说|告诉我?|写|注)(?:明|一声)?(?:没有)?$|^请?就?(?:说|告诉我|写)(?:明)?没有$"
)
_BY_HOW_MUCH = re.compile(r"^(?:and )?by how much$|^(?:相?差|大|小)了?多少$")  # each comparison says so
_LARGER_OF_ALL = re.compile(
    r"^(?:告诉我|说说|看看)?(?:它们)?(?:哪一?个|谁)(?:更|比较|最)?[大小]|\bwhich (?:one )?is (?:the )?(?:larg|bigg|small)"
)
_OFFERED = re.compile(
    r"^[^:?.;,]*:[^?.;:]*(?:\bor\b|还是)[^?.;]*\??$"
)  # "what is it: glioma, meningioma or pituitary tumor?"
_SENTENCES = re.compile(r"[^?？。;；\n]*[?？。;；\n]?")
_RANKED = re.compile(r"^(?:please )?(?:rank|order|sort)\b[^.?;]*$")
# A sentence that tells a history: it does not begin with what it asks for.
_TELLS = re.compile(
    r"^(?!(?:please |pls |now |first |then |also |and |can you |could you |would you )*"
    rf"(?:{_BEGINS}|box|circle|highlight|draw|look|trace|contour|did|could|who|when|why)\b)[a-z0-9]"
)
_IN_PICTURE = re.compile(r"\b(?:in|inside|on) there\b|里[面头]")
_IS_IT = re.compile(
    r"^(?:and |or |but )?(?:is|was|could|might|may) (?:it|this|that) (?:be )?"
    r"(?:(?:suspicious|suggestive|likely|probably|consistent|due) )?"
    r"(?:for |of |with |to )?(?:an? )?[a-z]+\??$"
)


def _with_names_before(piece: str, before: BilingualName, terminology: Terminology) -> str:
    """Put the names of the part before where a part points back to them, and not to the picture or to a class of it.

    "Is the spleen in there?" asks for the picture, "is a lesion in there?" for the structure before; "is it glaucoma?" asks
    for a class.
    """
    found = terminology.find(piece)
    if any(not is_finding(name[0]) for name in found) and _IN_PICTURE.search(piece):
        return _IN_PICTURE.sub(lambda match: "in the picture" if match.group().isascii() else "图里", piece)
    is_of_class = (
        _IS_IT.search(piece) and _names_illness(piece) and (not found or all(is_finding(name[0]) for name in found))
    )
    if _OF_PICTURE.search(piece) or is_of_class:
        return piece
    return with_names(piece, before)


_OF_PICTURE = re.compile(
    r"\b(?:magnification|stain(?:ing)?|sequence|plane|weighting|modality|window|projection)\b|倍数|染色|序列|切面|窗"
)


def _names_illness(piece: str) -> bool:
    """Whether the last word of a part names an illness, "is it glaucoma", and not how something is: "is it thickened"."""
    word = piece.rstrip("?").split()[-1]
    return may_be_finding(word) or has("class_words", word) or has("class_findings", word)


def _with_finding_before(
    piece: str, said_before: Sequence[str], before: Sequence[Intent], terminology: Terminology, modality: Modality | None
) -> str | None:
    """Ask for the finding before in a structure that is all of a part: "pneumonia in the left lung? And in the right?"."""
    if said_before and (side := _OF_SIDE.search(piece)) and side[2]:
        structure = _named(said_before[0], terminology, modality).names
        piece = f"and the {side[2]} {structure[0][0].split()[-1]}" if structure else piece
    found = _named(piece, terminology, modality)
    is_bare = _BARE.search(found.masked.strip(" ?？")) and found.names and not found.generic
    if not (is_bare and before) or any(is_finding(name[0]) for name in found.names):
        return None
    finding = _finding_asked_in_structure(said_before[0], before[0])
    if finding is None:
        return None
    if piece.isascii():
        return f"is there {finding[0]} in the {enumerated(found.names)[0]}?"
    return f"{_as_pair(found.names)}有没有{finding[1]}？"


_FINDING_IN = re.compile(
    r"\b(?:any|an?|is there|are there) (?P<en>[a-z]+(?: [a-z]+)?) (?:in|on|of) (?:the|his|her|my)\b"
    r"|(?:有没有|有无|是否有|有)(?P<zh>[\u3400-\u9fff]{2,6}?)[吗么没]?$"
)


def _finding_asked_in_structure(piece: str, intent: Intent) -> BilingualName | None:
    """Return the finding that a part asks for in a structure, "a stone in the liver?", in each language; else None."""
    if intent.kind is Kind.PRESENCE and intent.side and intent.names and all(is_finding(name[0]) for name in intent.names):
        return enumerated(intent.names)
    words = [word for word in intent.generic if any(map(is_finding, generic_labels(word)))]
    asked = _FINDING_IN.search(piece.strip(" ?？"))
    is_unlabelled = bool(intent.unknown) or intent.kind is Kind.ANSWER  # "calcification in the liver"
    if not words and asked and is_unlabelled:
        words = [asked["en"] or asked["zh"]]
    is_in_structure = asked is not None and (bool(intent.unknown) or bool(intent.names))
    return enumerated([(word, word) for word in words]) if words and is_in_structure else None


def _named(piece: str, terminology: Terminology, modality: Modality | None) -> Named:
    """Find the names of a part, whatever its spelling: "oedema"."""
    return named(in_plain_words(piece, terminology, modality)[0], terminology, modality)


def _in_structure_before(
    piece: str, before: Sequence[Intent], terminology: Terminology, modality: Modality | None
) -> str | None:
    """Ask for a finding in the one structure before, where it stands for another's: "the gallbladder? any stones?"."""
    if not before or len({without_side(name[0]) for name in before[0].names}) != 1:
        return None
    intent = understand(piece, terminology, modality)
    structures = [name[0] for name in before[0].names]
    if any(word in name for name in structures for word in ("vessel", "artery", "vein", "optic", "fovea")):
        return None  # a hemorrhage is that of the retina
    is_nameless = not (intent.names or intent.unknown or named_set(piece, modality))
    if not piece.isascii() and _ASKS_FOR_FINDING.match(piece) and is_nameless and not any(map(is_finding, structures)):
        return f"{_as_pair(before[0].names)}{piece}"  # "椎间盘在哪里？有没有突出？"
    if intent.kind is not Kind.PRESENCE or not intent.generic or any(map(is_finding, structures)) or not intent.names:
        return None
    is_of_word = all(name[0] in intent.meant and is_finding(name[0]) for name in intent.names)
    here = findings_at(structures)
    is_told = here >= {name[0] for name in intent.names}
    if not is_of_word or is_told or (len(intent.names) > 1 and not here):
        return None
    english = enumerated(before[0].names)[0]
    return f"{piece.rstrip(' ?')} in the {english}?" if piece.isascii() else f"{_as_pair(before[0].names)}{piece}"


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
    found, start, plain = list[Clause](), 0, without_list_signs(simplified(text).casefold())
    if all(map(_SHORT_ZH.search, pieces := plain.split())) and len(pieces) > 1:
        plain = "？".join(pieces)
    for match in (*_BOUNDARY.finditer(plain), None):
        end, mark = (match.start(), match.group() or ",") if match else (len(plain), ",")
        clause = plain[start:end].strip(" .!！")
        if re.search(r"\w", clause):
            is_asked = clause.endswith("吗") or (mark in "?？" and not plain[:end].endswith(" "))  # "pain ?fracture"
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
)


_ARE_THERE = re.compile(r"(?<=\w) (?:is|are) there\W*$")


def _asks(piece: str, terminology: Terminology, modality: Modality | None, is_asked: bool) -> bool:
    """Whether a part names something, or points back, and asks; "is there?" behind a statement does not."""
    piece = _ARE_THERE.sub("", piece)  # "how many incisors, canines and molars are there?"
    if _GOES_ON.search(piece) or _ASKS_FOR_FINDING.search(piece) or _AND_ONE.match(piece) or _OF_SIDE.match(piece):
        return True
    if any(each.match(piece) for each in (_SIDED_ZH, _BOTH_SIDES, _LEFT_OR_RIGHT_ZH)):
        return True
    if _WHAT_ABOUT.search(piece) and (found := _named(piece, terminology, modality)) and _BARE.search(found.masked):
        if found.names and all(is_finding(name[0]) for name in found.names):
            return True  # "a brain tumor? and edema?", "脑水肿呢"
    if _FORMAT.match(piece) or _HAS.match(piece):
        return False
    if _WHERE_IS.match(piece):
        return True  # also what nobody knows
    is_asked = is_asked or _WHAT_OR_WHICH.match(piece) is not None
    if _CENTRE.search(piece):
        return False  # no answer tells it, but the reading says so
    masked = named(plain_text(piece, terminology)[0], terminology, modality).masked
    points = MARK in masked or any(each.search(piece) for each in (_INSIDE, _PRONOUN, _OF_SIDE, _FROM))
    is_question = bool(_QUESTION.search(piece)) and not _TAG.search(piece)
    said = words_of(masked)
    is_question |= has("or_not", said)  # "effusion y/n"
    asks = is_question or any(has(kind, said) for kind in _ASKING)
    is_nameless = any(has(kind, said) for kind in _NAMELESS) or asks_if_normal(piece)
    intent = understand(piece, terminology, modality)
    if (intent.kind is Kind.COMPARE and _RATIO.search(piece)) or _EXTREME_ORGAN.search(piece):
        return True
    is_of_image = (is_question or tells_to_say(piece)) and intent.kind in _OF_IMAGE
    of_names = any(has(kind, said) for kind in ("compare", "distance", "side", "measure", "count"))
    is_of_image |= is_question and intent.kind is Kind.ANSWER and not of_names  # "what colour is it?"
    says = is_question or asks or is_asked or tells_to_say(piece)
    is_unlike = intent.reason is not None or not of_names  # "who's bigger?" only goes on
    is_refused = intent.kind is Kind.IMPOSSIBLE and is_unlike and (says or intent.reason == "score")  # "Bosniak class"
    if is_asked and named_set(piece, modality):
        return True
    return (bool(points) and asks) or is_nameless or is_of_image or is_refused or _WHICH_OF_PAIR.match(piece) is not None


_WHAT_ABOUT = re.compile(r"^(?:and|what about|how about)\b|呢$")
_WHICH_OF_PAIR = re.compile(  # "the left or the right eye? where is the disc?"
    r"^which (?:eye|breast|hand|foot|leg|arm)(?: is (?:it|this|that|shown))?\W*$|"
    r"^(?:is (?:this|it) )?(?:the |a )?(?:left|right) (?:or (?:the )?(?:left|right) )?"
    r"(?:breast|eye|arm|leg|hand|foot|knee|hip|shoulder)"
    r"(?: or (?:the )?(?:left|right)(?: [a-z]+)?)?\W*$"
    "|^(?:请问)?(?:这[张个幅]?(?:图|片子?)?是|是)?左(?:侧|边)?(?:乳|眼|手|腿|脚|肩)[\u3400-\u9fff]{0,2}还是右[\u3400-\u9fff]{0,4}\\W*$"
)
_HAS = re.compile(r"(?:have|has|had) (?!you|he|she|they|it|we|i|the|this|any)")  # "I'm 34 and have fair skin"
_FORMAT = re.compile(r"(?:answer|reply|respond|output|return)\b")  # "answer with its box only"
_WHERE_IS = re.compile(r"[\u3400-\u9fff]{2,8}在哪[里儿]?$|where(?:'s| is| are) (?:the|my|his|her|any) [a-z]+(?: [a-z]+)?$")
_WHAT_OR_WHICH = re.compile(r"(?:and )?(?:what|which) |.*(?:什么|哪[个种些]|第几)")
_CENTRE = re.compile(r"^[^?？]*(?:中心点?(?:的?坐标|位置)|\bcent(?:re|er)(?: point)?(?: coordinates)?)\W*$")
_RATIO = re.compile(r"\bratio\b|杯盘比|(?<![a-z])c ?[/:] ?d(?![a-z])|\bcdr\b")
_ASKS_FOR_FINDING = re.compile(
    r"^(?:is|are) there (?:any |an? )?[a-z]+(?: [a-z]+){0,4}$"
    r"|^(?:请|再|帮我|也|顺便)*(?:看看|看一?下|看)?(?:有没有|有无|是否有)(?!哪|什么|.*(?:大|萎缩|扩张)$)[\u3400-\u9fff]{2,5}$"
)  # also one that nobody knows
_BARE = re.compile(rf"^(?:and|or|but|what about|how about|那么?|还有)?(?: *the)?(?: *{MARK})+ *(?:呢|too|as well)?$")


def _asks_anew(piece: str, before: str, terminology: Terminology, modality: Modality | None) -> bool:
    """Whether a part that is no more than structures cannot go on with the question before: "enlarged heart? the lungs?"."""
    found = _named(piece, terminology, modality)
    if _WHAT_ABOUT.search(piece) and _with_finding_before(
        piece, [before], [understand(before, terminology, modality)], terminology, modality
    ):
        return True  # "a stone in the liver? and the kidneys?"
    if MARK in found.masked and named_set(before, modality) and not _named(before, terminology, modality).names:
        return True  # "TB? effusion?"
    if not _BARE.search(found.masked) or not found.names or any(is_finding(name[0]) for name in found.names):
        return False
    intent = understand(before, terminology, modality)
    return intent.kind in (Kind.PRESENCE, Kind.ANSWER) and all(is_finding(name[0]) for name in intent.names)


def _said_names(piece: str, intent: Intent, terminology: Terminology, modality: Modality | None) -> BilingualName | None:
    """Return the names of a part as one enumeration in each language; of generic words, the words: "the tumour".

    Of a finding in a structure, "a mass in the liver", it is the finding.
    """
    if _GOES_ON.search(piece):
        return None  # those of the part before
    if intent.kind is Kind.LOCATE and not intent.names and not intent.unknown and (word := unknown_word(piece)):
        return word, word
    if findings := [word for word in intent.unknown if may_be_finding(word)]:  # "hepatic metastases? how many?"
        return findings[0], findings[0]
    if intent.alike and not intent.generic:
        return enumerated(terminology.find(piece))  # "a suspicious lesion"
    meant = names_of_words(intent.generic, terminology, modality)
    if intent.generic and 0 < len(intent.names) < len(meant) and all(is_finding(name[0]) for name in intent.names):
        named_here, words = list(intent.names), tuple[str, ...]()
    else:
        is_of_two = intent.kind in (Kind.COMPARE, Kind.DISTANCE)  # the other side is added to those
        found = _named(piece, terminology, modality).names
        named_here = found if intent.generic or is_of_two else list(intent.names)
        if modality in ("fundus", "oct"):
            named_here = [name for name in named_here if without_side(name[0]) != "eye"]  # the image itself
        words = intent.generic if not named_here or set(named_here) < set(intent.names) else ()
    if not (named_here or words):
        return None
    return enumerated([*named_here, *((word, word) for word in words)])


_EXTREME_ORGAN = re.compile(
    r"\b(?:largest|biggest|(smallest)) organ\b|\borgan is (?:the )?(?:largest|biggest|(smallest))\b"
    r"|最(?:大|(小))的?器官|哪一?个器官最?(?:大|(小))"
)


def _extreme_organ(piece: str) -> BilingualName | None:
    """Return what "it" means behind a question for the largest or the smallest organ, which has no answer."""
    if (found := _EXTREME_ORGAN.search(piece)) is None:
        return None
    return ("smallest organ", "最小的器官") if any(found.groups()) else ("largest organ", "最大的器官")


def _as_pair(names: Sequence[BilingualName]) -> str:
    """Return Chinese names as one enumeration, and a pair as one word: "双肾" is where a finding may be."""
    stems = {chinese.lstrip("左右").removeprefix("侧") for _, chinese in names}
    return f"双{stems.pop()}" if len(names) == 2 and len(stems) == 1 else enumerated(names)[1]


def enumerated(names: Sequence[BilingualName]) -> BilingualName:
    """Return names as one enumeration in each language."""
    return " and ".join(english for english, _ in names), "和".join(chinese for _, chinese in names)


def goes_on(piece: str) -> bool:
    """Whether a clause only goes on from the one before: "how big?", "请问在哪个位置"."""
    return _GOES_ON.search(piece) is not None


def with_names(piece: str, names: BilingualName) -> str:
    """Put the names in the place of what points back to them."""
    english, chinese = names
    if not english:
        return piece
    if _SIDE_SAID.search(piece):  # its own
        english, chinese = _ON_SIDE.sub("", english), _ON_SIDE.sub("", chinese)
    if match := _OF_SIDE.search(piece):
        side, names_before = match[1] or match[2], english.split(" and ")
        one_side = [name for name in names_before if name.startswith(side)]
        other_side = [f"{side} {name.split(' ', 1)[1]}" for name in names_before if name.startswith(("left ", "right "))]
        meant = " and ".join(one_side or other_side or [f"{side} {english}"])
        return _OF_SIDE.sub(f"where is the {meant}" if match[2] or _AND_ONE.match(piece) else f"the {meant}", piece)
    if sided := _SIDED_ZH.match(piece):
        return f"{sided[1]}边有没有{chinese}"
    if (either := _LEFT_OR_RIGHT_ZH.match(piece)) or _BOTH_SIDES.match(piece):
        return f"{chinese}在{(either[1] or '') if either else ''}哪一侧"
    if farthest := _FARTHEST_ZH.match(piece):
        return f"{farthest[1]}的{chinese}在哪里"
    if _WHICH_TYPE.match(piece) and " and " not in english:
        return f"what type of {english} is it" if piece.isascii() else f"是什么类型的{chinese}"
    if _FROM.search(piece):
        return _FROM.sub(f"how far is the {english} from", piece) if piece.isascii() else f"{chinese}{piece}"
    if _WHAT_IS_IT.search(piece):
        return TYPE_OF_LESION[not piece.isascii()]
    if _GOES_ON.search(piece := _ARE_THERE.sub("", piece)):
        return f"{piece}: the {english}" if piece.isascii() else f"{chinese}{piece}"
    piece = piece if _DRAWS.search(piece) else _AROUND.sub("", piece)
    piece = _INSIDE.sub(lambda match: f"in the {english}" if match.group().isascii() else f"{chinese}里", piece, count=1)
    return _PRONOUN.sub(lambda match: f"the {english}" if match.group().isascii() else chinese, piece, count=1)
