"""`questions` and `score`: from data to questions with truth, from answers of any system to figures."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

import typer

from medrega_bench.cli.console import language, show
from medrega_bench.cli.options import LimitOption
from medrega_bench.reports.phrases import words
from medrega_edge.cli.console import echo, tell
from medrega_edge.errors import UsageError
from medrega_edge.evaluation.questions import spread, write_questions
from medrega_edge.io.safe_text import json_text


def questions(
    data: Annotated[Path, typer.Option(help="Data folder with records.jsonl and images/, or the file of another layout.")],
    out: Annotated[Path, typer.Option(help="JSONL to write.")],
    layout: Annotated[str, typer.Option("--from", help="records, medreginstruct, slake, vqa-rad, coco or csv.")] = "records",
    images: Annotated[Path | None, typer.Option(help="Folder that image paths are relative to; default: the usual.")] = None,
    split: Annotated[str | None, typer.Option(help="Of records: train, val (default) or test.")] = None,
    setting: Annotated[list[str] | None, typer.Option(help="Take the questions of this setting only; may repeat.")] = None,
    limit: LimitOption = None,
) -> None:
    """Write questions with truth: to answer with `medrega batch` and score, for calibration, for a certificate.

    medrega bench questions --from slake --data SLAKE/test.json --out questions.jsonl

    medrega batch questions.jsonl --out answers.jsonl

    medrega bench score answers.jsonl --questions questions.jsonl --setting vqa_en
    """
    from medrega_bench.datasets.loaders import read_source
    from medrega_bench.evaluation.score import setting_named
    from medrega_edge.io.atomic import check_output_path

    for name in setting or ():
        setting_named(name)
    check_output_path(out, data)
    made, left_out = read_source(layout, data, images, split)
    chosen = [question for question in made if not setting or question.setting in setting]
    if not chosen:
        raise UsageError(
            f"'{data.name}' gives no question of the kind that was asked for; choose another --setting or --split."
        )
    chosen = spread(chosen, limit)
    write_questions(chosen, out)
    for name, count in Counter(question.setting for question in chosen).items():
        echo(f"{count:>8}  {name}", err=True)
    for reason, count in Counter(one.reason for one in left_out).items():
        first = next(one.place for one in left_out if one.reason == reason)
        tell(f"{count:>8}  left out: {reason} (first: {first})")


def score(
    answers: Annotated[Path, typer.Argument(help="JSONL of items in MedRegA's layout, or of `medrega batch` answers.")],
    setting: Annotated[str, typer.Option(help="Setting, for example vqa_en or single_object_multi_region.")],
    questions: Annotated[Path | None, typer.Option(help="Questions with truth that `medrega batch` answered.")] = None,
    classes: Annotated[str | None, typer.Option(help="Classes, parted by commas, in the question's order.")] = None,
    bertscore_model: Annotated[
        Path | None, typer.Option(help="Folder of a language model on this disk, for BERTScore of reports.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object and nothing else.")] = False,
) -> None:
    """Score answers made by any system: MedRegA's figures, and the standard ones beside them, with intervals.

    medrega bench score answers.jsonl --setting vqa_en --json
    """
    from medrega_bench.evaluation.score import answered_items, read_items, score, setting_named

    setting_named(setting)
    items = read_items(answers)
    if questions is not None:
        items, others = answered_items(read_items(questions), items, setting)
        if others:
            tell(f"{others} questions belong to other settings and are not scored here")
    named = [name.strip() for name in classes.split(",")] if classes else None
    result = score(setting, items, named, bertscore_model)
    if as_json:
        echo(json_text(result))
        return
    show(f"{setting}: {result['items']} items of {result['images']} images")
    for kind in ("figures", "standard"):
        for name, value, interval in _flat(result[kind], result["intervals" if kind == "figures" else "standard_intervals"]):
            echo(f"{name:<40}{_written(value, interval)}")
    for warning in result["warnings"]:
        tell(f"warning: {warning}")


def _flat(values: dict[str, Any], intervals: dict[str, Any]) -> Iterator[tuple[str, Any, Any]]:
    for name, value in values.items():
        if isinstance(value, dict):
            yield from _flat(value, intervals[name])
        else:
            yield name, value, intervals[name]


def _written(value: float | None, interval: list[float] | None) -> str:
    say = words(language())
    if value is None or interval is None:
        return say["none"]
    return f"{value:.4f} ({interval[0]:.4f} {say['to']} {interval[1]:.4f})"
