"""Text -> the markup of reportlab's paragraphs, in embedded fonts that have every glyph of it.

Our own font has ASCII, the common Chinese characters and our names; reportlab brings one with the letters of western
Europe. Any other character, as a patient's name may have it, stands as its number ("[U+9F98]"): an empty box on a page
would hide that something is missing.
"""

from __future__ import annotations

from functools import cache
from itertools import groupby
from xml.sax.saxutils import escape

from reportlab.pdfbase import pdfmetrics
from reportlab.pdfbase.ttfonts import TTFont

from medrega_edge.io.safe_text import printable
from medrega_edge.output.overlay import FONT

FONT_NAME = "medrega-labels"
_WESTERN = "Vera"  # Bitstream Vera, in reportlab's package


def markup(text: str) -> str:
    """Return a text for a paragraph whose font is `FONT_NAME`; line ends stay, control characters become spaces."""
    parts = []
    for font, characters in groupby(printable(text), _font_of):
        part = "".join(characters)
        if font is None:
            parts.append("".join(f"[U+{ord(character):04X}]" for character in part))
            continue
        written = escape(part).replace("\n", "<br/>")
        parts.append(written if font == FONT_NAME else f'<font name="{font}">{written}</font>')
    return "".join(parts)


def missing_characters(text: str) -> list[str]:
    """Return the characters that no font of a page has a glyph for, each once, in their order."""
    return [character for character in dict.fromkeys(printable(text)) if _font_of(character) is None]


def _font_of(character: str) -> str | None:
    if character == "\n":
        return FONT_NAME
    return next((name for name, glyphs in _fonts().items() if ord(character) in glyphs), None)


@cache
def _fonts() -> dict[str, frozenset[int]]:
    """Register the fonts; returns the characters that each has, the preferred font first."""
    found = {}
    for name, file in ((FONT_NAME, str(FONT)), (_WESTERN, "Vera.ttf")):
        font = TTFont(name, file)
        pdfmetrics.registerFont(font)
        found[name] = frozenset(code for code, glyph in font.face.charToGlyph.items() if glyph)
    return found
