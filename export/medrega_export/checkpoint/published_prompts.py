"""The prompts of a checkpoint that was trained elsewhere: read from its published samples, or ours where it has none.

Samples are in InternVL's format (`conversations`, `base_prompt`). The task of a sample follows from its question and its
answer, never from the name of a file.
"""

from __future__ import annotations

import json
import os
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from medrega_edge.domain import Language, Task, language_of
from medrega_edge.errors import UsageError
from medrega_edge.i18n.message import Message
from medrega_edge.prompts.region_markup import parse
from medrega_edge.prompts.templates import DEFAULT_PROMPTS, IMAGE_SLOT, LABELS_SLOT, QUESTION_SLOT, PromptBook

TURN_END = "<|im_end|>"
IMAGE_MARK = "<image>"  # where a sample has its image


@dataclass(frozen=True)
class ChatFrame:
    """The turns around a question: `system` opens the chat, `between` separates two turns."""

    system: str
    between: str

    @property
    def start(self) -> str:
        """Text before the user's words."""
        opening = f"<|im_start|>system\n{self.system}{self.between}" if self.system else ""
        return f"{opening}<|im_start|>user\n"

    @property
    def end(self) -> str:
        """Text after the user's words, up to the answer."""
        return f"{self.between}<|im_start|>assistant\n"


# By the name that `template` of a config gives. The sentences are upstream's own; weights were trained with them.
_SYSTEM_1 = "你是由上海人工智能实验室联合商汤科技开发的书生多模态大模型，英文名叫InternVL, 是一个有用无害的人工智能助手。"
_SYSTEM_2 = "你是书生·万象，英文名是InternVL，是由上海人工智能实验室、清华大学及多家合作单位联合开发的多模态大语言模型。"
FRAMES = {
    "Hermes-2": ChatFrame(_SYSTEM_1, TURN_END),
    "internlm2-chat": ChatFrame(_SYSTEM_1, TURN_END),
    "internvl2_5": ChatFrame(_SYSTEM_2, f"{TURN_END}\n"),
}
NATIVE_FRAME = ChatFrame("", f"{TURN_END}\n")


@dataclass(frozen=True)
class PublishedSamples:
    """The two files in which prompts are published: conversations, and the data sets' `base_prompt`s."""

    conversations: Path
    registry: Path


@dataclass(frozen=True)
class _Sample:
    task: Task
    language: Language
    before: str  # text before the image
    question: str  # text after it
    gap: str  # white space between the image and the question


def read_prompts(
    config: Mapping[str, Any], tokenizer_json: bytes, samples: PublishedSamples | None
) -> tuple[PromptBook, tuple[Message, ...]]:
    """Return the prompts of a foreign checkpoint, and warnings about them; raises UsageError."""
    from tokenizers import Tokenizer

    name = config.get("template")
    if name is not None and name not in FRAMES:
        raise UsageError("export.chat_template_unknown", template=str(name), known=list(FRAMES))
    frame = FRAMES[name] if name is not None else NATIVE_FRAME
    # Whatever the tokenizer starts a text with belongs to the prompt; the runtime adds nothing by itself.
    tokenizer = Tokenizer.from_str(tokenizer_json.decode("utf-8"))
    start = f"{''.join(tokenizer.encode('').tokens)}{frame.start}"
    if samples is None:
        templates = {
            task: dict.fromkeys(languages, f"\n{QUESTION_SLOT}{frame.end}")
            for task, languages in DEFAULT_PROMPTS.templates.items()
        }
        return PromptBook(f"{start}<img>{IMAGE_SLOT}</img>", templates), (Message("export.prompts_not_given"),)
    return _book(_read_samples(samples), start, frame.end)


def _book(samples: Sequence[_Sample], start: str, end: str) -> tuple[PromptBook, tuple[Message, ...]]:
    prefixes: dict[str, dict[str, str]] = {}
    templates: dict[str, dict[str, str]] = {}
    warnings = []
    for task, language in sorted({(sample.task, sample.language) for sample in samples}):
        members = [sample for sample in samples if (sample.task, sample.language) == (task, language)]
        wordings = Counter(sample.before for sample in members)
        before, _ = wordings.most_common(1)[0]  # the first of equally frequent ones
        if len(wordings) > 1:
            warnings.append(
                Message("export.several_wordings", task=task.value, language=language.value, count=len(wordings))
            )
        gap = next(sample.gap for sample in members if sample.before == before)
        questions = [sample.question for sample in members if sample.question]
        # A report needs no words but the task's own.
        slot = f"{QUESTION_SLOT}{_common_end(questions)}" if questions or task is not Task.REPORT else ""
        prefixes.setdefault(task, {})[language] = f"{start}{before}<img>{IMAGE_SLOT}</img>"
        templates.setdefault(task, {})[language] = f"{gap}{slot}{end}"
    return PromptBook(prefixes, templates), tuple(warnings)


def _read_samples(samples: PublishedSamples) -> list[_Sample]:
    parsed = [_sample(line, number, samples.conversations) for number, line in _lines(samples.conversations)]
    if not parsed:
        raise UsageError("export.no_samples", file=samples.conversations.name)
    try:
        registry = json.loads(samples.registry.read_text(encoding="utf-8"))
        base = [str(entry["base_prompt"]) for entry in registry.values() if entry.get("base_prompt")]
    except (OSError, ValueError, AttributeError, TypeError):
        raise UsageError("export.registry_unreadable", file=samples.registry.name) from None
    # A base_prompt is the text before the image, also of a task and language without a sample. Its task is that of the
    # sample that starts like it; the samples show how it is joined to the image.
    covered = {(sample.task, sample.language) for sample in parsed}
    for text in base:
        language = language_of(text)
        nearest = max(parsed, key=lambda sample: len(os.path.commonprefix([sample.before, text])))
        if (nearest.task, language) not in covered and os.path.commonprefix([nearest.before, text]):
            blank = nearest.before[len(nearest.before.rstrip()) :]
            parsed.append(_Sample(nearest.task, language, text.rstrip() + blank, "", nearest.gap))
    return parsed


def _lines(path: Path) -> list[tuple[int, str]]:
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError):
        raise UsageError("export.samples_unreadable", file=path.name) from None
    return [(number, line) for number, line in enumerate(text.split("\n"), 1) if line.strip()]


def _sample(line: str, number: int, path: Path) -> _Sample:
    try:
        human, answer = (
            next(str(turn["value"]) for turn in json.loads(line)["conversations"] if turn["from"] == who)
            for who in ("human", "gpt")
        )
        before, after = human.split(IMAGE_MARK)
    except (ValueError, KeyError, TypeError, StopIteration):
        raise UsageError("export.not_a_conversation", line=number, file=path.name, mark=IMAGE_MARK) from None
    question = after.lstrip()
    task = _task(before, question, answer)
    if task is Task.CLASSIFY:
        before = _without_labels(before, answer)
    gap = after[: len(after) - len(question)]
    return _Sample(task, language_of(before + question), before, question.rstrip(), gap)


def _task(before: str, question: str, answer: str) -> Task:
    parsed = parse(answer)
    if parsed.regions:
        labels = [region.label for region in parsed.regions]
        prose = parsed.prose
        for label in labels:
            prose = prose.replace(label, "", 1)
        return Task.GROUNDED_REPORT if re.search(r"\w", prose) else Task.DETECT
    if "<box>" in question:
        return Task.IDENTIFY
    if not question:
        return Task.REPORT
    return Task.CLASSIFY if answer in before.splitlines() else Task.VQA


def _without_labels(before: str, answer: str) -> str:
    """Put a slot in place of the list of candidates: the lines around the answer, from the one that announces them."""
    lines = before.splitlines()
    right = lines.index(answer)
    first = next((i for i in range(right, 0, -1) if lines[i - 1].rstrip().endswith((":", "："))), right)
    last = next((i for i in range(right, len(lines)) if lines[i].rstrip().endswith((".", "。"))), len(lines))
    tail = "\n" if before.endswith("\n") else ""
    return "\n".join([*lines[:first], LABELS_SLOT, *lines[last:]]) + tail


def _common_end(questions: Sequence[str]) -> str:
    """Return the sentences at the end of all questions: an instruction of the task, not of one question."""
    if len(set(questions)) < 2:
        return ""
    sentences = [re.split(r"(?<=[.?!。？！])(?=\s*\S)", question) for question in questions]
    shared: list[str] = []
    for ends in zip(*(reversed(parts[1:]) for parts in sentences), strict=False):  # the shortest question sets the limit
        if len(set(ends)) > 1:
            break
        shared.insert(0, ends[0])
    return "".join(shared)
