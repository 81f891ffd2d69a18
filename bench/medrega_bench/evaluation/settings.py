"""The settings by which answers are scored: the keys of an item in upstream's layout, and MedRegA's metric."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from medrega_bench.evaluation.figures import Measured, Pair
from medrega_bench.metrics import labels as metrics_labels
from medrega_bench.metrics import regions as metrics_regions
from medrega_bench.metrics import text as metrics_text
from medrega_edge.domain import Language
from medrega_edge.errors import UsageError


@dataclass(frozen=True)
class Setting:
    """The keys of answer and truth in an item, MedRegA's metric, and whether the item lists its candidates."""

    answer: str
    truth: str
    measure: Callable[[Sequence[Pair]], Measured]
    has_classes: bool = False

    @property
    def has_regions(self) -> bool:
        """Whether regions are asked for."""
        return self.truth == "gt"


def _of_regions(measure: Callable[[Sequence[Pair]], Measured]) -> Setting:
    return Setting("answer", "gt", measure)


def _of_text(measure: Callable[[Sequence[Pair]], Measured], has_classes: bool = False) -> Setting:
    return Setting("pred_answer", "gt_answer", measure, has_classes)


SETTINGS = {
    "single_object_single_region": _of_regions(metrics_regions.single_object_single_region),
    "single_object_multi_region": _of_regions(metrics_regions.single_object_multi_region),
    "multi_object_single_region": _of_regions(metrics_regions.multi_object_single_region),
    "multi_object_multi_region": _of_regions(metrics_regions.multi_object_multi_region),
    "vqa_en": _of_text(metrics_text.vqa_en),
    "vqa_zh": _of_text(metrics_text.vqa_zh),
    "region_to_text": _of_text(metrics_text.region_to_text),
    "classification_single": _of_text(metrics_labels.classification_single, has_classes=True),
    "classification_multi": _of_text(metrics_labels.classification_multi, has_classes=True),
    "report_en": _of_text(lambda pairs: metrics_text.report(pairs, Language.EN)),
    "report_zh": _of_text(lambda pairs: metrics_text.report(pairs, Language.ZH)),
}


def setting_named(name: str) -> Setting:
    """Find a setting; raises UsageError naming those that there are."""
    if name not in SETTINGS:
        raise UsageError("bench.no_setting", setting=name, settings=list(SETTINGS))
    return SETTINGS[name]
