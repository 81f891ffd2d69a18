"""`foretell`: what `model info --speed` says of a model's speed and memory, beside what comes."""

from __future__ import annotations

from datetime import date
from pathlib import Path
from typing import Annotated

import typer

from medrega_bench.cli.console import show_quietness
from medrega_bench.cli.options import WAIT_MINUTES, ResultOption, ShapeName, ThreadsOption, WaitOption
from medrega_edge.cli.console import print_result, print_status
from medrega_edge.i18n.message import Message


def foretell(
    out: ResultOption,
    shape: Annotated[list[ShapeName] | None, typer.Option(help="Shape; may repeat; default: 0.5b and 1b.")] = None,
    packages: Annotated[
        Path | None, typer.Option(help="Folder that keeps the packages, one a shape; default: deleted after the run.")
    ] = None,
    threads: ThreadsOption = None,
    wait: WaitOption = WAIT_MINUTES,
) -> None:
    """Hold foretold speed and memory against measured.

    The packages have random weights; each is written, foretold from this machine's speed, and measured. Needs the extra
    [export].

    medrega bench foretell --shape 0.5b --shape 3b --out foretell.json
    """
    from contextlib import nullcontext
    from tempfile import TemporaryDirectory

    from medrega_bench import result_files
    from medrega_bench.extras import require_export
    from medrega_bench.performance import foretold, random_packages
    from medrega_bench.performance.environment import command, environment
    from medrega_bench.performance.quietness import Watch
    from medrega_bench.performance.results import ForetellResult
    from medrega_edge.inference.devices import available_threads
    from medrega_edge.io.atomic import check_output_path, unwritable
    from medrega_edge.package.package import Package

    check_output_path(out)
    require_export("write_decoder")
    count = threads or available_threads()
    names = list(map(str, shape or (ShapeName.HALF_BILLION, ShapeName.BILLION)))
    measured = []
    try:
        if packages is not None:
            packages.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise unwritable(error) from None
    watch = Watch(60 * wait, print_status, count)
    for name in names:
        with TemporaryDirectory() if packages is None else nullcontext(str(packages)) as folder:
            place = Path(folder) / name
            if not place.is_dir():
                print_status(Message("bench.writing_weights", shape=name))
                random_packages.write_package(random_packages.named(name), place, f"random-{name}")
            print_status(Message("bench.measuring_shape", shape=name))
            with watch.stretch():
                measured.append(foretold.measure(name, Package.open(place), count))
        result = ForetellResult(
            date=date.today().isoformat(),
            command=command(),
            environment=environment(),
            threads=count,
            foretold=tuple(measured),
            quietness=watch.quietness(),
        )
        result_files.write(out, result)  # after each shape: a large one may be more than the machine has time for
    for one in result.foretold:
        print_result(
            Message(
                "bench.foretold",
                shape=one.shape,
                memory=one.off("peak_bytes"),
                tokens=one.off("tokens_per_second"),
                first=one.off("first_answer_seconds"),
            )
        )
    show_quietness(result.quietness)
