"""`label-priors`: measures how likely a package finds each label of its own accord, and writes it into prompts.json."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from medrega_bench.cli.options import DataOption, ModelOption, SplitOption
from medrega_edge.cli.console import print_result
from medrega_edge.errors import UsageError
from medrega_edge.i18n.message import Message


def label_priors(
    data: DataOption,
    prompts: Annotated[Path, typer.Option(help="prompts.json of the checkpoint that the package was made from.")],
    split: SplitOption = "val",
    model: ModelOption = None,
) -> None:
    """Fit the label priors of classification.

    A prior is how likely the package finds a label whatever the image shows; classification corrects for it. The priors are
    written into prompts.json if they raise macro F1 on the split. Export the checkpoint again afterwards.

    medrega bench label-priors --data DATA --model fp32 --prompts train/checkpoints/nano/prompts.json
    """
    from dataclasses import replace

    from medrega_bench.evaluation.label_priors import as_prompts, fit, macro_f1, score_candidates
    from medrega_edge.engine import load
    from medrega_edge.evaluation.records import read_records
    from medrega_edge.io.atomic import write_text
    from medrega_edge.prompts.templates import PromptBook

    if not prompts.is_file():
        raise UsageError("bench.no_prompts", file=prompts.name)
    book = PromptBook.from_json(prompts.read_text(encoding="utf-8"))
    scores = list(score_candidates(load(model), list(read_records(data, split))))
    if len(scores) < 2:
        raise UsageError("bench.no_classification", split=split)
    before, after = macro_f1(scores)
    print_result(Message("bench.macro_f1", before=100 * before, after=100 * after, count=len(scores)))
    if after <= before:
        print_result(Message("bench.priors_useless"))
        return
    corrected = replace(book, label_priors=as_prompts(fit(scores)))
    PromptBook.from_json(corrected.to_json())  # raises instead of writing what cannot be read again
    write_text(prompts, corrected.to_json())
    count = sum(map(len, corrected.label_priors.values()))
    print_result(Message("bench.priors_written", count=count, file=prompts.name))
