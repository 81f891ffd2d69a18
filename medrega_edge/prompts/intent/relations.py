"""Questions for how structures lie to each other, or where in a picture or a structure: boxes of names do not tell it."""

from __future__ import annotations

import re

from medrega_edge.prompts.intent.facts import Facts
from medrega_edge.vocabulary.generic_words import MARK
from medrega_edge.vocabulary.label_kinds import is_finding, is_of_many

_POSITION = (
    r"inside|within|touch\w*|overlap\w*|behind|in front of|above|below|underneath|beside|next to|left of|right of"
    r"|higher than|lower than|anterior to|posterior to|medial to|lateral to|to the (?:left|right) of"
    r"|(?:left|right) or (?:left|right) of"
)
_REACHES = (
    "(?:extend|spread|reach|invad|involv|cross|abut|encas|infiltrat|compress|displac|push|erod|enter)(?:e?s|e|ed|ing)?"
)
_RELATION = re.compile(
    rf"^(?:is|are|does|do) (?:the |this |a )*{MARK} (?:lie |lies |sit |located |lying )?(?:{_POSITION}) .*{MARK}"
    rf"|^(?:is|are|does|do) .*{MARK}.* (?:upper|lower|left|right|top|bottom) (?:half|third|part|corner|quadrant)"
    rf"|^which (?:of .*|.*{MARK}) is (?:lower|higher)"
    rf"|^(?:is|are) (?:the |this |a )*{MARK} (?:on |to )?(?:the )?(?:left|right) or (?:(?:on |to )?the )?(?:left|right)"
    rf" of (?:the )?{MARK}"
    rf"|{MARK}(?:是不是|是否)?在{MARK}(?:的)?(?:里面|上面|下面|前面|后面|上方|下方|前方|后方|旁边)"
)
_IN_STRUCTURE = re.compile(
    rf"^(?:is|are) (?:it|they|(?:the |this |that )*{MARK}) (?:(?:located|situated|lying|sitting) )?"
    rf"in (?:the |his |her )*(?:left |right )*{MARK}|^(?:它|{MARK})(?:是不是|是否)?(?:在|位于){MARK}[里内上中]?[吗么？?]"
)
_REACHES_IT = re.compile(
    rf"^(?:is|are|does|do|did|has|have) .*{MARK}.*\b(?:{_REACHES})\b.*{MARK}"
    rf"|\b(?:extend|spread|reach|invad|break)\w* (?:outside|beyond|through|past|out of)\b.*{MARK}"
    rf"|{MARK}(?:是不是|是否|有没有|有无)?(?:侵犯|侵及|累及|延伸|突破|压迫|推移|包绕|破入)(?:到|至|了)?{MARK}"
)
_ON_SIDE_OF = re.compile(rf"在{MARK}的?哪一?[边侧面]|\b(?:which|what) side of the {MARK}")
_IN_RELATION = re.compile(r"\b(?:in relation to|relative to|relationship)\b|关系|[近远][吗么不]")
_NEAR_IT = re.compile(
    rf"\b(?:in relation to|relationship (?:of|between|to))\b.*{MARK}|^where .*\brelative to\b.*{MARK}"
    rf"|{MARK}.*(?:与|和|跟|同).*{MARK}的?(?:位置)?关系"
    rf"|^[^{MARK}]*{MARK}(?:离|距离?)(?!{MARK})[^{MARK}，。？]{{1,6}}[近远][吗么不]"
    r"|\b(?:structures?|organs?|something|anything|thing|vessels?)\b.* "
    r"(?:next to|close to|near|around|beside|behind|above|below|under"
    rf"|(?:adjacent|medial|lateral|anterior|posterior|superior|inferior) to) (?:the )?{MARK}$"
)
_IN_WHICH_PART = re.compile(
    r"\b(?:which|what) (?:[a-z]+ )?(?:lobe|segment|zone|quadrant|vertebra|rib|bone|joint|chamber|wall|level"
    r"|metacarpal|metatarsal|phalanx|carpal|finger|toe)s? "
    r"(?!(?:is|are) (?:this|that|it|they|shown|seen|visible)\b)"
    r"|\b(?:which|what) (?:lobe|segment|zone|quadrant|chamber) (?:is|are) (?:it|they)\b"
    r"|\b(?:which|what) (?:vascular )?territory\b|在第几个?[腰胸颈骶]?椎的?(?:水平|高度)|(?:的|脑|肺|肝)哪一?个?叶(?!子)"
    r"|哪一?[个各根块节段叶处](?:肺叶|脑叶|肝段|椎体|椎骨|肋骨|骨头|象限)"
    r"|第几(?:根|节|个)?(?:掌骨|跖骨|指骨|肋骨?|手?指|脚?趾)|哪一?极"
)
_LIES_WHERE = re.compile(
    r"\b(?:closer|nearer|closest|nearest) to\b"
    r"|^what (?:is|lies|organ is) between\b"
    r"|^what(?: is| s|s| lies| sits| organ is) (?:right |just )?"
    r"(?:above|below|beneath|under|behind|in front of|beside|next to)\b"
    r"|它的?(?:上面|下面|上方|下方|后面|前面|旁边|后方|前方)的?(?:是|有)什么"
    r"|离.{1,6}[更较最]近|[哪谁].{0,3}离.{1,6}[近远]"
)
_IN_CORNER = re.compile(r"\b(?:any|some|no)thing\b.* corner\b|[左右][上下]角有")
_WHICH_LIES = re.compile(
    r"哪一?个[^，。？]{0,4}?(?:更|比较|最)?(?:在|靠)(?:[^？?，,]{0,4}的?)?[左右上下前后]|哪一?个[^，。？]{0,4}更[高低]|在[^，,？?]{1,8}的?[前后上下]面还是[前后上下]面"
)
_BESIDE_IT = re.compile(
    r"^(?!what )[^.,;-]{0,40}\b(?:above|below|beneath|underneath|beside|next to|adjacent to) (?:it|them|that one)\W*$"
    r"|^(?:and )?(?:the )?[a-z]+ between (?:it|them)\W*$"
    r"|^它们?的?(?:上|下|前|后|旁)[面方边]"
)
_NEXT_TO_IT = re.compile(r"^(?:what|which) .* (?:it|them|this|that)(?: in| on| at)?\W*$|^它")
_IN_PICTURE = re.compile(
    r"\b(?:left|right|upper|lower|top|bottom)(?:[- ]?hand)?(?:[- ](?:left|right))?"
    r"(?: (?:half|third|part|corner|quadrant|side|edge))?"
    r" of (?:the |this )?(?:picture|image|screen|photo|photograph|film|frame)\b"
    r"|(?:图像|图片|图中|画面|照片|影像)的?(?:左|右|上|下)[半侧边方部角上下]"
)


def asks_in_which_part(facts: Facts) -> bool:
    """Whether a question asks in which bone, lobe or level something lies, "which bone is broken?": boxes have no names."""
    has_subject = facts.has_name or _NEXT_TO_IT.search(facts.whole) is not None
    return has_subject and _IN_WHICH_PART.search(facts.whole) is not None


def asks_for_relation(facts: Facts) -> bool:
    """Whether a question asks how structures lie to each other, or in which part of the image or of a structure one lies."""
    are_findings = facts.is_explicit and all(is_finding(name[0]) for name in facts.names)  # "the lesion in the liver"
    in_picture = _IN_PICTURE.search(facts.said) is not None and not facts.has("locate")
    is_side = facts.is_explicit and not facts.has(
        "presence_strong"
    )  # of a structure: "is the liver on the left of the image?"
    return (
        _IN_CORNER.search(facts.said) is not None
        or (
            _NEAR_IT.search(facts.said) is not None
            and (not facts.has("locate") or _IN_RELATION.search(facts.said) is not None)
        )
        or _WHICH_LIES.search(facts.whole) is not None
        or (
            _BESIDE_IT.search(facts.whole) is not None
            and (not facts.names or any(is_of_many(name[0]) for name in facts.names))
        )
        or (in_picture and facts.has_name and not is_side)
        or (_ON_SIDE_OF.search(facts.said) is not None and facts.is_explicit and not facts.are_paired)
        or (_REACHES_IT.search(facts.said) is not None and facts.has_name and not are_findings)
        or (_IN_STRUCTURE.search(facts.said) is not None and not are_findings)
        or ((facts.has_name or _NEXT_TO_IT.search(facts.whole)) and _LIES_WHERE.search(facts.whole) is not None)
        or (facts.is_explicit and _RELATION.search(facts.said) is not None)
    )
