"""The words of lines that leave out what the question before said, and what each kind of them asks."""

from __future__ import annotations

import re

OTHER_NAMES = re.compile(r"^\W*(?:and|or|what about|how about|now|then)\b|^\W*(?:那么?|还有)|呢\W*$", re.IGNORECASE)
SAME_NAMES = re.compile(r"\b(?:it|its|they|them|their|these|those)\b|它", re.IGNORECASE)
ASKS_FOR_PRESENCE = re.compile(r"\b(?:is|are|any|has|have|does|do)\b|有没有|有无|是否|[吗么]\W*$", re.IGNORECASE)
SIDE = re.compile(
    r"\b(left|right|other|opposite|contralateral)(?: ones?| side| hand side)?\W*$"
    r"|(左|右|另一?|对)[边侧面](?:的|那个|一个)?(?:(?:勾|描|分割)\w{0,4}|呢)?\W*$",
    re.IGNORECASE,
)
ASKS_ANEW = re.compile(r"\bhow\b|\bsize\b|\bwhich side\b|多[大少长宽]|几[个颗处枚]|哪[一]?侧|大小", re.IGNORECASE)
BOTH_SIDES = re.compile(r"\bboth\b|[两双][边侧个]", re.IGNORECASE)
OTHER_ONE = re.compile(r"\b(?:other|opposite|contralateral)\b|另一|对侧", re.IGNORECASE)
ANY_OTHERS = re.compile(
    r"\b(?:other|others|another|more|else|additional)\b|别的|其[他它]|另外|另有|还有|更多", re.IGNORECASE
)
BARE_OTHERS = re.compile(
    r"^\W*(?:and |so |are there |is there |do you see |see |find )*(?:any(?:thing|where)? ?|some ?)?(?:others?|more|else)"
    r"(?: ones?| lesions?| findings?)?(?: there| here| visible)?\W*$"
    r"|^\W*(?:还有|有没有|有)(?:没有)?(?:别的|其[他它]的?|另外的?|更多的?)(?:地方|病灶|病变|异常|吗|么|没有?|呢)*\W*$",
    re.IGNORECASE,
)
SMALLER = re.compile(r"\b(?:smaller|smallest|shorter)\b|小的?那|最小|[较更]小", re.IGNORECASE)
LARGER = re.compile(r"\b(?:larger|bigger|largest|biggest|longer)\b|大的?那|最大|[较更]大", re.IGNORECASE)
OF_ALL = re.compile(r"\b(?:them|they|both|these|those)\b|[它他]们|这些|那些|[两俩]个?", re.IGNORECASE)
THAN = re.compile(r"^\W*它?(?:和|跟|与|比)")
FROM_IT = re.compile(r"^\W*(?:and |so )?how (?:far|close)(?: away)? (?:from|to)\b|^\W*[离距]", re.IGNORECASE)
ON_SIDE = re.compile(
    r"^(?:so |and )?(?:is|are) (?:it|they|that|this) (?:on |in |at )?(?:the |his |her )?(?:patient'?s )?(?:left|right)\b"
    r"|^(?:那)?它?(?:们)?(?:是)?在?[左右][边侧](?:的)?[吗么？?]",
    re.IGNORECASE,
)
# A question for the place of what the last one was about: "where?", "show me", "在哪", "圈出来", "给我标一下看看".
BARE_PLACE = re.compile(
    r"^\W*(?:so |and |ok |okay |please |can you |could you )*"
    r"(?:where(?: exactly| is that| s that)?|show me|mark|box|circle|draw|outline|highlight|point out|point)"
    r"(?: it| them| that| again| please| on the (?:picture|image))*\W*$"
    r"|^\W*(?:show|draw|mark) (?:it|them|that|me)(?: to me| again| please| where)*\W*$"
    r"|^\W*(?:那么?|请|帮我|给我|能不能)*(?:它们?)?(?:在|位于|是在)?"
    r"(?:具体)?(?:在)?(?:哪里?|哪儿|哪个?(?:位置|地方|部位)|什么(?:位置|地方|部位)|位置|何处)[呢啊呀]?\W*$"
    r"|^\W*(?:那么?|请|再|帮我|给我|把它们?|将其)*(?:[圈框标画勾描][出示注画]?|分割)(?:一下|一圈|一次|出来|给我|看看|看|下|来|起来)*[吧呢]?\W*$",
    re.IGNORECASE,
)
BARE_SIDE = re.compile(
    r"^\W*(?:(?:on |in )?(?:which|what) side|left or right|right or left)(?: is (?:it|that) on| is it)?\W*$"
    r"|^\W*(?:它)?(?:的)?(?:位置)?(?:是|在|位于|处于)*(?:哪一?[侧边]|左[边侧]?还是右[边侧]?)[呢]?\W*$",
    re.IGNORECASE,
)
EITHER_SIDE = re.compile(
    r"\b(?:left or (?:the )?right|right or (?:the )?left)\b|左[边侧]?还是右|右[边侧]?还是左", re.IGNORECASE
)
HOW_MUCH = re.compile(
    r"^\W*(?:and )?(?:by )?how much(?: (?:bigger|larger|smaller|longer)(?: is it)?)?\W*$"
    r"|^\W*[大小差]了?(?:多少|几倍|多大)\W*$",
    re.IGNORECASE,
)
BESIDE_IT = re.compile(
    r"\b(?:above|below|beneath|underneath|behind|beside|next to|adjacent to|between) (?:it|them|that|these)\b"
    r"|^\W*(?:only |just )?the (?:upper|lower|top|bottom) ones?\W*$|哪一?个更?靠[左右上下前后]"
    r"|它们?的?[上下前后旁][面方边]",
    re.IGNORECASE,
)
WHICH_HOLDS = re.compile(  # "which kidney is it in?" after a mass
    r"^\W*(?:so |and )?(?:in )?which [a-z]+ (?:is|are) (?:it|they) (?:in|on)\b"
    r"|^\W*(?:in|on) which [a-z]+(?: is (?:it|that))?\W*$"
    r"|^\W*它?们?(?:是)?(?:长|位|处)?(?:在|于)哪一?[个侧边只]\w{1,2}\W*$",
    re.IGNORECASE,
)
HOW_MANY_IN_ALL = re.compile(
    r"^\W*(?:how many )?(?:in (?:all|total)|altogether|total)\W*$|^\W*(?:which|what) (?:are|is) there (?:more|most) of\W*$"
    r"|^\W*[总一]共(?:有)?(?:多少|几)个?\W*$|^\W*[哪谁]一?个?(?:更|比较)?多\W*$",
    re.IGNORECASE,
)
NORMAL = re.compile(
    r"^\W*(?:and |so )?(?:is (?:it|that|this) )?normal\W*$|^\W*(?:那|它|这)?正常[吗么嘛不]\W*$", re.IGNORECASE
)
RATIO = re.compile(r"\bratio\b|比值|比例", re.IGNORECASE)
OUTLINE = re.compile(r"\b(?:segment|outline|contour|delineate|trace)\b|分割|勾[画勒]|描边|轮廓", re.IGNORECASE)
IN_IT = re.compile(
    r"\b(?:in|inside|within|of|on|near|around|with|to|from|has|have|does|do) (?:it|they|them|that|these|those)\b|\bits\b|它",
    re.IGNORECASE,
)
