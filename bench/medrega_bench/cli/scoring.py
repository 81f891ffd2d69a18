"""`questions` and `score`: from data to questions with truth, and from answers of any system to figures."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from medrega_bench.cli.options import LimitOption
from medrega_edge.cli.console import print_result, print_status, user_language
from medrega_edge.errors import UsageError
from medrega_edge.i18n.message import Message
from medrega_edge.io.safe_text import json_text

Layout = Literal["records", "medreginstruct", "slake", "vqa-rad", "coco", "csv"]


def questions(
    data: Annotated[Path, typer.Option(help="Data folder with records.jsonl and images/, or the file of another layout.")],
    out: Annotated[Path, typer.Option(help="JSONL file to write.")],
    layout: Annotated[Layout, typer.Option("--from", help="Layout of the data.")] = "records",
    images: Annotated[
        Path | None, typer.Option(help="Folder that image paths are relative to; default: the layout's usual one.")
    ] = None,
    split: Annotated[
        Literal["train", "val", "test"] | None, typer.Option(help="Split of the data; records have val by default.")
    ] = None,
    setting: Annotated[list[str] | None, typer.Option(help="Take questions of this setting only; may repeat.")] = None,
    limit: LimitOption = None,
) -> None:
    """Write questions with truth from a data set.

    They are for `medrega batch` and `medrega bench score`, for calibration, and for certificates.

    medrega bench questions --from slake --data SLAKE/test.json --out questions.jsonl

    medrega batch questions.jsonl --out answers.jsonl

    medrega bench score answers.jsonl --questions questions.jsonl --setting vqa_en
    """
    from medrega_bench.datasets.loaders import read_source
    from medrega_bench.evaluation.settings import setting_named
    from medrega_edge.evaluation.questions import spread, write_questions
    from medrega_edge.io.atomic import check_output_path

    for name in setting or ():
        setting_named(name)
    check_output_path(out, data)
    made, left_out = read_source(layout, data, images, split)
    chosen = [question for question in made if not setting or question.setting in setting]
    if not chosen:
        raise UsageError("bench.no_question_of_kind", data=data.name)
    chosen = spread(chosen, limit)
    write_questions(chosen, out)
    for name, count in Counter(question.setting for question in chosen).items():
        print_status(Message("bench.setting_count", count=count, setting=name))
    for reason, count in Counter(item.reason for item in left_out).items():
        first = next(item.place for item in left_out if item.reason == reason)
        print_status(Message("bench.left_out", count=count, reason=reason, place=first))


def score(
    answers: Annotated[Path, typer.Argument(help="JSONL of items in MedRegA's layout, or of `medrega batch` answers.")],
    setting: Annotated[str, typer.Option(help="Setting, for example vqa_en or single_object_multi_region.")],
    questions: Annotated[Path | None, typer.Option(help="Questions with truth that `medrega batch` answered.")] = None,
    classes: Annotated[str | None, typer.Option(help="Classes, separated by commas, in the question's order.")] = None,
    bertscore_model: Annotated[
        Path | None, typer.Option(help="Folder of a language model on this disk, for BERTScore of reports.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object and nothing else.")] = False,
) -> None:
    """Score answers of any system.

    The figures are MedRegA's and the standard ones, with intervals.

    medrega bench score answers.jsonl --setting vqa_en --json
    """
    from medrega_bench.evaluation.score import answered_items, read_items, score
    from medrega_bench.evaluation.settings import setting_named
    from medrega_bench.result_files import to_json_values
    from medrega_edge.evaluation.questions import read_questions

    setting_named(setting)
    items = read_items(answers)
    if questions is not None:
        items, others = answered_items(read_questions(questions), items, setting)
        if others:
            print_status(Message("bench.other_settings", count=others))
    names = [name.strip() for name in classes.split(",")] if classes else None
    result = score(setting, items, names, bertscore_model)
    if as_json:
        print_result(json_text(to_json_values(replace(result, warnings=())) | {"warnings": list(map(str, result.warnings))}))
        return
    print_result(Message("bench.scored", setting=setting, items=result.items, images=result.images))
    for values, intervals in ((result.figures, result.intervals), (result.standard, result.standard_intervals)):
        for name, value, interval in _flat(values, intervals):
            print_result(f"{name:<40}{_with_interval(value, interval)}")
    for warning in result.warnings:
        print_status(Message("bench.warning", problem=warning))


def _flat(values: Mapping[str, Any], intervals: Mapping[str, Any]) -> Iterator[tuple[str, Any, Any]]:
    for name, value in values.items():
        if isinstance(value, Mapping):
            yield from _flat(value, intervals[name])
        else:
            yield name, value, intervals[name]


def _with_interval(value: float | None, interval: list[float] | None) -> str:
    from medrega_bench.reports.phrases import words

    say = words(user_language())
    if value is None or interval is None:
        return say["none"]
    return f"{value:.4f} ({interval[0]:.4f} {say['to']} {interval[1]:.4f})"
