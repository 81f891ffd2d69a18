"""What perturbations cost, as tables: by kind of image, by perturbation, and what quantisation adds."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

from medrega_bench.evaluation.robustness_result import ALL, THEMSELVES, Cell, Clean, Cost, RobustResult
from medrega_bench.perturbations.catalogue import PERTURBATIONS, SEVERITIES
from medrega_bench.reports.charts import Chart, Mark
from medrega_bench.reports.model import Drawn, Table
from medrega_bench.reports.percentages import percent, share, signed
from medrega_bench.result_files import Estimate
from medrega_edge.domain import Language, Modality
from medrega_edge.vocabulary.label_sets import modality_name

FEWEST = 5  # images of a kind that has a row or a curve of its own
Say = Mapping[str, str]


def kinds_table(result: RobustResult, say: Say, language: Language) -> Table:
    """Each kind of image: accuracy of the images themselves, and the mean drop at each severity."""
    heads = ("robust_kind", "images", "robust_objects", "robust_clean", "robust_drop_1", "robust_drop_2", "robust_drop_3")
    means = {(mean.kind, mean.severity): mean.drop for mean in result.package.means}
    rows = tuple(
        (
            _kind(clean.kind, say, language),
            str(clean.images),
            str(clean.objects),
            percent(clean.accuracy, say["to"]),
            *(points(means[clean.kind, severity]) for severity in SEVERITIES),
            points(means[clean.kind, 0]),
        )
        for clean in result.package.clean
        if clean.images >= FEWEST
    )
    return Table((*(say[head] for head in heads), say["robust_drop_mean"]), rows)


def perturbations_table(result: RobustResult, say: Say) -> Table:
    """Each perturbation over all kinds of images that have it: drops, and how far confidence and warnings follow."""
    heads = (
        *("robust_perturbation", "robust_objects", "robust_clean", "robust_drop_1", "robust_drop_2", "robust_drop_3"),
        *("robust_iou_drop", "robust_left", "robust_gap", "robust_unfamiliar", "robust_known_kind", "robust_classes"),
    )
    whole = next(clean for clean in result.package.clean if clean.kind == ALL)
    asked = result.data.questions - whole.objects  # the other questions are about classes
    figures = _trust(whole, asked)
    first = (say["robust_themselves"], str(whole.objects), share(whole.accuracy.value), *[""] * 5, *figures)
    known = {whole.images: asked}
    return Table(tuple(say[head] for head in heads), (first, *_perturbation_rows(result.package.cells, known, say)))


def _perturbation_rows(cells: Sequence[Cell], known: Mapping[int, int], say: Say) -> Iterator[tuple[str, ...]]:
    for name in PERTURBATIONS:
        mine = [cell for cell in cells if cell.perturbation == name and cell.kind == ALL]
        if mine:
            worst = mine[-1]
            drops = (*(points(cell.drop) for cell in mine), points(worst.iou_drop))
            asked = (say[f"perturbation_{name}"], str(worst.objects), share(worst.clean_accuracy))
            yield (*asked, *drops, str(worst.left), *_trust(worst, known.get(worst.images)))


def _trust(figures: Cell | Clean, known: int | None) -> tuple[str, ...]:
    """Tell confidence minus accuracy, images called unfamiliar, kinds and classes right; `known` is n of classes."""
    gap = "" if figures.gap is None else f"{100 * figures.gap:+.1f}"
    asked = known if figures.classes_asked is None else figures.classes_asked
    classes = share(figures.classes) + (f" (n = {asked})" if asked and figures.classes is not None else "")
    return gap, share(figures.unfamiliar), share(figures.known_kind), classes


def costs_table(costs: Sequence[Cost], say: Say) -> Table:
    """What the package loses to full precision, and how much more it drops, at each severity and at the third."""
    heads = (
        "robust_perturbation",
        "robust_loss_1",
        "robust_loss_2",
        "robust_loss_3",
        "robust_more_drop",
        "robust_more_iou_drop",
    )
    names = {THEMSELVES: say["robust_themselves"], ALL: say["robust_all"]}
    rows = []
    for name in (THEMSELVES, ALL, *PERTURBATIONS):
        mine = [cost for cost in costs if cost.perturbation == name and (cost.severity or name == THEMSELVES)]
        if mine:
            losses = [points(cost.loss) for cost in mine] + [""] * (len(SEVERITIES) - len(mine))
            more = ("", "") if name == THEMSELVES else (points(mine[-1].drop), points(mine[-1].iou_drop))
            rows.append((names.get(name) or say[f"perturbation_{name}"], *losses, *more))
    return Table(tuple(say[head] for head in heads), tuple(rows))


def curves(result: RobustResult, say: Say, language: Language) -> Drawn:
    """Draw the accuracy of each kind of image against severity, which is 0 for the images themselves."""
    marks = []
    for clean in result.package.clean:
        if clean.images < FEWEST:
            continue
        drops = {mean.severity: mean.drop for mean in result.package.means if mean.kind == clean.kind and mean.severity}
        name = _kind(clean.kind, say, language)
        for severity, drop in {0: Estimate(0, 0.0, (0.0, 0.0)), **drops}.items():
            low, high = (100 * end for end in drop.interval)
            text = f"{name}, {severity}: {100 * drop.value:.1f} ({low:.1f} {say['to']} {high:.1f})"
            mark = Mark(severity, 100 * drop.value, (severity, severity), (low, high), text, is_reference=not clean.kind)
            marks.append(replace(mark, series=name))
    return Drawn(Chart("curves", tuple(marks)), say["robust_severity"], say["robust_drop"])


def points(figure: Estimate) -> str:
    """A drop in points of per cent with its interval."""
    return signed(figure.value, figure.interval)


def _kind(kind: str, say: Say, language: Language) -> str:
    return modality_name(Modality(kind), language) if kind else say["robust_all_kinds"]
