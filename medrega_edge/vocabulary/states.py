"""Questions of how a structure is, "is it normal", "肾好不好", and words for its state, "cirrhotic"."""

from __future__ import annotations

import re

from medrega_edge.vocabulary.answers import asks_yes_or_no
from medrega_edge.vocabulary.plain_text import simplified
from medrega_edge.vocabulary.wording_table import table

_IS_NORMAL = re.compile(
    r"(?:normal|clear|healthy|\bok|okay|\bfine|正常) ?[?？]\s*$"
    r"|(?:正常|清晰|清楚|干净)[否不]\W*$|(?:正常|好着?|没有?(?:什么|啥|大)?(?:事|问题|毛病|异常|病))的?(?:吧|对吧|是吧)\W*$"
)
_HOW_IS_EN = re.compile(
    r"\bhow(?:'s| is| are) [a-z ]+ (?:doing|looking|holding up)\W*$|\bhow (?:do|does) [a-z ]+ look\W*$", re.IGNORECASE
)
_HOW_IS_ZH = re.compile(  # of the structure itself: neither of its size, say, nor behind a request ("标出肝脏好吗")
    r"^(?!.*(?:[标圈框画指量数找]|定位|分割|勾|告诉|在哪|多[大少长宽高厚深]|还是))"
    r"(?!.*(?:大小|位置|形态|形状|边缘|边界|轮廓|密度|信号|回声|颜色|充盈|质量|控制|功能|结构|表面|厚度|个数|数量|分化|像))"
    r".*(?:怎么样|怎样|咋样|如何|好不好|好着吗|好吗|行不行|还行吗|正不正常|要紧吗|要不要紧)"
    r"[了啊呀呢哦]?\W*$"
)


def asks_how_it_is(text: str) -> bool:
    """Whether a question asks how what it names is, "how is my liver doing", "肾好不好", and nothing else of it."""
    return (_HOW_IS_EN.search(text) or _HOW_IS_ZH.search(simplified(text))) is not None


def asks_if_normal(text: str) -> bool:
    """Whether a question asks if something is normal, by yes or no or by a choice of both."""
    words, plain = table()["normal_words"], f" {simplified(text)} ".replace("啥", "什么")
    is_said = any(re.search(rf"(?<![a-z]){word}(?![a-z])", plain) for word in words["en"]) or any(
        word in plain for word in words["zh"]
    )
    is_whether = re.search(r"\b(?:whether|if) (?:it|they|that|this|the|his|her|my|both)\b|是否|是不是", plain) is not None
    is_short = _IS_NORMAL.search(plain) is not None and re.search(r"\bor\b|还是", plain) is None
    return is_said and (
        asks_yes_or_no(text) or is_whether or is_short or any(choice in plain for choice in words["choices"])
    )


def disease_word(text: str) -> str | None:
    """Return the words that say how a structure is, "cirrhotic", "in the right place": its box does not tell it. Or None."""
    words, plain = table()["disease_words"], simplified(text)
    if phrase := next((found for each in words["phrases"] if (found := re.search(rf"\b(?:{each})\b", plain))), None):
        return phrase.group()
    english = (word for word in re.findall(r"[a-z]+", plain) if word in words["en"])
    return next(english, next((word.rstrip("的性") for word in words["zh"] if word in plain), None))
