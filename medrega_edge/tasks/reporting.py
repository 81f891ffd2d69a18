"""Reporting: describe an image, and with `grounded` locate what the report names."""

from __future__ import annotations

from dataclasses import dataclass, replace

from medrega_edge.domain import Language, Task
from medrega_edge.i18n.message import Message
from medrega_edge.prompts.templates import REPORT_DISCLAIMER, REPORT_QUESTION
from medrega_edge.tasks import report_sentences
from medrega_edge.tasks.base import TaskContext, TaskRequest, TaskResult, combine, generation_warnings
from medrega_edge.tasks.detection import locate

MAX_LOCATED_FINDINGS = 8


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
        if not self.grounded:
            result = describe(context)
        elif Task.GROUNDED_REPORT in context.prompts.templates:
            prompt = context.prompts.prompt(Task.GROUNDED_REPORT, context.language, REPORT_QUESTION[context.language])
            result = context.generate_regions(prompt)
        else:
            result = _locate_findings(context, describe(context))
        return replace(result, text=result.text + _disclaimer(result.text, context.language))


def describe(context: TaskContext) -> TaskResult:
    """Generate a report; where the weights write fixed sentences, it opens with the modality of the image."""
    modality = context.image_modality()
    prompt = context.prompts.prompt(Task.REPORT, context.language, REPORT_QUESTION[context.language])
    fixed = modality if context.prompts.modalities else None
    generation = context.generate_prose(prompt, report_sentences.opening(fixed, context.language) if fixed else "")
    warnings = generation_warnings(generation)
    return TaskResult(generation.raw_text.strip(), warnings=warnings, generations=(generation,))


def _locate_findings(context: TaskContext, report: TaskResult) -> TaskResult:
    """Add the regions of what a report names."""
    names = context.terminology.find(report.text)[:MAX_LOCATED_FINDINGS]
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
