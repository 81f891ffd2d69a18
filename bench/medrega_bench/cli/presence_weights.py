"""`presence-weights`: fits how much words and box count in the answer to "is it there?", and writes it into prompts.json."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from medrega_bench.cli.options import DataOption, ModelOption, SplitOption
from medrega_edge.cli.console import print_result
from medrega_edge.errors import UsageError
from medrega_edge.i18n.message import Message


def presence_weights(
    data: DataOption,
    prompts: Annotated[Path, typer.Option(help="prompts.json of the checkpoint that the package was made from.")],
    split: SplitOption = "val",
    model: ModelOption = None,
) -> None:
    """Fit how questions for the presence of a structure are answered.

    The words of the language model and the certainty of the structure's box decide together. The weights of both are
    written into prompts.json if they give more right answers on the split than the words alone. Export the checkpoint again
    afterwards.

    medrega bench presence-weights --data DATA --model trial --prompts train/checkpoints/lite/prompts.json
    """
    from dataclasses import replace

    from medrega_bench.evaluation.presence_weights import accuracy, fit, gather_cases
    from medrega_edge.engine import load
    from medrega_edge.evaluation.records import read_records
    from medrega_edge.io.atomic import write_text
    from medrega_edge.prompts.templates import PromptBook

    if not prompts.is_file():
        raise UsageError("bench.no_prompts", file=prompts.name)
    book = PromptBook.from_json(prompts.read_text(encoding="utf-8"))
    cases = list(gather_cases(load(model), list(read_records(data, split))))
    if len({case.image for case in cases}) < 2:
        raise UsageError("bench.no_presence", split=split)
    before, after = accuracy(cases)
    print_result(Message("bench.presence_right", before=100 * before, after=100 * after, count=len(cases)))
    if after <= before:
        print_result(Message("bench.presence_useless"))
        return
    write_text(prompts, replace(book, presence=fit(cases)).to_json())
    print_result(Message("bench.presence_written", file=prompts.name))
