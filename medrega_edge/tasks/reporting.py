"""Reporting: describe an image, and with `grounded` locate what the report names.

The weights propose what a report says, in English. It names what is located in the image, and the class that the image has,
so it agrees with every other task and in both languages.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from medrega_edge.domain import Language, Modality, Task
from medrega_edge.i18n.message import Message
from medrega_edge.inference.language_model import Generation
from medrega_edge.prompts.templates import REPORT_DISCLAIMER, REPORT_QUESTION
from medrega_edge.tasks import report_sentences
from medrega_edge.tasks.base import TaskContext, TaskRequest, TaskResult, combine, generation_warnings
from medrega_edge.tasks.classes import CERTAIN_CLASS
from medrega_edge.tasks.detection import locate
from medrega_edge.tasks.findings import Findings, gather
from medrega_edge.tasks.organs import look_for_structures
from medrega_edge.tasks.presence import Presence, look_for
from medrega_edge.tasks.report_sentences import Sentence
from medrega_edge.vocabulary.body_parts import fits_report
from medrega_edge.vocabulary.label_kinds import is_finding
from medrega_edge.vocabulary.label_sets import BODY_PARTS
from medrega_edge.vocabulary.terminology import BilingualName


@dataclass(frozen=True)
class Report(TaskRequest):
    """Describe an image: its modality, the body part, what is seen, what is abnormal; `grounded` adds regions."""

    grounded: bool = False

    @property
    def task(self) -> Task:
        """Kind of task."""
        return Task.GROUNDED_REPORT if self.grounded else Task.REPORT

    def run(self, context: TaskContext) -> TaskResult:
        """Describe it; a disclaimer follows whatever the model writes."""
        if context.terminology.labels and context.prompts.modalities:
            result = _describe_facts(context)
            result = result if self.grounded else replace(result, detections=())
        elif not self.grounded:
            result = _describe(context)
        elif Task.GROUNDED_REPORT in context.prompts.templates:
            prompt = context.prompts.prompt(Task.GROUNDED_REPORT, context.language, REPORT_QUESTION[context.language])
            result = context.generate_regions(prompt)
        else:
            result = _locate_findings(context, _describe(context))
        return replace(result, text=result.text + _disclaimer(result.text, context.language))


def choose_body_part(
    context: TaskContext, modality: Modality, parts: Sequence[str | None] = tuple(BODY_PARTS)
) -> tuple[Generation, str | None, float]:
    """Choose the body part among those that reports name; returns the generation, the English part, its probability."""
    prompt = context.prompts.prompt(Task.REPORT, Language.EN, REPORT_QUESTION[Language.EN])
    sentences = [report_sentences.write(modality, part, (), Language.EN) for part in parts]
    generation, chosen, probability = context.choose(prompt, sentences)
    return generation, parts[chosen[0]], probability


def _describe_facts(context: TaskContext) -> TaskResult:
    """Write a report in fixed sentences of what is located and of the image's class; what is in doubt stands apart."""
    modality = context.image_modality()
    if modality is None:
        return TaskResult(Message("answer.unknown_kind").text(context.language))
    facts = see(context, modality)
    part, findings, column = facts.part, facts.findings, context.language is Language.ZH
    sentences = [
        (Sentence.SEEN, _names(facts.seen)),
        (Sentence.ABNORMAL, [*_names(findings.found), *findings.abnormal_classes]),
        (Sentence.PERHAPS, [*_names(findings.perhaps), *findings.perhaps_classes]),
    ]
    shown = BODY_PARTS[part] if part and column else part
    written = [(topic, [name[column] for name in names]) for topic, names in sentences]
    text = report_sentences.write(modality, shown, written, context.language)
    if not any(names for _, names in sentences):
        nothing = Message("answer.nothing_seen").text(context.language)
        text = text + nothing if column else f"{text} {nothing}"
    warnings = generation_warnings(facts.generations[-1])
    results = [TaskResult("", warnings=warnings, generations=facts.generations)]
    results += [one.located for one in (*facts.seen, *findings.found, *findings.perhaps)]
    return combine(results, text[0].upper() + text[1:])


@dataclass(frozen=True)
class Sight:
    """What an image shows: its body part as reports name it, the structures seen, the findings, and what generated them.

    `part` is None where it is hardly sure.
    """

    part: str | None
    seen: Sequence[Presence]
    findings: Findings
    generations: tuple[Generation, Generation]


def see(context: TaskContext, modality: Modality) -> Sight:
    """Work out what reports and questions whether an image is normal put in words; raises UsageError as `run` does."""
    first, part, probability = choose_body_part(context, modality, (*BODY_PARTS, None))  # some reports name none
    part = None if context.is_unfamiliar() else part
    generation = propose(context, modality, part)
    proposed, known = proposed_names(generation), dict(context.terminology.labels)
    others = [(name, known[name]) for name in proposed if name in known and not is_finding(name)]
    seen = [one for one in look_for_structures(context) if one.is_found]
    seen += [one for one in (look_for(context, each) for each in others) if one.is_found and one.name not in _names(seen)]
    findings = gather(context, modality, part, proposed)
    fitting = _fitting(seen, part, modality)
    if 2 * len(fitting) < len(seen):  # then the body part is the error
        part, fitting = None, seen
    findings = replace(findings, searched=_fitting(findings.searched, part, modality))
    return Sight(part if probability >= CERTAIN_CLASS else None, fitting, findings, (first, generation))


def _fitting(found: Sequence[Presence], part: str | None, modality: Modality) -> list[Presence]:
    return [one for one in found if part is None or fits_report(part, one.name[0], modality)]


def propose(context: TaskContext, modality: Modality, part: str | None) -> Generation:
    """Generate what the weights would report, in English."""
    prompt = context.prompts.prompt(Task.REPORT, Language.EN, REPORT_QUESTION[Language.EN])
    opening = report_sentences.write(modality, part, (), Language.EN).removesuffix(".")  # ". " may be one token
    return replace(context, language=Language.EN, on_text=None).generate_prose(prompt, opening)


def proposed_names(generation: Generation) -> list[str]:
    """Return the names in what the weights would report."""
    return [name for _, names in report_sentences.names_in(generation.raw_text, Language.EN) for name in names]


def _names(found: Sequence[Presence]) -> list[BilingualName]:
    return [one.name for one in found]


def _describe(context: TaskContext) -> TaskResult:
    """Generate a report in any words."""
    prompt = context.prompts.prompt(Task.REPORT, context.language, REPORT_QUESTION[context.language])
    generation = context.generate_prose(prompt)
    return TaskResult(generation.raw_text.strip(), warnings=generation_warnings(generation), generations=(generation,))


def _locate_findings(context: TaskContext, report: TaskResult) -> TaskResult:
    """Add the regions of what a report names."""
    names = context.terminology.find(report.text)
    results = [locate(context, name) for name in names]
    labels = [name[context.language is Language.ZH] for name in names]
    absent = [
        Message("task.finding_not_located", name=label)
        for label, result in zip(labels, results, strict=True)
        if result.text  # which says that it is absent
    ]
    combined = combine([report, *results], report.text)
    return replace(combined, warnings=(*combined.warnings, *absent))


def _disclaimer(text: str, language: Language) -> str:
    """Return what follows a report: the sentence about what it cannot know; nothing after an empty report."""
    return ("" if language is Language.ZH else " ") + REPORT_DISCLAIMER[language] if text else ""
