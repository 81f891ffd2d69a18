"""One function a task: what is asked of the language model, and what its words mean.

Knows prompts, terms, grammars and the region text; knows no file, no graph and no JSON. Boxes are grid boxes here. Names
that the weights were trained on are always asked for in the program's own English wording and told in the language of the
question, so the same question has the same box in both languages.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from medrega_edge.boxes import GridBox
from medrega_edge.domain import Language, Modality, Task
from medrega_edge.errors import UsageError
from medrega_edge.inference.confidence import raw_scores
from medrega_edge.inference.grammars import Choice, NamedRegion, Prose, RegionGrammar
from medrega_edge.inference.language_model import Generation, ImageEmbeddings, LanguageModel
from medrega_edge.prompts.region_markup import REF_OPEN, RegionText, format_boxes, format_region, parse
from medrega_edge.prompts.templates import (
    ABSENT_ANSWER,
    DETECT_QUESTION,
    IDENTIFY_QUESTION,
    LABEL_SEPARATOR,
    MODALITY_QUESTION,
    REPORT_LIMITS,
    REPORT_QUESTION,
    WITH_REGIONS,
    Prompt,
    PromptBook,
    sentence_of_regions,
)
from medrega_edge.tasks import report_sentences
from medrega_edge.vocabulary.terminology import Label, Terms

MAX_TOKENS = 256
MOST_FINDINGS = 8  # of a report that are located

OnText = Callable[[str], None] | None


@dataclass(frozen=True)
class Found:
    """A named box with its raw score."""

    label: str
    box: GridBox
    score: float | None


@dataclass
class Reply:
    """What a task came to: text for a person, regions, labels, and what was said by the model on the way."""

    text: str
    regions: list[Found] = field(default_factory=list)
    labels: list[tuple[str, float]] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    said: list[Generation] = field(default_factory=list)


class Tasks:
    """The tasks of one package in front of its language model."""

    def __init__(self, language_model: LanguageModel, prompts: PromptBook) -> None:
        """Take what the weights understand."""
        self._language_model = language_model
        self._prompts = prompts
        self.terms = Terms(prompts.labels)

    def detect(self, image: ImageEmbeddings, question: str, language: Language, limit: int, on_text: OnText = None) -> Reply:
        """Locate what a question names, one object after the other."""
        if not self._prompts.labels:
            return self._detect_freely(image, question, language, limit, on_text)
        labels = self.terms.find(question)
        if not labels:
            raise UsageError(
                "The question names nothing that this model package was trained to locate; "
                "`medrega model info --labels` lists what it knows."
            )
        replies = [self._locate(image, label, language, limit, on_text) for label in labels]
        found = [region for reply in replies for region in reply.regions]
        there = list(dict.fromkeys(region.label for region in found))
        sentences = [sentence_of_regions(there, language)] if there else []
        sentences += [reply.text for reply in replies if not reply.regions]
        return Reply(
            ("" if language is Language.ZH else " ").join(sentences),
            found,
            warnings=[*_left_out(self.terms.unknown(question)), *(w for reply in replies for w in reply.warnings)],
            said=[said for reply in replies for said in reply.said],
        )

    def _locate(self, image: ImageEmbeddings, label: Label, language: Language, limit: int, on_text: OnText = None) -> Reply:
        """Locate one object whose name is known."""
        english, shown = label[0], label[language is Language.ZH]
        prompt = self._prompts.prompt(Task.DETECT, Language.EN, DETECT_QUESTION[Language.EN].format(x=english))
        encode = self._language_model.tokenizer.encode_continuation
        absent = encode(ABSENT_ANSWER[Language.EN].format(name=english), prompt.question)[0]
        grammar = NamedRegion(self._language_model.vocabulary, encode(english, REF_OPEN), absent, limit=limit)
        said = self._language_model.say(image, prompt, grammar, limit, on_text)
        parsed = parse(said.raw)
        if not parsed.regions:
            cut = said.finish == "length"  # before a box was whole: that is no absence
            text = "" if cut else ABSENT_ANSWER[language].format(name=shown)
            return Reply(text, said=[said], warnings=_problems(said, ()))
        presence = said.steps[0].probability or 1.0
        boxes = [box for region in parsed.regions for box in region.boxes]
        scores = raw_scores(said.steps, presence)
        return Reply("", _scored(shown, boxes, scores), warnings=_problems(said, parsed.problems), said=[said])

    def _detect_freely(
        self, image: ImageEmbeddings, question: str, language: Language, limit: int, on_text: OnText
    ) -> Reply:
        """Locate with weights whose vocabulary nobody wrote down: the question goes through as it is."""
        reply = self._write_freely(image, self._prompts.prompt(Task.DETECT, language, question), limit, on_text)
        labels = list(dict.fromkeys(region.label for region in reply.regions))
        if labels and reply.text.strip(" ,，、.。") in ("", *labels, ", ".join(labels)):
            reply.text = sentence_of_regions(labels, language)
        return reply

    def _write_freely(self, image: ImageEmbeddings, prompt: Prompt, limit: int, on_text: OnText = None) -> Reply:
        """Let the model write words and regions as it likes; the text keeps the names of the regions."""
        said = self._language_model.say(image, prompt, RegionGrammar(self._language_model.vocabulary), limit, on_text)
        parsed = parse(said.raw)
        scores = raw_scores(said.steps) if len(parsed.regions) == 1 else []
        found = [f for region in parsed.regions for f in _scored(region.label, list(region.boxes), scores)]
        return Reply(parsed.prose, found, warnings=_problems(said, parsed.problems), said=[said])

    def identify(
        self, image: ImageEmbeddings, box: GridBox, language: Language, limit: int, on_text: OnText = None
    ) -> Reply:
        """Name what lies in a box."""
        known = bool(self._prompts.labels)
        asked = Language.EN if known else language
        question = IDENTIFY_QUESTION[asked].format(box=format_boxes([box]))
        prompt = self._prompts.prompt(Task.IDENTIFY, asked, question)
        if not known:
            said = self._language_model.say(image, prompt, Prose(self._language_model.vocabulary), limit, on_text)
            return Reply(said.raw.strip(), warnings=_problems(said, ()), said=[said])
        names = [en for en, _ in self._prompts.labels]
        said, chosen, sure = self._choose(image, prompt, names, limit, on_text=on_text)
        name = self.terms.name(names[chosen[0]], language)
        return Reply(name, [Found(name, box, None)], [(name, sure)], _problems(said, ()), [said])

    def classify(
        self,
        image: ImageEmbeddings,
        labels: Sequence[str],
        language: Language,
        several: bool,
        limit: int,
        regions: Sequence[RegionText] = (),
    ) -> Reply:
        """Choose among candidate labels; several of them where `several`."""
        if len(set(labels)) < 2 or not all(label.strip() for label in labels):
            raise UsageError("A classification needs two or more different labels; give them with --labels a,b,c.")
        prompt = self._classify_prompt(labels, language, several, regions)
        levels = [] if several else self._prompts.label_priors_of(labels, language)
        if levels:
            said, best, sure = self._language_model.pick(image, prompt, self._behind_question(labels, prompt), levels)
            chosen = [best]
        else:
            said, chosen, sure = self._choose(image, prompt, labels, limit, several)
        picked = [labels[i] for i in chosen]
        return Reply(
            LABEL_SEPARATOR.join(picked),
            labels=[(label, sure) for label in picked],
            warnings=_problems(said, ()),
            said=[said],
        )

    def weigh(self, image: ImageEmbeddings, labels: Sequence[str], language: Language) -> list[float]:
        """Log-probability of each candidate of a classification, its level not taken off."""
        prompt = self._classify_prompt(labels, language, False, ())
        return self._language_model.weigh(image, prompt, self._behind_question(labels, prompt))

    def _classify_prompt(
        self, labels: Sequence[str], language: Language, several: bool, regions: Sequence[RegionText]
    ) -> Prompt:
        question = self._prompts.classify_question(labels, language, several)
        return self._prompts.prompt(Task.CLASSIFY, language, _behind(question, regions, language), labels)

    def answer(
        self,
        image: ImageEmbeddings,
        question: str,
        language: Language,
        limit: int,
        on_text: OnText = None,
        regions: Sequence[RegionText] = (),
    ) -> Reply:
        """Answer a free question in words."""
        prompt = self._prompts.prompt(Task.VQA, language, _behind(question, regions, language))
        said = self._language_model.say(image, prompt, Prose(self._language_model.vocabulary), limit, on_text)
        return Reply(said.raw.strip(), warnings=_problems(said, ()), said=[said])

    def report(
        self, image: ImageEmbeddings, language: Language, limit: int, on_text: OnText = None, kind: Modality | None = None
    ) -> Reply:
        """Describe the image, which is of the `kind` given, and say what such a description leaves open."""
        reply = self._describe(image, language, limit, on_text, kind)
        limits = _limits(reply.text, language)
        if on_text:
            on_text(limits)
        reply.text += limits
        return reply

    def _describe(
        self, image: ImageEmbeddings, language: Language, limit: int, on_text: OnText = None, kind: Modality | None = None
    ) -> Reply:
        prompt = self._prompts.prompt(Task.REPORT, language, REPORT_QUESTION[language])
        opening: list[int] = []
        if kind and self._prompts.modalities:  # these weights write the fixed sentences of `reports`
            opening = self._language_model.tokenizer.encode_continuation(
                report_sentences.opening(kind, language), prompt.question
            )
        said = self._language_model.say(image, prompt, Prose(self._language_model.vocabulary, opening), limit, on_text)
        return Reply(said.raw.strip(), warnings=_problems(said, ()), said=[said])

    def grounded_report(self, image: ImageEmbeddings, language: Language, limit: int, kind: Modality | None = None) -> Reply:
        """Describe an image of `kind` with regions: by one prompt where weights have it, else by locating what is named."""
        if Task.GROUNDED_REPORT in self._prompts.templates:
            prompt = self._prompts.prompt(Task.GROUNDED_REPORT, language, REPORT_QUESTION[language])
            told = self._write_freely(image, prompt, limit)
        else:
            told = self._describe(image, language, limit, kind=kind)
            replies = [self._locate(image, label, language, limit) for label in self.terms.find(told.text)[:MOST_FINDINGS]]
            told.regions = [region for reply in replies for region in reply.regions]
            missing = [reply.text for reply in replies if not reply.regions]
            told.warnings += [f"named in the report, not found: {text}" for text in missing]
            told.said += [said for reply in replies for said in reply.said]
        told.text += _limits(told.text, language)
        return told

    def look_first(self, image: ImageEmbeddings, question: str, limit: int, kind: Modality | None = None) -> Reply:
        """The first round of a regional chain of thought: regions that the question names, else those of a report."""
        labels = self.terms.find(question)
        said: list[Generation] = []
        if not labels:
            told = self._describe(image, Language.EN, limit, kind=kind)
            labels, said = self.terms.find(told.text)[:MOST_FINDINGS], told.said
        replies = [self._locate(image, label, Language.EN, limit) for label in labels]
        found = [region for reply in replies for region in reply.regions]
        return Reply("", found, said=said + [one for reply in replies for one in reply.said])

    def modality(self, image: ImageEmbeddings) -> tuple[str, float] | None:
        """Kind of image ("" for no medical one) and how sure; None where the weights were not trained for it."""
        if not self._prompts.modalities:
            return None
        names = list(self._prompts.modalities)
        prompt = self._prompts.prompt(Task.CLASSIFY, Language.EN, MODALITY_QUESTION, names)
        _, chosen, sure = self._choose(image, prompt, names, MAX_TOKENS)
        return self._prompts.modalities[names[chosen[0]]], sure

    def _choose(
        self,
        image: ImageEmbeddings,
        prompt: Prompt,
        candidates: Sequence[str],
        limit: int,
        several: bool = False,
        on_text: OnText = None,
    ) -> tuple[Generation, list[int], float]:
        """Let the model write one of the candidates; which, and the product of its tokens' probabilities."""
        encode = self._language_model.tokenizer.encode_continuation
        first = self._behind_question(candidates, prompt)
        following = [encode(f"{LABEL_SEPARATOR}{candidate}", candidate) for candidate in candidates] if several else ()
        grammar = Choice(first, self._language_model.vocabulary.end, following)
        said = self._language_model.say(image, prompt, grammar, limit, on_text)
        sure = math.prod(step.probability or 1.0 for step in said.steps)
        return said, list(grammar.chosen), sure

    def _behind_question(self, candidates: Sequence[str], prompt: Prompt) -> list[list[int]]:
        return [self._language_model.tokenizer.encode_continuation(candidate, prompt.question) for candidate in candidates]


def _scored(label: str, boxes: list[GridBox], scores: list[float]) -> list[Found]:
    """Boxes with their scores; without any where the counts differ, so that no score slips to another box."""
    fitting = scores if len(scores) == len(boxes) else [None] * len(boxes)
    return [Found(label, box, score) for box, score in zip(boxes, fitting, strict=True)]


def _left_out(parts: Sequence[int]) -> list[str]:
    """What has to be said of parts of a question that name nothing; without their words, which may be a patient's."""
    return [f"part {part} of the question names nothing that these weights were trained to locate" for part in parts]


def _problems(said: Generation, problems: tuple[str, ...]) -> list[str]:
    told = list(problems)
    if said.finish == "length":
        told.append("the answer was cut off at its longest length")
    if not said.raw.strip():
        told.append("the model gave no answer")
    return told


def _limits(text: str, language: Language) -> str:
    """What has to stand behind a report: the sentence about what it cannot know. Behind nothing, nothing."""
    return ("" if language is Language.ZH else " ") + REPORT_LIMITS[language] if text else ""


def _behind(question: str, regions: Sequence[RegionText], language: Language) -> str:
    if not regions:
        return question
    return WITH_REGIONS[language].format(question=question, regions=", ".join(map(format_region, regions)))
