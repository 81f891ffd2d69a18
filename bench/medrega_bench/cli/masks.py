"""`masks`: Dice of masks from a name alone and from the true box."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from medrega_bench.cli.options import DataOption, ModelOption, ResultOption, SplitOption, ThreadsOption
from medrega_edge.cli.console import print_result
from medrega_edge.i18n.message import Message


def masks(
    data: DataOption,
    masks: Annotated[Path, typer.Option(help="Folder with masks.jsonl and its PNGs.")],
    out: ResultOption,
    split: SplitOption = "test",
    per_set: Annotated[int | None, typer.Option(min=1, help="Use at most this many images of each data set.")] = None,
    model: ModelOption = None,
    threads: ThreadsOption = None,
) -> None:
    """Measure masks against true ones: Dice from the name alone, and given the true box.

    It also fits the numbers that make the promised IoU of a mask an expected one; take those of val.

    medrega bench masks --data DATA --masks MASKS --split val --out masks-val.json
    """
    from medrega_bench import result_files
    from medrega_bench.evaluation.masks import MaskResult, Measurement, figures, fit_scores, score_error
    from medrega_bench.performance.environment import command, environment
    from medrega_bench.performance.spread import Spread
    from medrega_edge.engine import load
    from medrega_edge.errors import UsageError
    from medrega_edge.evaluation.records import read_records
    from medrega_edge.evaluation.true_masks import read_mask_lines, spread_over_sets
    from medrega_edge.io.atomic import check_output_path

    check_output_path(out)
    lines = read_mask_lines(masks)
    records = spread_over_sets([record for record in read_records(data, split) if record.id in lines], per_set)
    engine = load(model, threads=threads)
    measurement = Measurement(engine, masks)
    rows = [row for record in records for row in measurement.rows(record, lines[record.id])]
    if not rows:
        raise UsageError("bench.no_masks_in_split", split=split)
    spec = engine.package.manifest.masks
    result = MaskResult(
        command=command(),
        split=split,
        environment=environment(),
        package=engine.package.sha256,
        images=measurement.images,
        figures=tuple(figures(rows)),
        calibration=fit_scores(rows),
        score_error=score_error(rows, spec.calibration if spec else ()),
        mask_ms=Spread.of(measurement.mask_ms),
    )
    result_files.write(out, result)
    for one in result.figures:
        name = " ".join(part for part in (one.dataset, one.label) if part) or "-"
        by_name = "-" if one.by_name is None else f"{one.by_name.value:.3f}"
        count = one.by_box.n
        print_result(Message("bench.masks", name=name, n=count, named=by_name, boxed=one.by_box.value, leaves=one.leaves))
        if one.box_iou and one.mended_iou:
            iou, mended = one.box_iou.value, one.mended_iou.value
            print_result(Message("bench.mask_boxes", name=name, n=one.box_iou.n, iou=iou, mended=mended))
    slope, offset = result.calibration
    print_result(Message("bench.mask_scores", slope=slope, offset=offset, error=result.score_error))
