"""How people ask: many wordings of two questions, English and Chinese.

`{x}` is the name of an object, `{m}` of the kind of image, `{box}` a region. What the program words itself stands in
`medrega_edge.prompts.templates`.
"""

from __future__ import annotations

from medrega_edge.domain import Language

DETECT = {
    Language.EN: (
        "locate the {x}",
        "Locate the {x}.",
        "Where is the {x}?",
        "where is {x}",
        "Find the {x}.",
        "Please find the {x} in this image.",
        "Detect the {x} in this {m}.",
        "Show me where the {x} is.",
        "Mark the {x}.",
        "Please mark the {x} in the {m}.",
        "Give the bounding box of the {x}.",
        "Can you point out the {x}?",
        "Which part of the {m} shows the {x}?",
        "Draw a box around the {x}.",
        "Outline the position of the {x} with a box.",
        "In this {m}, where can the {x} be seen?",
        "I am looking for the {x}. Where is it?",
        "Is there a {x}? Show its position.",
        "Highlight the {x}.",
        "Please give the location of the {x}.",
        "{x}",
    ),
    Language.ZH: (
        "请定位{x}",
        "定位{x}",
        "请定位{x}。",
        "{x}在哪里？",
        "{x}在哪",
        "请标出{x}。",
        "标出图中的{x}",
        "找出图中的{x}。",
        "请在这张{m}中找到{x}。",
        "请框出{x}。",
        "请给出{x}的边界框。",
        "图中{x}的位置在哪里？",
        "这张{m}里的{x}位于何处？",
        "帮我指出{x}的位置。",
        "检测图像中的{x}。",
        "我想看{x}，它在什么位置？",
        "有{x}吗？请标出位置。",
        "用方框圈出{x}。",
        "{x}",
    ),
}

IDENTIFY = {
    Language.EN: (
        "What is <ref>this</ref>{box}?",
        "What is <ref>this</ref>{box} in this {m}?",
        "Name <ref>this</ref>{box}.",
        "Which structure is <ref>this</ref>{box}?",
        "Identify <ref>this</ref>{box} in the image.",
        "What can be seen in <ref>this</ref>{box}?",
        "Please tell me what <ref>this</ref>{box} shows.",
    ),
    Language.ZH: (
        "<ref>这里</ref>{box}是什么？",
        "这张{m}中<ref>这里</ref>{box}是什么？",
        "请识别<ref>这里</ref>{box}。",
        "<ref>这里</ref>{box}是哪个结构？",
        "请说出<ref>这里</ref>{box}的名称。",
        "<ref>这里</ref>{box}显示的是什么？",
    ),
}
