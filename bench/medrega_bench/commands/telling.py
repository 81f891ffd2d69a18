"""What `run` and `compare` say on the terminal: a line for a package, a loss, an answer that flipped."""

from __future__ import annotations

from typing import Any

import typer

from medrega_edge.prompts import Language

Row = dict[str, Any]

FLIPS = 10  # on a terminal; a file has them all


def tell(one: Row) -> None:
    """Say what one package of a run reached, and what it lost."""
    from medrega_bench.document import percent
    from medrega_bench.words import words

    model, whole = one["model"], percent(one["overall"], words(Language.EN))
    text = f"{one['role']} {model['name']} {model['precision']}: {whole} overall"
    for stage in one["speed"]:
        middle = stage["questions_per_second"]["median"]
        text += f", {middle:.1f} questions/s on {stage['device']} with {stage['threads']} threads"
    typer.echo(text)
    for entry in one["loss"]["accuracy"] if one["loss"] else ():
        tell_loss(entry)


def tell_loss(entry: Row) -> None:
    """Say what a whole task lost, with its interval."""
    from medrega_bench.paired import MEANS

    for name in MEANS:
        figure = entry[name]
        if figure is not None and entry["modality"] is None:
            low, high = figure["interval"]
            more = "significant" if figure["significant"] else "not significant"
            typer.echo(
                f"  {entry['task']}, {entry['language']}: {name} {figure['reference']:.3f} -> {figure['package']:.3f}, "
                f"loss {figure['loss']:+.4f} ({low:+.4f} to {high:+.4f}), {more}"
            )


def tell_flips(flips: list[Row]) -> None:
    """Say which answers became wrong or right, the greatest losses first."""
    from medrega_edge.plain import printable

    for flip in flips[:FLIPS]:
        before, after = (flip[key] or "nothing" for key in ("before", "after"))
        line = f"{flip['question']} (truth: {flip['truth'] or 'nothing'}): {before} -> {after}"
        typer.echo("  " + " ".join(printable(line).split()))
    if len(flips) > FLIPS:
        typer.echo(f"  and {len(flips) - FLIPS} more; --out lists them all")
