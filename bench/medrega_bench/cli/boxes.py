"""`boxes`: how true the boxes of a server with OpenAI's API are, and what goes wrong with them."""

from __future__ import annotations

import os
import re
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from medrega_bench.cli.console import with_progress
from medrega_bench.cli.options import LangOption
from medrega_edge.cli.console import print_result, user_language
from medrega_edge.errors import UsageError
from medrega_edge.i18n.message import Message


class DialectName(StrEnum):
    """How boxes are written; `box_fidelity.dialects.DIALECTS` says what each means."""

    AUTO = "auto"
    MEDREGA = "medrega"
    QWEN3_VL = "qwen3-vl"
    QWEN25_VL = "qwen2.5-vl"
    LIST_1000 = "list-1000"
    LIST_999 = "list-999"
    LIST_PIXELS = "list-pixels"
    LIST_FRACTIONS = "list-fractions"
    INTERNVL = "internvl"
    MEDREGA_MARKUP = "medrega-markup"
    QWEN2_VL = "qwen2-vl"
    GEMINI = "gemini"
    PALIGEMMA = "paligemma"
    FLORENCE = "florence"


class PhantomName(StrEnum):
    """What the phantoms show; `box_fidelity.phantoms.SETS` draws them."""

    SHAPES = "shapes"
    MEDICAL = "medical"


_SIZE = re.compile(r"(\d{1,5})x(\d{1,5})", re.ASCII)


def boxes(
    server: Annotated[str, typer.Option(help="Address of a server with OpenAI's API, as http://127.0.0.1:8080.")],
    model: Annotated[str, typer.Option(help="Name of the model, as the server calls it.")],
    dialect: Annotated[
        DialectName, typer.Option(help="How the model writes boxes; auto tries which question brings true ones.")
    ] = DialectName.AUTO,
    phantoms: Annotated[
        PhantomName, typer.Option(help="What the phantoms show: coloured shapes, or findings for medical models.")
    ] = PhantomName.SHAPES,
    size: Annotated[
        list[str] | None, typer.Option(help="Size of the phantoms, as 640x480; may repeat. Default: seven sizes.")
    ] = None,
    each: Annotated[int, typer.Option(min=1, max=100, help="Phantoms of each size.")] = 6,
    api_key_env: Annotated[
        str | None, typer.Option(help="Environment variable that holds the key for the server; it is never shown.")
    ] = None,
    timeout: Annotated[float, typer.Option(min=1, help="Seconds to wait for one answer.")] = 120.0,
    out: Annotated[Path | None, typer.Option(help="JSON file to write.")] = None,
    report: Annotated[Path | None, typer.Option(help="Page to attach to a bug report: .html or .md.")] = None,
    lang: LangOption = None,
) -> None:
    """Measure the boxes of any server with OpenAI's API: llama.cpp, Ollama, vLLM, LM Studio, `medrega serve`.

    It sends drawn phantoms with known boxes to the server that you name, and to no other; it sends nothing of yours. It
    reads the answers in the dialects of boxes that models have, and tells what is systematically wrong: shifted, scaled,
    swapped or mirrored axes, coordinates of a resized or padded image, a wrong range, answers that cannot be read.

    medrega bench boxes --server http://127.0.0.1:8080 --model qwen2.5-vl --report boxes.html

    medrega bench boxes --server http://127.0.0.1:8484 --model medrega --phantoms medical --out boxes.json
    """
    from medrega_bench import result_files
    from medrega_bench.box_fidelity import measure
    from medrega_bench.box_fidelity.client import Server
    from medrega_bench.box_fidelity.phantoms import SIZES, drawn
    from medrega_bench.box_fidelity.result import ServerIdentity
    from medrega_bench.performance.environment import command, without_folder
    from medrega_edge.io.atomic import check_output_path, write_text

    for path in filter(None, (out, report)):
        check_output_path(path)
    if report is not None and report.suffix not in (".html", ".md"):
        raise UsageError("bench.boxes_report_name")
    client = Server(server, model, _key(api_key_env), timeout)
    client.identify()
    sizes = [_size(text) for text in size] if size else list(SIZES)
    pictures = list(drawn(phantoms, sizes, each))
    ask = measure.remembering(client.ask)
    named = None if dialect is DialectName.AUTO else dialect.value
    chosen = measure.choose_question(ask, named, pictures)
    asked = list(with_progress(measure.asked_all(ask, chosen, pictures), len(pictures)))
    # llama.cpp calls models by their files.
    identity = ServerIdentity(without_folder(model), without_folder(client.answered_as), client.software, client.package)
    result = measure.result_of(asked, chosen, named is not None, identity, phantoms.value, each, command())
    if out is not None:
        result_files.write(out, result)
    if report is not None:
        from medrega_bench.box_fidelity.report import page
        from medrega_bench.reports import render

        document = page(result, lang or user_language(), pictures)
        write_text(report, render.html(document) if report.suffix == ".html" else render.markdown(document))
    print_result(Message("bench.boxes_dialect", dialect=result.dialect, question=result.question))
    for one in result.sizes:
        print_result(
            Message(
                "bench.boxes_size",
                width=one.width,
                height=one.height,
                parsed=one.parsed,
                asked=one.asked,
                iou=one.iou.value,
                right=one.accuracy,
            )
        )
    for finding in result.verdict:
        print_result(finding.as_message())


def _key(name: str | None) -> str | None:
    """The key in the environment variable `name`; None where no variable is named."""
    if name is None:
        return None
    key = os.environ.get(name, "").strip()
    if not key or not (key.isascii() and key.isprintable()):
        raise UsageError("bench.boxes_key_missing")
    return key


def _size(text: str) -> tuple[int, int]:
    from medrega_bench.box_fidelity.phantoms import LEAST_SIDE, MOST_SIDE

    found = _SIZE.fullmatch(text)
    width, height = map(int, found.groups()) if found else (0, 0)
    if not (LEAST_SIDE <= min(width, height) and max(width, height) <= MOST_SIDE):
        raise UsageError("bench.boxes_size_wrong", size=text, least=LEAST_SIDE, most=MOST_SIDE)
    return width, height
