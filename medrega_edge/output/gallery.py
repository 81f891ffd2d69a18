"""Rows of a batch and their marked pictures -> one HTML page: a contact sheet in a single file.

The page loads nothing and runs nothing: pictures are inside it, and its policy forbids scripts.
"""

from __future__ import annotations

import base64
import io
from collections.abc import Iterable, Iterator
from html import escape
from pathlib import Path
from typing import Any

from PIL import Image

from medrega_edge.domain import NOTICE, NOTICE_ZH, Language
from medrega_edge.i18n.message import Message
from medrega_edge.io.atomic import atomic_write
from medrega_edge.io.safe_text import printable

THUMBNAIL = (480, 480)  # pixels, at most
_HEAD = """<!doctype html>
<html lang="{language}">
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; img-src data:; style-src 'unsafe-inline'">
<meta name="viewport" content="width=device-width">
<title>{title}</title>
<style>
:root {{ color-scheme: light dark }}
body {{ font: 15px/1.4 system-ui, sans-serif; margin: 1.5rem }}
main {{ display: grid; grid-template-columns: repeat(auto-fill, minmax(300px, 1fr)); gap: 1rem }}
figure {{ margin: 0; border: 1px solid #8886; border-radius: 6px; padding: .6rem; overflow-wrap: anywhere }}
img {{ display: block; max-width: 100%; margin: auto }}
h2 {{ font-size: 1em; margin: .4rem 0 }}
ol, p {{ margin: .3rem 0 }}
.notice {{ font-weight: bold }}
.fault {{ color: #d33 }}
</style>
<h1>{title}</h1>
<p class="notice">{notice}<br>{notice_zh}</p>
<main>
"""


def write_gallery(
    rows: Iterable[tuple[str | None, dict[str, Any]]], pictures: Path, path: Path, question: str, language: Language
) -> None:
    """Write the page, all or nothing; rows come with their names. Raises UsageError or ResourceError."""
    title = escape(printable(question)) or "medrega"
    with atomic_write(path) as file:
        file.write(_HEAD.format(language=language, title=title, notice=NOTICE, notice_zh=NOTICE_ZH).encode())
        for name, row in rows:
            file.write("\n".join(_figure(name or "", row, pictures, language)).encode("utf-8", "replace"))
        file.write(b"</main>\n</html>\n")


def _figure(name: str, row: dict[str, Any], pictures: Path, language: Language) -> Iterator[str]:
    yield "<figure>"
    if "picture" in row and (source := _thumbnail(pictures / row["picture"])):
        yield f'<img src="{source}" alt="">'
    yield f"<figcaption><h2>{_text(name)}</h2>"
    if "error" in row:
        yield f'<p class="fault">{_text(Message.from_dict(row["error"]).text(language))}</p>'
    else:
        yield f"<p>{_text(row['text'])}</p>"
        if row["regions"]:
            yield "<ol>"
            yield from (f"<li>{_text(region['label'])} {_score(region)}</li>" for region in row["regions"])
            yield "</ol>"
        for warning in row["warning_details"]:
            yield f"<p>{_text(Message('output.warning', warning=Message.from_dict(warning)).text(language))}</p>"
    yield "</figcaption></figure>\n"


def _text(text: str) -> str:
    return escape(printable(text))


def _score(region: dict[str, Any]) -> str:
    score = "" if region["confidence"] is None else f"{region['confidence']:.2f}"
    return f"{score} ?" if region["best_guess"] else score


def _thumbnail(path: Path) -> str | None:
    """A marked picture, reduced, as the address of an image; None if it is not there."""
    try:
        with Image.open(path, formats=["PNG"]) as picture:
            picture.thumbnail(THUMBNAIL)
            data = io.BytesIO()
            picture.convert("RGB").save(data, format="JPEG", quality=80)
    except OSError:
        return None
    return f"data:image/jpeg;base64,{base64.b64encode(data.getvalue()).decode()}"
