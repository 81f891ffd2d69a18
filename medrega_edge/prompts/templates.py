"""Prompt templates, English beside Chinese, and the prompts of one set of weights.

This project's weights are trained with the templates below. A package has its own copy in `prompts.json`, and the runtime
uses that copy, so a checkpoint with other prompts needs no change of code.

The image comes first, then task and question, so all questions about an image share its prefix. Other weights may read
their task before the image: then the questions of one task share the prefix.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Annotated

from pydantic import Field

from medrega_edge.domain import Language, Modality, Task
from medrega_edge.errors import PackageError, UsageError
from medrega_edge.io.strict_json import STRICT, JsonFault, parse_json

IMAGE_TOKEN = "<IMG_CONTEXT>"

IMAGE_SLOT, QUESTION_SLOT = "{image}", "{question}"
LABELS_SLOT = "{labels}"  # in a prefix, before the image: the candidates of a classification, one per line

PREFIX = f"<|im_start|>user\n<img>{IMAGE_SLOT}</img>\n"
_TASK_TAGS = {
    "vqa": ("[vqa]", "[问答]"),
    "classify": ("[classify]", "[分类]"),
    "report": ("[report]", "[报告]"),
    "identify": ("[identify]", "[识别]"),
    "detect": ("[detect]", "[定位]"),
}
TEMPLATES: dict[str, dict[str, str]] = {
    task: {
        language: f"{tag} {QUESTION_SLOT}<|im_end|>\n<|im_start|>assistant\n"
        for language, tag in zip((Language.EN, Language.ZH), tags, strict=True)
    }
    for task, tags in _TASK_TAGS.items()
}

# Questions in the program's own words, the same in training and at run time.
DETECT_QUESTION = {Language.EN: "locate the {x}", Language.ZH: "请定位{x}"}
IDENTIFY_QUESTION = {
    Language.EN: "What is <ref>this</ref>{box}?",
    Language.ZH: "<ref>这里</ref>{box}是什么？",
}
CLASSIFY_QUESTION = {
    Language.EN: "Which one fits: {labels}?",
    Language.ZH: "符合哪一项：{labels}？",
}
CLASSIFY_MULTIPLE_QUESTION = {
    Language.EN: "Which fit, one or more: {labels}?",
    Language.ZH: "符合哪几项：{labels}？",
}
# The same after a prefix that lists the candidates (`LABELS_SLOT`).
CLASSIFY_LISTED_QUESTION = {Language.EN: "Which one fits?", Language.ZH: "符合哪一项？"}
CLASSIFY_MULTIPLE_LISTED_QUESTION = {Language.EN: "Which fit, one or more?", Language.ZH: "符合哪几项？"}
LABEL_SEPARATOR = "; "  # between candidates, and between the labels of an answer
MODALITY_QUESTION = "Which kind of image is this?"  # asked by the program only, so in one language
REPORT_QUESTION = {Language.EN: "Describe this image.", Language.ZH: "请描述这张图像。"}
# Ends every report: weights know only what was annotated, so silence or "none" is no finding.
REPORT_DISCLAIMER = {
    Language.EN: "Only findings from the training data can appear here; others may be present.",
    Language.ZH: "报告仅涵盖训练数据中标注过的项目，可能还有其他异常。",
}
# Regional chain of thought: the regions that were located first follow the question.
WITH_REGIONS = {Language.EN: "{question} Regions: {regions}", Language.ZH: "{question} 区域：{regions}"}

ABSENT_ANSWER = {
    Language.EN: "There is no {name} in this image.",
    Language.ZH: "图中没有{name}。",
}

UNSURE_ANSWER = {Language.EN: "Not sure.", Language.ZH: "不确定。"}

PROMPTS = "prompts.json"
_LanguageName = Annotated[str, Field(pattern=f"^({'|'.join(Language)})$")]
_ModalityName = Annotated[str, Field(pattern=f"^({'|'.join(Modality)})$")]
_Answer = Annotated[str, Field(min_length=1)]
_ModalityOrNone = Annotated[str, Field(pattern=f"^({'|'.join(Modality)})?$")]


@dataclass(frozen=True)
class Prompt:
    """A whole prompt: the text before the image, the text after it up to the question, and the question."""

    before: str
    after: str
    question: str


@dataclass(frozen=True)
class PromptBook:
    """The prompts that one set of weights was trained with.

    `prefix` holds the image: one text for all, or, for weights that read their task before the image, one per task and
    language. `templates[task][language]` follows it. `labels` are the names of regions in training, English and Chinese;
    empty if unknown. `modalities` maps the answers to `MODALITY_QUESTION` to modalities, "" for no medical image; empty if
    the weights were not trained for it. `label_priors[language]` holds label sets, each label with its mean log-probability
    over images of all classes; `prompts.json` calls them `levels`. `label_modalities` holds the modalities that can show a
    label, by its English name; a label that is not in it may be in any. `answers[language]` are all answers to free
    questions that the weights have seen, and a free question gets one of them; without them it gets any words. `presence`
    is in older packages, and unused.
    """

    __pydantic_config__ = STRICT

    prefix: str | Mapping[str, Mapping[str, str]]
    templates: Mapping[str, Mapping[str, str]]
    labels: tuple[tuple[str, str], ...] = ()
    modalities: Mapping[str, _ModalityOrNone] = field(default_factory=dict)
    label_priors: Annotated[Mapping[_LanguageName, Sequence[Mapping[str, float]]], Field(validation_alias="levels")] = field(
        default_factory=dict
    )
    label_modalities: Mapping[str, Sequence[_ModalityName]] = field(default_factory=dict)
    answers: Mapping[_LanguageName, tuple[_Answer, ...]] = field(default_factory=dict)
    presence: Mapping[str, float] | None = None

    def before_and_after(self, task: Task = Task.DETECT, language: Language = Language.EN) -> tuple[str, str]:
        """Return the prefix's text before and after the image; task and language matter if each has its own prefix."""
        prefix = self.prefix if isinstance(self.prefix, str) else self.prefix[task][language]
        before, after = prefix.split(IMAGE_SLOT)
        return before, after

    def prompt(self, task: Task, language: Language, question: str, labels: Sequence[str] = ()) -> Prompt:
        """Return the whole prompt of a question; raises UsageError as `suffix` does."""
        suffix = self.suffix(task, language, question)
        before, after = self.before_and_after(task, language)
        return Prompt(before.replace(LABELS_SLOT, "\n".join(labels)), after, suffix)

    def classify_question(self, labels: Sequence[str], language: Language, multiple: bool = False) -> str:
        """Return the question of a classification; it names the candidates unless the prefix does."""
        prefix = self.prefix if isinstance(self.prefix, str) else self.prefix.get(Task.CLASSIFY, {}).get(language, "")
        if LABELS_SLOT in prefix:
            return (CLASSIFY_MULTIPLE_LISTED_QUESTION if multiple else CLASSIFY_LISTED_QUESTION)[language]
        wording = (CLASSIFY_MULTIPLE_QUESTION if multiple else CLASSIFY_QUESTION)[language]
        return wording.format(labels=LABEL_SEPARATOR.join(labels))

    def label_priors_of(self, labels: Sequence[str], language: Language) -> list[float]:
        """Return the log-prior of each candidate, to subtract from its log-probability; empty if unknown."""
        matching = (priors for priors in self.label_priors.get(language, ()) if set(priors) == set(labels))
        priors = next(matching, {})
        return [priors[label] for label in labels if label in priors]

    def can_show(self, modality: Modality, label_en: str) -> bool:
        """Whether an image of a modality can show a label at all; True where the table does not say."""
        return modality in self.label_modalities.get(label_en, (modality,))

    def suffix(self, task: Task, language: Language, question: str) -> str:
        """Return the text after the prefix, with the question in it.

        Raises UsageError when these weights were not trained for the task or the language.
        """
        languages = self.templates.get(task)
        if languages is None:
            raise UsageError("prompt.untrained_task", task=str(task), tasks=sorted(self.templates))
        template = languages.get(language)
        if template is None:
            raise UsageError(
                "prompt.untrained_language", task=str(task), language=str(language), languages=sorted(languages)
            )
        return template.replace(QUESTION_SLOT, question)

    def to_json(self) -> str:
        """Serialise as `prompts.json`, which calls the label priors `levels`."""
        data = asdict(self)
        if label_priors := data.pop("label_priors"):
            data["levels"] = label_priors
        for optional in ("label_modalities", "answers", "presence"):
            if not data[optional]:
                del data[optional]
        return json.dumps(data, ensure_ascii=False, indent=1) + "\n"

    @classmethod
    def from_json(cls, text: str) -> PromptBook:
        """Read `prompts.json`; raises PackageError that names the key at fault."""
        try:
            book = parse_json(cls, text)
        except JsonFault as fault:
            raise fault.package_error(PROMPTS) from None
        book._check()
        return book

    def _check(self) -> None:
        """Raise PackageError for a wrong number of slots, or for prefixes and templates of different tasks."""
        if isinstance(self.prefix, str):
            prefixes = {"prefix": self.prefix}
        else:
            prefixes = _flat("prefix", self.prefix)
            if {task: set(each) for task, each in self.prefix.items()} != {
                task: set(each) for task, each in self.templates.items()
            }:
                raise PackageError("package.other_tasks", file=PROMPTS)
        for key, text in prefixes.items():
            if text.count(IMAGE_SLOT) != 1:
                raise PackageError("package.wrong_slots", file=PROMPTS, key=key, slot=IMAGE_SLOT)
        for task, languages in self.templates.items():
            fewest = 0 if task == Task.REPORT else 1  # a report needs no question
            for language, text in languages.items():
                if not fewest <= text.count(QUESTION_SLOT) <= 1:
                    key = f"templates.{task}.{language}"
                    raise PackageError("package.wrong_slots", file=PROMPTS, key=key, slot=QUESTION_SLOT)


def _flat(name: str, texts: Mapping[str, Mapping[str, str]]) -> dict[str, str]:
    """The texts by their path: `name.task.language`."""
    return {f"{name}.{task}.{language}": text for task, each in texts.items() for language, text in each.items()}


DEFAULT_PROMPTS = PromptBook(PREFIX, TEMPLATES)


def sentence_of_regions(labels: list[str], language: Language) -> str:
    """Return a sentence for an answer of regions alone: the names that were located."""
    if language is Language.ZH:
        return f"{'、'.join(labels)}在这里。"
    names = labels[0] if len(labels) == 1 else f"{', '.join(labels[:-1])} and {labels[-1]}"
    return f"The {names} {'is' if len(labels) == 1 else 'are'} here."
