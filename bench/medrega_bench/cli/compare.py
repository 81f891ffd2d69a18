"""`compare` and `gate`: two results beside each other, and whether a result passes."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from medrega_bench.cli.console import show_flips, show_losses, with_progress
from medrega_bench.cli.machines import is_of_machines, show_machines
from medrega_bench.cli.options import AnyDataOption, LangOption, LimitOption, SplitOption
from medrega_edge.cli.console import print_result, print_status, user_language
from medrega_edge.domain import NOTICE, Language
from medrega_edge.errors import GateError, UsageError
from medrega_edge.i18n.message import Message

if TYPE_CHECKING:
    from medrega_bench.evaluation.results import PackageResult, RowComparison


def compare(
    results: Annotated[
        list[str], typer.Argument(help="Results of `medrega bench run` or `submit`; or two packages, which are measured.")
    ],
    machines: Annotated[
        bool, typer.Option("--machines", help="Put machines beside each other, as for more than two results.")
    ] = False,
    data: AnyDataOption = None,
    split: SplitOption = "test",
    limit: LimitOption = None,
    out: Annotated[Path | None, typer.Option(help="File to write: .json, .md or .html.")] = None,
    lang: LangOption = None,
) -> None:
    """Compare two results, two packages, or many machines.

    Of two, it shows what each task lost, whether that is significant, and which answers flipped. Of more, or of files of
    `submit`, it shows the speed, energy and accuracy of each machine; --out as .json merges them into one file.

    medrega bench compare old/result.json new/result.json

    medrega bench compare laptop.json desktop.json server.json --out machines.html

    medrega bench compare package-a package-b --out difference.html
    """
    from tempfile import TemporaryDirectory

    from medrega_bench.datasets.dataset_selection import choose
    from medrega_bench.evaluation import measure, paired
    from medrega_edge.io.atomic import check_output_path, write_text
    from medrega_edge.package.registry import find_package

    if out is not None:
        check_output_path(out)
        if out.suffix not in (".json", ".md", ".html"):
            raise UsageError("bench.difference_format")
    if machines or len(results) > 2 or any(is_of_machines(Path(each)) for each in results):
        show_machines(results, out, lang)
        return
    if len(results) < 2:
        raise UsageError("bench.one_result")
    packages: list[PackageResult] = []
    with TemporaryDirectory() as drawn:
        plan: measure.Plan | None = None
        for given in results:
            path = Path(given)
            if path.suffix == ".json" or (path.is_dir() and not (path / "manifest.json").exists()):
                package = measure.read_result(path).packages[0]
            else:
                plan = plan or measure.Plan(
                    *choose(data, split, limit, Path(drawn)), with_speed=False, bare_ids=data is None, plain=True
                )
                package = measure.measure(find_package(given), "package", plan, with_progress)
            packages.append(package)
    old, new = packages
    compared = paired.compared(old.rows, new.rows)
    print_result(Message("bench.compared", before=old.title, after=new.title, count=compared.n, flips=len(compared.flips)))
    show_losses(compared)
    show_flips(compared.flips)
    if compared.only_before:
        print_status(Message("bench.only_in_first", count=compared.only_before))
    if compared.only_after:
        print_status(Message("bench.only_in_second", count=compared.only_after))
    if out is not None:
        write_text(out, _difference(compared, out.suffix, lang or user_language(), (old.title, new.title)))


def _difference(compared: RowComparison, suffix: str, language: Language, names: tuple[str, str]) -> str:
    from medrega_bench.reports import render
    from medrega_bench.reports.document import comparison
    from medrega_bench.result_files import to_json_values
    from medrega_edge.io.safe_text import json_text

    if suffix == ".json":
        return json_text({"schema_version": 1, "notice": NOTICE} | to_json_values(compared), indent=1) + "\n"
    document = comparison(compared, language, names)
    return render.markdown(document) if suffix == ".md" else render.html(document)


def gate(
    result: Annotated[Path, typer.Argument(help="Result of `medrega bench run`.")],
    gates: Annotated[
        str | None,
        typer.Option("--gate", help="Conditions, such as iou_drop<=0.01,flips<=0.03; default: no significant loss."),
    ] = None,
    baseline: Annotated[
        Path | None, typer.Option(help="Older result, or a folder of them; default: the reference in the result.")
    ] = None,
) -> None:
    """Exit with code 5 if accuracy or speed fell too far.

    Without --gate, at most 5 % of the answers may flip if name and version equal the baseline's. Ratios of speeds that are
    steady may fall by 15 % on the same processor.

    medrega bench gate report/result.json --baseline bench/results

    medrega bench gate report/result.json --gate "iou_drop<=0.01,accuracy_drop<=0.01"
    """
    from medrega_bench.evaluation import measure
    from medrega_bench.evaluation.gate import check
    from medrega_edge.evaluation.gates import read_gates

    conditions = read_gates(gates) if gates else ()
    new = measure.read_result(result)
    old = measure.read_result(baseline, new.data.name) if baseline is not None else None
    missed, unchecked = check(new, old, conditions)
    for phrase in unchecked:
        print_status(Message("bench.not_checked", problem=phrase))
    for phrase in missed:
        print_status(Message("bench.missed", problem=phrase))
    if missed:
        raise GateError("bench.gate_missed")
    print_result(Message("bench.gate_passed"))
