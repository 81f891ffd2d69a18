"""An answer -> one page A4 as PDF: patient, question, answer, the picture with its regions, a table of them, the notice.

Text is text, in embedded fonts, so that it can be searched and copied. The page holds everything that it is given, smaller
where there is much; of many regions the first, and how many more there are.
"""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime

from PIL import Image
from reportlab.lib import colors
from reportlab.lib.pagesizes import A4
from reportlab.lib.styles import ParagraphStyle
from reportlab.lib.units import mm
from reportlab.pdfgen.canvas import Canvas
from reportlab.platypus import Flowable, Frame, KeepInFrame, Paragraph, Spacer, Table, TableStyle
from reportlab.platypus import Image as Picture

from medrega_edge import __version__
from medrega_edge.answer import Answer
from medrega_edge.domain import MANUFACTURER, NOTICES, Language, language_of
from medrega_edge.i18n.message import Message
from medrega_edge.output.overlay import COLOURS
from medrega_edge.output.pdf_fonts import FONT_NAME, markup, missing_characters
from medrega_edge.output.region_rows import RegionRow, figures_of_all, region_rows
from medrega_edge.vocabulary.kind_names import KIND_NAMES
from medrega_edge.vocabulary.label_sets import modality_name

MOST_ROWS = 30  # regions in the table: more could not be read on one page
_MARGIN = 14 * mm
_WIDTH, _HEIGHT = A4[0] - 2 * _MARGIN, A4[1] - 2 * _MARGIN
_FOOT = 19 * mm  # of the page, for the package and the notice
_SMALLEST_PICTURE, _LARGEST_PICTURE = 60 * mm, 150 * mm  # its height
_MOST_PIXELS = 1600  # of the picture's longer side: 300 dots an inch
_QUALITY = 92  # of the JPEG
_REGION, _NUMBER = Message("output.region"), "#"


@dataclass(frozen=True)
class PageFacts:
    """What the page says of the scan, empty where it is unknown, and when it was made.

    `patient` and `patient_id` are those of the scan's header: the page belongs to the patient's study. `study_date` is as a
    person writes it, `instance` the SOP Instance UID of the image. `aspect` is the height of its pixels and their width, in
    any unit.
    """

    patient: str
    patient_id: str
    study_date: str
    instance: str
    made: datetime
    aspect: tuple[float, float] = (1, 1)


def answer_page(answer: Answer, question: str, picture: Image.Image, facts: PageFacts) -> bytes:
    """Return the page as a PDF, in the answer's language; `picture` has the regions drawn, RGB.

    Without a question the page says how it was understood. The same arguments give the same bytes.
    """
    language = answer.language
    written = io.BytesIO()
    canvas = Canvas(written, pagesize=A4, invariant=True, pageCompression=1, lang=_locale(language))
    canvas.setTitle(f"{MANUFACTURER}: {Message('page.title').text(language)}. {NOTICES[language]}")
    canvas.setAuthor(f"{MANUFACTURER} {__version__}")
    text = _Text()
    foot = [text.paragraph(line, _SMALL) for line in _foot(answer, facts)] + [text.paragraph(NOTICES[language], _NOTICE)]
    _draw(canvas, foot, _MARGIN, _FOOT)
    above, below = list(_above(answer, question, facts, text)), list(_below(answer, text))
    if text.lacks_glyphs:
        below.append(text.paragraph(Message("page.missing_glyphs").text(language), _SMALL))
    room = _HEIGHT - _FOOT - sum(map(_height, [*above, *below])) - 4 * mm
    shown = _picture(picture, facts.aspect, min(max(room, _SMALLEST_PICTURE), _LARGEST_PICTURE))
    _draw(canvas, [*above, shown, Spacer(0, 2 * mm), *below], _MARGIN + _FOOT, _HEIGHT - _FOOT)
    canvas.showPage()
    canvas.save()
    return written.getvalue()


def _style(name: str, size: float, **options: object) -> ParagraphStyle:
    return ParagraphStyle(name, fontName=FONT_NAME, fontSize=size, leading=size * 1.3, splitLongWords=1, **options)


_TITLE = _style("title", 14, spaceAfter=2 * mm)
_BODY = _style("body", 9.5, spaceAfter=1 * mm)
_CELL = _style("cell", 8.5)
_SMALL = _style("small", 7, textColor=colors.HexColor("#404040"))
_NOTICE = _style("notice", 11, borderWidth=0.8, borderColor=colors.black, borderPadding=3, spaceBefore=5, alignment=1)


class _Text:
    """Makes paragraphs, and remembers whether a character of them has no glyph."""

    def __init__(self) -> None:
        self.lacks_glyphs = False

    def paragraph(self, text: str, style: ParagraphStyle) -> Paragraph:
        """A paragraph of a text, whose lines end between any two characters if it is Chinese."""
        self.lacks_glyphs |= bool(missing_characters(text))
        if language_of(text) is Language.ZH:
            style = style.clone(f"{style.name}-cjk", wordWrap="CJK")
        return Paragraph(markup(text), style)


def _labelled(label: Message, value: str, language: Language) -> str:
    return Message("output.labelled", label=label, value=value).text(language)


def _above(answer: Answer, question: str, facts: PageFacts, text: _Text) -> Iterator[Flowable]:
    """What stands above the picture."""
    language = answer.language
    yield text.paragraph(f"{MANUFACTURER}: {Message('page.title').text(language)}", _TITLE)
    patient = ((Message("page.patient"), facts.patient), (Message("page.patient_id"), facts.patient_id))
    yield text.paragraph(" | ".join(_labelled(label, value, language) for label, value in patient), _BODY)
    about = ["" if answer.image.modality is None else modality_name(answer.image.modality, language)]
    about += [facts.study_date, facts.instance]
    if answer.image.frame is not None:
        about.append(Message("page.frame", number=answer.image.frame + 1).text(language))
    yield text.paragraph(_labelled(Message("page.image"), " | ".join(filter(None, about)), language), _BODY)
    asked = question or answer.reading or KIND_NAMES[answer.task].text(language)
    yield text.paragraph(_labelled(Message("page.question"), asked, language), _BODY)
    yield text.paragraph(_labelled(Message("page.answer"), answer.text, language), _BODY)
    if question and (aside := answer.not_regarded):
        yield text.paragraph(Message("answer.not_regarded", words=[*aside]).text(language), _BODY)
    yield Spacer(0, 2 * mm)


def _below(answer: Answer, text: _Text) -> Iterator[Flowable]:
    """What stands below the picture."""
    language = answer.language
    rows = list(region_rows(answer))
    if rows:
        yield _table(rows[:MOST_ROWS], language, text)
    if len(rows) > MOST_ROWS:
        yield text.paragraph(Message("page.more_regions", count=len(rows) - MOST_ROWS).text(language), _CELL)
    if any(row.is_best_guess for row in rows[:MOST_ROWS]):
        yield text.paragraph(Message("page.best_guess").text(language), _CELL)
    for figure in figures_of_all(answer):
        yield text.paragraph(figure.text(language), _CELL)
    for warning in answer.warnings:
        yield text.paragraph(Message("output.warning", warning=warning).text(language), _CELL)


def _table(rows: Sequence[RegionRow], language: Language, text: _Text) -> Table:
    headings = [_NUMBER, _REGION.text(language), *(heading.text(language) for heading, _ in rows[0].figures)]
    cells = [[text.paragraph(heading, _SMALL) for heading in headings]]
    for row in rows:
        label = f"{row.label} ?" if row.is_best_guess else row.label
        values = [str(row.number + 1), label, *(figure for _, figure in row.figures)]
        cells.append([text.paragraph(value, _CELL) for value in values])
    longest = [max(len(row.figures[place][1]) for row in rows) + 4 for place in range(len(headings) - 2)]
    widths = [8 * mm, 44 * mm, *((_WIDTH - 52 * mm) * length / sum(longest) for length in longest)]
    lines = [("LINEBELOW", (0, 0), (-1, 0), 0.6, colors.black), ("LINEBELOW", (0, 1), (-1, -1), 0.2, colors.grey)]
    marks = [("LINEBEFORE", (0, k + 1), (0, k + 1), 3, colors.HexColor(_colour(row))) for k, row in enumerate(rows)]
    edges = [(edge, (0, 0), (-1, -1), 1.2) for edge in ("TOPPADDING", "BOTTOMPADDING")]
    style = TableStyle([*lines, *marks, *edges, ("VALIGN", (0, 0), (-1, -1), "TOP")])
    return Table(cells, widths, style=style, spaceAfter=1.5 * mm)


def _colour(row: RegionRow) -> str:
    """The colour that the region has in the picture."""
    return COLOURS[row.number % len(COLOURS)]


def _foot(answer: Answer, facts: PageFacts) -> Iterator[str]:
    language, model = answer.language, answer.model
    yield Message(
        "page.package", name=model.name, version=model.version, precision=model.precision, sha256=model.sha256
    ).text(language)
    time = facts.made.astimezone().strftime("%Y-%m-%d %H:%M:%S %z")
    yield Message("page.made", time=time, program=f"{MANUFACTURER} {__version__}").text(language)


def _picture(picture: Image.Image, aspect: tuple[float, float], height: float) -> Picture:
    """The picture as large as the page's width and a height allow; pixels of it that are not square keep their shape."""
    reduced = picture.convert("RGB")
    reduced.thumbnail((_MOST_PIXELS, _MOST_PIXELS), Image.Resampling.LANCZOS)
    file = io.BytesIO()
    reduced.save(file, format="JPEG", quality=_QUALITY, subsampling=0)  # thin coloured lines stay sharp
    file.seek(0)
    across, down = reduced.width * aspect[1], reduced.height * aspect[0]
    scale = min(_WIDTH / across, height / down)
    return Picture(file, across * scale, down * scale)


def _height(part: Flowable) -> float:
    return float(part.wrap(_WIDTH, _HEIGHT)[1]) + float(part.getSpaceBefore()) + float(part.getSpaceAfter())


def _draw(canvas: Canvas, parts: Sequence[Flowable], bottom: float, height: float) -> None:
    """Draw parts from the top of an area of the page's width, all of them smaller where they are too high together."""
    kept = KeepInFrame(_WIDTH, height, list(parts), mode="shrink", mergeSpace=False)
    frame = Frame(_MARGIN, bottom, _WIDTH, height, leftPadding=0, rightPadding=0, topPadding=0, bottomPadding=0)
    frame.addFromList([kept], canvas)


def _locale(language: Language) -> str:
    return {Language.EN: "en", Language.ZH: "zh-CN"}[language]
