"""What the image is worth: each figure beside the same without its image, and the paired gain.

A gain is what the answers about the image are better by than those to the same questions about a blank image, another
patient's, or none at all; the same images are drawn for both.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from medrega_bench.evaluation.figures import changes
from medrega_bench.evaluation.results import VERSIONS, AnswerRow, Reliance, VersionFigure
from medrega_bench.evaluation.tables import grouped, measure_rows

FIGURES = {
    "vqa_en": ("closedQuestionsAccuracy", "openQuestionsRecall"),
    "vqa_zh": ("openQuestionsAccuracy", "openQuestionsRecall"),
    "classification_single": ("F1-macro",),
    "classification_multi": ("F1-macro",),
}


def reliance(rows: Sequence[AnswerRow]) -> tuple[Reliance, ...]:
    """One entry for each setting, language and figure; free questions by data set, classes over all of them."""
    return tuple(entry for setting in FIGURES for entry in _of_setting(setting, [r for r in rows if r.setting == setting]))


def _of_setting(setting: str, rows: Sequence[AnswerRow]) -> Iterator[Reliance]:
    for language, spoken in grouped(rows, "language"):
        parts = grouped(spoken, "dataset") if setting.startswith("vqa") else iter([("", spoken)])
        for dataset, mine in parts:
            images = [row.image for row in mine]
            whole = measure_rows(setting, mine)
            values, intervals = whole.values(), whole.intervals(images)
            answered = {version: [row.with_answer_of(version) for row in mine] for version in VERSIONS}
            others = {
                version: measure_rows(setting, [row for row in versions if row is not None])
                for version, versions in answered.items()
                if None not in versions
            }
            gains = {version: changes((other, images), (whole, images)) for version, other in others.items()}
            for name in FIGURES[setting]:
                yield Reliance(
                    setting=setting,
                    language=language,
                    dataset=dataset,
                    figure=name,
                    n=len(mine),
                    images=len(set(images)),
                    value=values[name],
                    interval=intervals[name],
                    versions={
                        version: VersionFigure(other.values()[name], gains[version][name])
                        for version, other in others.items()
                    },
                )
