"""COCO's average precision by pycocotools, with intervals over images.

COCO wants absolute areas for its size classes alone, so the 0..999 grid serves: all boxes count as one size.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import redirect_stdout
from dataclasses import dataclass
from io import StringIO
from typing import Any

import numpy as np
import numpy.typing as npt

from medrega_bench.evaluation.figures import Pair
from medrega_bench.metrics.regions import confident_boxes
from medrega_edge.evaluation.bootstrap import FloatArray, Interval, groups_of, multiplicities, percentiles
from medrega_edge.evaluation.grading import Labelled, labelled_boxes


class AveragePrecision:
    """COCO's average precision by pycocotools: AP over IoU 0.5 to 0.95, AP50 and AP75, means over labels.

    Each item is an image of its own, sizes of objects are not told apart, at most 100 boxes an item. Every pair needs
    `confidences`.
    """

    def __init__(self, pairs: Sequence[Pair]) -> None:
        """Match boxes; raises UsageError when confidences and boxes do not go together."""
        from pycocotools.coco import COCO
        from pycocotools.cocoeval import COCOeval

        true = [[(box, None) for box in labelled_boxes(pair.truth)] for pair in pairs]
        given = [confident_boxes(pair.answer, pair.confidences or (), pair.place) for pair in pairs]
        labels = {label: index for index, label in enumerate(sorted({x.label for boxes in true for x, _ in boxes}), 1)}

        def coco(items: Sequence[Sequence[tuple[Labelled, float | None]]]) -> Any:
            made = COCO()
            known = [(image, x, sure) for image, boxes in enumerate(items) for x, sure in boxes if x.label in labels]
            made.dataset = {
                "images": [{"id": image} for image in range(len(items))],
                "categories": [{"id": index, "name": label} for label, index in labels.items()],
                "annotations": [
                    _annotation(number, image, labels[x.label], x, sure) for number, (image, x, sure) in enumerate(known, 1)
                ],
            }
            made.createIndex()
            return made

        with redirect_stdout(StringIO()):  # pycocotools talks
            evaluation = COCOeval(coco(true), coco(given), "bbox")
            evaluation.params.areaRng, evaluation.params.areaRngLbl = [[0, 1e10]], ["all"]
            evaluation.params.maxDets = [100]
            evaluation.evaluate()
            evaluation.accumulate()
        self._precision = evaluation.eval["precision"]  # [IoU thresholds, recalls, labels, 1, 1], -1 where there is no truth
        found = evaluation.evalImgs
        self._ranked = [_Ranked.of(found[i : i + len(pairs)]) for i in range(0, len(found), len(pairs))]

    def values(self) -> dict[str, float | None]:
        """Return AP, AP50 and AP75."""
        return {
            name: float(part[part > -1].mean()) if (part > -1).any() else None
            for name, part in _thresholds(self._precision).items()
        }

    def intervals(self, images: Sequence[str]) -> dict[str, Interval | None]:
        """Return the 95 % interval of each; `images` names the image of each item."""
        if not self._ranked:  # no truth that can be read
            return dict.fromkeys(self.values())
        groups = groups_of(images)
        place = np.empty(len(images), int)
        for number, group in enumerate(groups):
            place[group] = number
        weights = multiplicities(len(groups))[:, place]
        by_label = np.stack([ranked.average_precision(weights) for ranked in self._ranked], axis=1)
        means = {name: np.nanmean(part, axis=(0, 1)) for name, part in _thresholds(by_label).items()}
        return {name: percentiles(list(values[np.isfinite(values)])) for name, values in means.items()}


def _thresholds(by_threshold: FloatArray) -> dict[str, FloatArray]:
    """Split by IoU threshold, which is the first axis: 0.5, 0.55, ... 0.95."""
    return {"AP": by_threshold, "AP50": by_threshold[:1], "AP75": by_threshold[5:6]}


@dataclass(frozen=True)
class _Ranked:
    """The boxes of one label by falling confidence, and how many true boxes each item has."""

    items: npt.NDArray[np.int64]  # [boxes]
    right: FloatArray  # [thresholds, boxes], 1 where the box is right at the IoU threshold
    true: FloatArray  # [items]

    @classmethod
    def of(cls, evaluated: Sequence[dict[str, Any] | None]) -> _Ranked:
        """Gather what pycocotools matched, item by item; None is an item without this label."""
        known = [(item, one) for item, one in enumerate(evaluated) if one]
        items = np.repeat([item for item, _ in known], [len(one["dtScores"]) for _, one in known]).astype(int)
        scores = np.concatenate([one["dtScores"] for _, one in known])
        right = np.concatenate([one["dtMatches"] > 0 for _, one in known], axis=1)
        true = np.zeros(len(evaluated))
        true[[item for item, _ in known]] = [len(one["gtIds"]) for _, one in known]
        order = np.argsort(-scores, kind="stable")
        return cls(items[order], right[:, order].astype(float), true)

    def average_precision(self, weights: FloatArray) -> FloatArray:
        """Return AP at each IoU threshold [thresholds, resamples], items counted as often as `weights` says.

        As COCO defines it: the mean, over 101 recalls, of the best precision from there on; nan without a true box.
        """
        counted = weights[:, self.items]  # [resamples, boxes]
        given, true = np.cumsum(counted, axis=1), (weights @ self.true)[:, None]
        made = np.full((len(self.right), len(weights)), np.nan)
        some = true[:, 0] > 0
        for row, right in zip(made, self.right, strict=True):
            found = np.cumsum(counted * right, axis=1)
            precision = np.divide(found, given, out=np.zeros_like(found), where=given > 0)
            best = np.maximum.accumulate(precision[:, ::-1], axis=1)[some, ::-1]
            reached = np.floor(100 * found[some] / true[some] + 1e-9)  # of the recalls 0.01, 0.02, ... 1.00
            row[some] = (best[:, :1].sum(axis=1) + (best * np.diff(reached, axis=1, prepend=0)).sum(axis=1)) / 101
        return made


def _annotation(number: int, image: int, label: int, x: Labelled, confidence: float | None) -> dict[str, Any]:
    width, height = x.box.x2 - x.box.x1, x.box.y2 - x.box.y1
    return {
        "id": number,
        "image_id": image,
        "category_id": label,
        "bbox": [x.box.x1, x.box.y1, width, height],
        "area": width * height,
        "iscrowd": 0,
        "score": confidence,
    }
