"""`medrega bench`: parse, call, write results."""

from __future__ import annotations

import json
import shlex
import sys
from collections import Counter
from collections.abc import Iterator
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import typer

from medrega_edge.errors import UsageError
from medrega_edge.prompts import NOTICE, Language

T = TypeVar("T")
Row = dict[str, Any]

bench_app = typer.Typer(no_args_is_help=True, help="Measure what a package gets right, on this hardware.")

if TYPE_CHECKING:
    from medrega_bench import suite
    from medrega_edge.package import Package

DataOption = Annotated[Path, typer.Option(help="Data folder with records.jsonl and images/.")]


@bench_app.command()
def questions(
    data: Annotated[Path, typer.Option(help="Data folder with records.jsonl and images/, or the file of another layout.")],
    out: Annotated[Path, typer.Option(help="JSONL to write.")],
    layout: Annotated[str, typer.Option("--from", help="records, medreginstruct, slake, vqa-rad, coco or csv.")] = "records",
    images: Annotated[Path | None, typer.Option(help="Folder that image paths are relative to; default: the usual.")] = None,
    split: Annotated[str | None, typer.Option(help="Of records: train, val (default) or test.")] = None,
    setting: Annotated[list[str] | None, typer.Option(help="Take the questions of this setting only; may repeat.")] = None,
    limit: Annotated[int | None, typer.Option(min=1, help="Take so many, spread evenly.")] = None,
) -> None:
    """Write questions with truth: to answer with `medrega batch` and score, for calibration, for a certificate.

    medrega bench questions --from slake --data SLAKE/test.json --out questions.jsonl

    medrega batch questions.jsonl --out answers.jsonl

    medrega bench score answers.jsonl --questions questions.jsonl --setting vqa_en
    """
    from medrega_bench.score import setting_named
    from medrega_bench.sources import read_source
    from medrega_edge.batch import write_lines
    from medrega_edge.files import check_place

    for name in setting or ():
        setting_named(name)
    check_place(out, data)
    made, left_out = read_source(layout, data, images, split)
    chosen = [question.to_dict() for question in made if not setting or question.setting in setting]
    if not chosen:
        raise UsageError(f"'{data.name}' gives no question of the kind that was asked for.")
    write_lines(_spread(chosen, limit), out)
    for name, count in Counter(row["setting"] for row in _spread(chosen, limit)).items():
        typer.echo(f"{count:>8}  {name}", err=True)
    for reason, count in Counter(one.reason for one in left_out).items():
        places = [one.place for one in left_out if one.reason == reason]
        typer.echo(f"{count:>8}  left out: {reason} ({', '.join(places[:3])}{', ...' if count > 3 else ''})", err=True)


@bench_app.command()
def accuracy(
    data: DataOption,
    out: Annotated[Path, typer.Option(help="JSON of results to write.")],
    split: Annotated[str, typer.Option(help="Choose on val, report on test.")] = "val",
    model: Annotated[str | None, typer.Option("--model", "-m", help="Package folder or name.")] = None,
    reference: Annotated[
        Path | None, typer.Option(help="Full-precision package to compare with, on the same questions.")
    ] = None,
    limit: Annotated[int | None, typer.Option(min=1, help="Take so many questions, spread evenly.")] = None,
) -> None:
    """Let a package answer questions with truth, and report IoU per modality, language and object."""
    from medrega_bench.accuracy import MEASURED, answer_all, compare, tables
    from medrega_bench.questions import Question, questions_of, read_records
    from medrega_edge.engine import load
    from medrega_edge.files import write_text

    made = questions_of(read_records(data, split), data)
    rows = _spread([one.to_dict() for one in made if isinstance(one, Question) and one.setting in MEASURED], limit)
    if not rows:
        raise UsageError(f"There is no question in the split '{split}'; choose train, val or test.")
    engine = load(model)
    answers = answer_all(engine, rows)
    result = _header(engine.package, split) | {"tables": tables(answers)}
    if reference is not None:
        result["loss"] = compare(answer_all(load(reference), rows), answers)
    write_text(out, json.dumps(result, ensure_ascii=False, indent=1) + "\n")
    whole = result["tables"]["overall"]["all"]
    typer.echo(f"mean IoU {whole['mean_iou']:.3f}, accuracy at 0.5 {whole['acc50']:.3f}, {whole['n']} questions")
    if reference is not None:
        typer.echo(f"loss against the reference {result['loss']['mean_iou_loss']:+.4f} mean IoU")


@bench_app.command()
def tasks(
    data: DataOption,
    out: Annotated[Path, typer.Option(help="JSON of results to write.")],
    split: Annotated[str, typer.Option(help="Choose on val, report on test.")] = "val",
    model: Annotated[str | None, typer.Option("--model", "-m", help="Package folder or name.")] = None,
    reference: Annotated[
        Path | None, typer.Option(help="Full-precision package to set beside it, on the same questions.")
    ] = None,
    limit: Annotated[int | None, typer.Option(min=1, help="Take so many questions, spread evenly.")] = None,
) -> None:
    """Let a package do every task on one split, and report MedRegA's figures and what the image is worth to them.

    Free questions are also asked about a blank image and another patient's, and of the training questions alone.
    """
    from medrega_bench import suite
    from medrega_bench.questions import read_records
    from medrega_edge.engine import load
    from medrega_edge.files import check_place, write_text

    check_place(out)
    records = list(read_records(data, split))
    asked = _spread(suite.about_images(list(suite.asked_of(records, data))), limit)
    if not asked:
        raise UsageError(f"There is no question in the split '{split}'; choose train, val or test.")
    question_only = suite.QuestionOnly(read_records(data, "train"))
    engine = load(model)
    result = _header(engine.package, split)
    result["tables"] = suite.tables(list(_with_progress(suite.run(engine, asked, question_only), len(asked))))
    if reference is not None:
        full = list(_with_progress(suite.run(load(reference), asked, question_only), len(asked)))
        result["reference"] = suite.tables(full)
    write_text(out, json.dumps(result, ensure_ascii=False, indent=1) + "\n")
    typer.echo(f"{len(asked)} questions; figures in {out.name}")


@bench_app.command()
def speed(
    out: Annotated[Path, typer.Option(help="JSON of results to write.")],
    model: Annotated[str | None, typer.Option("--model", "-m", help="Package folder or name.")] = None,
    threads: Annotated[str | None, typer.Option(help="Numbers of threads, parted by commas; default: 1 and all.")] = None,
    device: Annotated[str, typer.Option(help="cpu or cuda.")] = "cpu",
    repeats: Annotated[int, typer.Option(min=5, help="Measured rounds, after a warm-up.")] = 7,
) -> None:
    """Measure every stage of an answer on the sample scan, warm and cold, beside this machine's memory bandwidth.

    medrega bench speed --threads 1,2 --out speed.json
    """
    from medrega_bench import speed as stages
    from medrega_edge.errors import ResourceError
    from medrega_edge.files import check_place, write_text
    from medrega_edge.package import find
    from medrega_edge.sessions import available_threads

    check_place(out)
    try:
        counts = [int(part) for part in threads.split(",")] if threads else sorted({1, available_threads()})
        if min(counts) < 1:
            raise ValueError
    except ValueError:
        raise UsageError(f"'{threads}' is no list of thread numbers; write for example 1,2.") from None
    package = find(model)
    package.verify()
    result = _header(package, None)
    try:
        result["stages"] = [stages.measure(package, count, device, repeats) for count in counts]
        result["cold"] = stages.cold(package, repeats)
    except RuntimeError as error:
        raise ResourceError(f"The measurement failed: {error}.") from None
    result["read_bandwidth_gb_per_second"] = stages.bandwidth()
    result["package_mib"] = package.bytes / 2**20
    write_text(out, json.dumps(result, ensure_ascii=False, indent=1) + "\n")
    for row in result["stages"]:
        middle = {name: value["median"] for name, value in row.items() if isinstance(value, dict)}
        typer.echo(
            f"{row['threads']} threads: vision {middle['vision_ms']:.1f} ms, "
            f"first token {middle['first_prefill_ms']:.1f} ms after the first question, {middle['next_prefill_ms']:.1f} ms "
            "after the next, "
            f"{middle['decode_tokens_per_second']:.0f} tokens/s, {middle['questions_per_second']:.1f} questions/s"
        )
    whole = result["cold"]
    typer.echo(f"cold: {whole['wall_ms']['median']:.0f} ms, {whole['peak_mib']['median']:.0f} MiB")


@bench_app.command()
def run(
    out: Annotated[Path, typer.Option(help="Folder for result.json, report.md, report.html and figures.csv.")],
    data: Annotated[
        Path | None, typer.Option(help="Data folder with records.jsonl; default: the built-in quick set.")
    ] = None,
    split: Annotated[str, typer.Option(help="Of --data: choose on val, report on test.")] = "test",
    model: Annotated[list[str] | None, typer.Option("--model", "-m", help="Package folder or name; may repeat.")] = None,
    reference: Annotated[str | None, typer.Option(help="Full-precision package that the others are held against.")] = None,
    device: Annotated[
        list[str] | None, typer.Option(help="cpu or cuda; may repeat, for speed: answers are the first's.")
    ] = None,
    threads: Annotated[int | None, typer.Option(min=1, help="Threads; default: all.")] = None,
    repeats: Annotated[int, typer.Option(min=5, help="Measured rounds of speed, after a warm-up.")] = 5,
    with_speed: Annotated[bool, typer.Option("--speed/--no-speed", help="Measure speed too.")] = True,
    lang: Annotated[Language, typer.Option(help="Language of the reports.")] = Language.EN,
    pictures: Annotated[
        bool | None, typer.Option(help="Put pictures of the worst answers into the page; default: of the quick set only.")
    ] = None,
    limit: Annotated[int | None, typer.Option(min=1, help="Take so many questions, spread evenly.")] = None,
    include_identifiers: Annotated[
        bool, typer.Option("--include-identifiers", help="Keep the ids of questions as they are; they may name patients.")
    ] = False,
    keep: Annotated[Path | None, typer.Option(help="Folder of results that gets a copy, named by date and commit.")] = None,
) -> None:
    """Measure accuracy and speed in one go, and write JSON, Markdown, CSV and one page of HTML.

    medrega bench run --out report

    medrega bench run --data DATA --split test --model package --reference full --out report

    The JSON and the page quote questions, truths and answers; pictures of your images go into the page with --pictures.
    """
    from tempfile import TemporaryDirectory

    from medrega_bench import measure, page, quick_set, speed
    from medrega_bench.document import document, figures_of
    from medrega_edge.files import check_place, unwritable, write_text
    from medrega_edge.package import find

    places = [out / name for name in ("result.json", "report.md", "report.html", "figures.csv")]
    try:
        out.mkdir(exist_ok=True)
    except OSError as error:
        raise unwritable(error) from None
    for place in places:
        check_place(place)
    if keep is not None and not keep.is_dir():
        raise UsageError("The folder of --keep is not there; make it, or name another.")
    packages = [(find(name), "package") for name in model] if model else [(find(), "package")]
    packages += [(find(reference), "reference")] if reference is not None else []
    with TemporaryDirectory() as drawn:
        asked, question_only = _asked(data, split, limit, Path(drawn))
        plan = measure.Plan(
            asked, question_only, threads, tuple(device or ["cpu"]), repeats, with_speed, data is None or include_identifiers
        )
        measured = [measure.measure(package, role, plan, _with_progress) for package, role in packages]
        header = {"command": _command(), "environment": _environment()}
        bandwidth = speed.bandwidth() if with_speed else None
        name = data.name if data is not None else quick_set.NAME
        result = measure.result_of(header, measured, name, split if data is not None else None, bandwidth)
        shown = data is None if pictures is None else pictures
        images = {measure.image_key(path): path for path in {one.question.image for one in asked}} if shown else None
        made = document(result, lang, images)
    texts = (measure.to_json(result), page.markdown(made), page.html(made), page.as_csv(figures_of(result)))
    for place, text in zip(places, texts, strict=True):
        write_text(place, text)
    if keep is not None:
        write_text(keep / measure.history_name(result), texts[0])
    for one in result["packages"]:
        _tell(one)
    typer.echo(f"report in {out.name}; {NOTICE}")


def _asked(
    data: Path | None, split: str, limit: int | None, folder: Path
) -> tuple[list[suite.Asked], suite.QuestionOnly | None]:
    """The questions of a split of `data`, or of the quick set, whose pictures are drawn into `folder`."""
    from medrega_bench import quick_set, suite
    from medrega_bench.questions import read_records

    if data is None:
        records, question_only = quick_set.records(folder), None
    else:
        records = list(read_records(data, split))
        question_only = suite.QuestionOnly(read_records(data, "train"))
    asked = suite.about_images(_spread(list(suite.asked_of(records, data or folder)), limit))
    if not asked:
        raise UsageError(f"There is no question in the split '{split}'; choose train, val or test.")
    return asked, question_only


def _tell(one: Row) -> None:
    from medrega_bench.document import percent
    from medrega_bench.words import words

    model, whole = one["model"], percent(one["overall"], words(Language.EN))
    text = f"{one['role']} {model['name']} {model['precision']}: {whole} overall"
    for stage in one["speed"]:
        middle = stage["questions_per_second"]["median"]
        text += f", {middle:.1f} questions/s on {stage['device']} with {stage['threads']} threads"
    typer.echo(text)
    for entry in one["loss"]["accuracy"] if one["loss"] else ():
        _tell_loss(entry)


def _tell_loss(entry: Row) -> None:
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


@bench_app.command()
def compare(
    before: Annotated[str, typer.Argument(help="A result of `medrega bench run`, or a package.")],
    after: Annotated[str, typer.Argument(help="Another one; packages are measured on the same questions.")],
    data: Annotated[Path | None, typer.Option(help="Data folder for packages; default: the built-in quick set.")] = None,
    split: Annotated[str, typer.Option(help="Of --data.")] = "test",
    limit: Annotated[int | None, typer.Option(min=1, help="Take so many questions, spread evenly.")] = None,
    out: Annotated[Path | None, typer.Option(help="File to write: .json, .md or .html.")] = None,
    lang: Annotated[Language, typer.Option(help="Language of the report.")] = Language.EN,
) -> None:
    """Say what changed between two results or two packages, whether by more than chance, and which answers flipped.

    medrega bench compare old/result.json new/result.json

    medrega bench compare package-a package-b --out difference.html
    """
    from tempfile import TemporaryDirectory

    from medrega_bench import measure, paired
    from medrega_edge.files import check_place, write_text
    from medrega_edge.package import find

    if out is not None:
        check_place(out)
        if out.suffix not in (".json", ".md", ".html"):
            raise UsageError("The difference is written as .json, .md or .html; name the file so.")
    rows: list[list[Row]] = []
    names: list[str] = []
    with TemporaryDirectory() as drawn:
        plan: measure.Plan | None = None
        for one in (before, after):
            path = Path(one)
            if path.suffix == ".json" or (path.is_dir() and not (path / "manifest.json").exists()):
                package = measure.read_result(path)["packages"][0]
            else:
                plan = plan or measure.Plan(
                    *_asked(data, split, limit, Path(drawn)), with_speed=False, bare_ids=data is None
                )
                package = measure.measure(find(one), "package", plan, _with_progress)
            rows.append(package["rows"])
            names.append(f"{package['model']['name']} {package['model']['version']}, {package['model']['precision']}")
    compared = paired.compared(rows[0], rows[1])
    typer.echo(f"{names[0]} -> {names[1]}: {compared['n']} questions, {len(compared['flips'])} answers flipped")
    for entry in compared["accuracy"]:
        _tell_loss(entry)
    for number, where in ((compared["only_before"], "first"), (compared["only_after"], "second")):
        if number:
            typer.echo(f"{number} questions are in the {where} only and are not compared", err=True)
    if out is not None:
        write_text(out, _difference(compared, out.suffix, lang, (names[0], names[1])))


def _difference(compared: Row, suffix: str, lang: Language, names: tuple[str, str]) -> str:
    from medrega_bench import page
    from medrega_bench.document import comparison
    from medrega_edge.plain import json_text

    if suffix == ".json":
        return json_text({"schema_version": 1, "notice": NOTICE} | compared, indent=1) + "\n"
    made = comparison(compared, lang, names)
    return page.markdown(made) if suffix == ".md" else page.html(made)


@bench_app.command()
def gate(
    result: Annotated[Path, typer.Argument(help="Result of `medrega bench run`.")],
    gates: Annotated[
        str | None, typer.Option("--gate", help="Such as iou_drop<=0.01,flips<=0.03; default: no loss beyond its noise.")
    ] = None,
    baseline: Annotated[
        Path | None, typer.Option(help="Older result, or a folder of them; default: the reference in the result.")
    ] = None,
) -> None:
    """Exit with code 5 when accuracy fell too far. Ratios of speeds, where steady, may fall by 15 %.

    medrega bench gate report/result.json --baseline bench/results

    medrega bench gate report/result.json --gate "iou_drop<=0.01,accuracy_drop<=0.01"
    """
    from medrega_bench import measure
    from medrega_bench.gate import check
    from medrega_edge.gates import read_gates

    held = read_gates(gates) if gates else ()
    made = measure.read_result(result)
    older = measure.read_result(baseline, made["data"]["name"]) if baseline is not None else None
    unheld = check(made, older, held)
    for phrase in unheld:
        typer.echo(f"not held: {phrase}", err=True)
    typer.echo("passes")


def _header(package: Package, split: str | None) -> dict[str, Any]:
    """What was measured on what, with which command."""
    manifest = package.manifest
    return {
        "schema_version": 1,
        "date": date.today().isoformat(),
        "command": _command(),
        "split": split,
        "model": {
            "name": manifest.name,
            "version": manifest.version,
            "precision": manifest.precision,
            "sha256": package.sha256,
        },
        "environment": _environment(),
    }


def _command() -> str:
    return shlex.join(["medrega", *map(_without_folder, sys.argv[1:])])


def _environment() -> dict[str, Any]:
    from medrega_bench.environment import environment

    return environment()


def _with_progress(rows: Iterator[Row], total: int) -> Iterator[Row]:
    from rich.console import Console
    from rich.progress import track

    console = Console(stderr=True)
    yield from track(rows, "answering", total=total, console=console, disable=not console.is_terminal)


@bench_app.command()
def score(
    answers: Annotated[Path, typer.Argument(help="JSONL of items in MedRegA's layout, or of `medrega batch` answers.")],
    setting: Annotated[str, typer.Option(help="Setting, for example vqa_en or single_object_multi_region.")],
    questions: Annotated[Path | None, typer.Option(help="Questions with truth that `medrega batch` answered.")] = None,
    classes: Annotated[str | None, typer.Option(help="Classes, parted by commas, in the question's order.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object and nothing else.")] = False,
) -> None:
    """Score answers made by any system: MedRegA's figures, and the standard ones beside them, with intervals.

    medrega bench score answers.jsonl --setting vqa_en --json
    """
    from medrega_bench.score import answered_items, read_items, score, setting_named

    setting_named(setting)
    items = read_items(answers)
    if questions is not None:
        items, others = answered_items(read_items(questions), items, setting)
        if others:
            typer.echo(f"{others} questions belong to other settings and are not scored here", err=True)
    result = score(setting, items, [name.strip() for name in classes.split(",")] if classes else None)
    if as_json:
        typer.echo(json.dumps(result, ensure_ascii=False))
        return
    typer.echo(f"{setting}: {result['items']} items of {result['images']} images")
    for kind in ("figures", "standard"):
        for name, value, interval in _flat(result[kind], result["intervals" if kind == "figures" else "standard_intervals"]):
            typer.echo(f"{name:<40}{_written(value, interval)}")
    for warning in result["warnings"]:
        typer.echo(f"warning: {warning}", err=True)


def _flat(values: dict[str, Any], intervals: dict[str, Any]) -> Iterator[tuple[str, Any, Any]]:
    for name, value in values.items():
        if isinstance(value, dict):
            yield from _flat(value, intervals[name])
        else:
            yield name, value, intervals[name]


def _written(value: float | None, interval: list[float] | None) -> str:
    if value is None or interval is None:
        return "nothing to measure"
    return f"{value:.4f} ({interval[0]:.4f} to {interval[1]:.4f})"


@bench_app.command()
def docs(
    document: Annotated[Path, typer.Argument(help="Markdown file whose blocks are made from results.")] = Path("README.md"),
    check: Annotated[bool, typer.Option("--check", help="Change nothing; exit with code 5 when a block is stale.")] = False,
) -> None:
    """Write the tables of a document anew from committed results."""
    from medrega_bench.report import update_blocks

    typer.echo("updated" if update_blocks(document, check) else "up to date")


def _without_folder(argument: str) -> str:
    """A path without the folders above it, which name this machine or its user."""
    path = Path(argument)
    return path.name if path.is_absolute() or ".." in path.parts else argument


def _spread(rows: list[T], limit: int | None) -> list[T]:
    return rows if limit is None or limit >= len(rows) else [rows[i * len(rows) // limit] for i in range(limit)]


def mount(app: typer.Typer) -> None:
    """Register `medrega bench`."""
    app.add_typer(bench_app, name="bench")
