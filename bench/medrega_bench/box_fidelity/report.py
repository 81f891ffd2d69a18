"""The page of `medrega bench boxes`, made to be attached to a bug report, and the table of documents."""

from __future__ import annotations

import base64
import io
from collections.abc import Iterator, Mapping, Sequence

from PIL import Image

from medrega_bench.box_fidelity.phantoms import Phantom
from medrega_bench.box_fidelity.result import AnswerRow, BoxesResult, SizeFigures
from medrega_bench.reports.model import Case, Document, Section, Table
from medrega_bench.reports.phrases import words
from medrega_edge.domain import NOTICES, Language

LONGEST_SIDE = 480  # pixels of a picture in the page
_HEADS = ("size", "asked", "parsed", "malformed", "refused", "no_box", "failed", "iou", "right", "error", "shift", "scale")


def page(result: BoxesResult, language: Language, phantoms: Sequence[Phantom]) -> Document:
    """Make the page in one language; `phantoms` are the pictures that were asked about."""
    say = {key.removeprefix("boxes_"): text for key, text in words(language).items() if key.startswith("boxes_")}
    sections = (
        _verdict(result, language, say),
        Section("sizes", say["sizes"], say["sizes_note"], (size_table(result, say),)),
        *_example(result, say, {one.name: one for one in phantoms}),
        _answers(result, say),
    )
    return Document(language, say["title"], NOTICES[language], tuple(_facts(result, say)), sections)


def _facts(result: BoxesResult, say: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    server, machine = result.server, result.environment
    yield say["model"], server.model + (f" ({server.answered_as})" if server.answered_as not in ("", server.model) else "")
    yield say["software"], ", ".join(filter(None, (server.software, (server.package or "")[:12]))) or "-"
    yield say["dialect"], f"{result.dialect}, {say['chosen' if result.chosen else 'named']}"
    yield say["question"], result.question
    yield say["phantoms"], f"{result.phantoms}, {result.overall.asked}, seed {result.seed}"
    yield say["step"], f"{result.step:g}" if result.step else "-"
    yield say["grows"], say["yes" if result.grows else "no"]
    yield say["measured"], f"{result.measured}, medrega-edge {machine.versions.get('medrega-edge') or '-'}"
    yield say["with"], result.command


def _verdict(result: BoxesResult, language: Language, say: Mapping[str, str]) -> Section:
    rows = tuple((finding.as_message().text(language),) for finding in result.verdict)
    return Section("verdict", say["verdict"], say["verdict_note"], (Table((say["found"],), rows),))


def size_table(result: BoxesResult, say: Mapping[str, str]) -> Table:
    """Return the figures of every size, and of all."""
    return Table(tuple(say[head] for head in _HEADS), tuple(_size_row(one, say) for one in (*result.sizes, result.overall)))


def _size_row(one: SizeFigures, say: Mapping[str, str]) -> tuple[str, ...]:
    size = f"{one.width} x {one.height}" if one.width else say["all"]
    counts = (one.asked, one.parsed, one.malformed, one.refused, one.no_box, one.failed)
    low, high = one.iou.interval
    error = "-" if one.error_px is None else f"{one.error_px:.1f}"
    shift = "-" if one.shift_px is None else ", ".join(f"{value:+.1f}" for value in one.shift_px)
    scale = "-" if one.scale is None else ", ".join(f"{value:.3f}" for value in one.scale)
    overlap = f"{one.iou.value:.2f} ({low:.2f}-{high:.2f})"
    return (size, *map(str, counts), overlap, f"{100 * one.accuracy:.0f}", error, shift, scale)


def _example(result: BoxesResult, say: Mapping[str, str], phantoms: Mapping[str, Phantom]) -> Iterator[Section]:
    """One answer with the picture: the typical one, of median IoU among those with a box; nothing where there is none."""
    boxed = sorted((row for row in result.answers if row.iou is not None), key=lambda row: row.iou or 0.0)
    if not boxed or (row := boxed[len(boxed) // 2]).phantom not in phantoms:
        return
    table = Table(
        (say["item"], say["value"]),
        (
            (say["question"], result.question.replace("...", row.label)),
            (say["answer"], row.answer),
            (say["numbers"], _listed(row.numbers, "g")),
            (say["true_box"], _listed(row.true_box)),
            (say["read_box"], _listed(row.box)),
            ("IoU", f"{row.iou:.2f}"),
        ),
    )
    picture = phantoms[row.phantom]
    case = Case(
        _data_uri(picture),
        (row.width, row.height),
        (row.true_box,),
        (row.box,) if row.box else (),
        ((say["phantom"], row.phantom), ("IoU", f"{row.iou:.2f}")),
    )
    yield Section("example", say["example"], say["example_note"], (table,), cases=(case,))


def _answers(result: BoxesResult, say: Mapping[str, str]) -> Section:
    heads = tuple(say[head] for head in ("phantom", "status", "answer", "true_box", "read_box")) + ("IoU",)
    return Section("answers", say["answers"], tables=(Table(heads, tuple(map(_answer_row, result.answers))),))


def _answer_row(row: AnswerRow) -> tuple[str, ...]:
    overlap = "-" if row.iou is None else f"{row.iou:.2f}"
    answer = " ".join(row.answer.split())
    return (row.phantom, row.status, answer[:160], _listed(row.true_box, ".0f"), _listed(row.box, ".0f"), overlap)


def _listed(numbers: Sequence[float] | None, form: str = ".1f") -> str:
    return "-" if numbers is None else ", ".join(format(number, form) for number in numbers)


def _data_uri(phantom: Phantom) -> str:
    picture = Image.open(io.BytesIO(phantom.data)).convert("RGB")
    picture.thumbnail((LONGEST_SIDE, LONGEST_SIDE))
    file = io.BytesIO()
    picture.save(file, format="JPEG", quality=85)
    return "data:image/jpeg;base64," + base64.b64encode(file.getvalue()).decode()


def table(*results: BoxesResult) -> str:
    """Write the sizes and the verdict of each result as Markdown."""
    say = {key.removeprefix("boxes_"): text for key, text in words(Language.EN).items() if key.startswith("boxes_")}
    parts = []
    for result in results:
        sizes = size_table(result, say)
        lines = [f"| {' | '.join(row)} |" for row in (sizes.heads, *sizes.rows)]
        lines.insert(1, "|" + "---|" * len(sizes.heads))
        server, machine = result.server, result.environment
        found = " ".join(finding.message for finding in result.verdict)
        parts += [
            "\n".join(lines),
            f"Verdict on {server.software or server.model}, dialect {result.dialect}: {found}",
            f"Measured {result.measured} with `{result.command}` on {machine.processor}, {machine.threads} threads; "
            f"model {server.model}" + (f", manifest {server.package[:12]}." if server.package else "."),
        ]
    return "\n\n".join(parts)
