"""`familiarity`: add to a package what tells images and questions like those of its training from others."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from medrega_bench.cli.options import DataOption, ModelOption
from medrega_edge.cli.console import print_result
from medrega_edge.errors import UsageError
from medrega_edge.i18n.message import Message

if TYPE_CHECKING:
    from collections.abc import Sequence

    from medrega_bench.evaluation.familiarity import Embedded
    from medrega_edge.engine import Engine
    from medrega_edge.evaluation.records import Record

SeenOption = Annotated[str, typer.Option(help="Split that the weights were trained on.")]
HeldOutOption = Annotated[str, typer.Option(help="Split that sets the limits.")]


def familiarity(
    data: DataOption, seen: SeenOption = "train", held_out: HeldOutOption = "val", model: ModelOption = None
) -> None:
    """Add to a package what tells images and questions like those of its training from others.

    Of an image unlike all that the weights were trained on, every box is a best guess, and so is the box of a name that no
    training image like it had. A question hardly like any of theirs is answered "Not sure."; `--guess` shows the guess.
    The limits let 98 % of the held-out images of each kind pass, and 99.5 % of their names.

    medrega bench familiarity --data DATA --model PACKAGE
    """
    from medrega_bench.evaluation.familiarity import add_to, count_questions, fit
    from medrega_edge.engine import load
    from medrega_edge.evaluation.records import read_records
    from medrega_edge.package.registry import find_package

    trained = [record for record in read_records(data, seen) if not record.dup_of_eval]
    others = list(read_records(data, held_out))
    engine = load(find_package(model).folder)
    fitted = fit(_embedded(engine, trained), _embedded(engine, others))
    if not fitted.kinds:
        raise UsageError("bench.few_familiar", split=held_out)
    questions = count_questions(trained)
    add_to(engine.package, fitted, questions)
    print_result(
        Message(
            "bench.familiarity",
            images=len(trained),
            kinds=list(fitted.kinds),
            questions=len(questions),
            model=engine.package.folder,
        )
    )


def _embedded(engine: Engine, records: Sequence[Record]) -> list[Embedded]:
    from medrega_bench.cli.console import with_progress
    from medrega_bench.evaluation.familiarity import embedded

    return [embedded(engine, record) for record in with_progress(iter(records), len(records))]
