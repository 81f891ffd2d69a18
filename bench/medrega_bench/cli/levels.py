"""`levels`: how much weights like each label, written into the prompts of their checkpoint."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from medrega_bench.cli.console import show
from medrega_bench.cli.options import DataOption, ModelOption, SplitOption


def levels(
    data: DataOption,
    prompts: Annotated[Path, typer.Option(help="prompts.json of the checkpoint that the package was made from.")],
    split: SplitOption = "val",
    model: ModelOption = None,
) -> None:
    """Measure how much a package likes each label whatever the image shows, and write it down where that helps.

    Export the checkpoint again afterwards. Nothing is written where macro F1 on the split does not rise.

    medrega bench levels --data DATA --model fp32 --prompts train/checkpoints/nano/prompts.json
    """
    from dataclasses import replace

    from medrega_bench.evaluation.label_priors import as_prompts, fit, macro_f1, weigh
    from medrega_edge.engine import load
    from medrega_edge.errors import UsageError
    from medrega_edge.evaluation.records import read_records
    from medrega_edge.io.atomic import write_text
    from medrega_edge.prompts.templates import PromptBook

    if not prompts.is_file():
        raise UsageError(f"There is no file '{prompts.name}'; name the prompts.json of a checkpoint.")
    book = PromptBook.from_json(prompts.read_text(encoding="utf-8"))
    weighed = list(weigh(load(model), list(read_records(data, split))))
    if len(weighed) < 2:
        raise UsageError(f"The split '{split}' has no question about one class; choose train, val or test.")
    before, after = macro_f1(weighed)
    show(f"macro F1 {100 * before:.1f}, freed of levels {100 * after:.1f}, {len(weighed)} questions")
    if after <= before:
        show("nothing was written: it does not help")
        return
    made = replace(book, label_priors=as_prompts(fit(weighed)))
    PromptBook.from_json(made.to_json())  # what cannot be read again is not written
    write_text(prompts, made.to_json())
    show(f"levels of {sum(map(len, made.label_priors.values()))} label sets written to {prompts.name}; export it again")
