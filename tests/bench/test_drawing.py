"""Charts: which marks they have, that matplotlib draws them where their values are, and when a picture is out of date."""

import re
import warnings
from xml.etree import ElementTree

import pytest

from medrega_bench.evaluation.results import ConfidenceBin
from medrega_bench.reports import drawing
from medrega_bench.reports.charts import FrontierPoint, bars, frontier, reliability
from medrega_bench.reports.model import Drawn

SVG = "{http://www.w3.org/2000/svg}"
EVIL = "<script>alert(1)</script>\u202e"


def point(x, y, text="p", **more):
    return FrontierPoint(x, (x - 1, x + 1), y, (y - 0.1, y + 0.1), text, **more)


def drawn(chart, across="questions a second", up="mean IoU, %"):
    return Drawn(chart, across, up)


def marks(chart):
    """The marks of a drawn chart: their words, and where their paths begin or stand."""
    root = ElementTree.fromstring(drawing.svg(drawn(chart), alone=True))
    groups = [element for element in root.iter(f"{SVG}g") if element.get("class") == "mark"]
    return [(group.findtext(f"{SVG}title"), group.find(f".//{SVG}use")) for group in groups]


def test_marks_lie_where_their_values_are():
    (_, low), (_, high) = marks(frontier([point(1.0, 0.1), point(10.0, 0.5)]))
    assert float(low.get("x")) < float(high.get("x"))
    assert float(low.get("y")) > float(high.get("y"))  # up is less in SVG
    ((text, corner),) = marks(reliability([ConfidenceBin(4, 1.0, 1.0)]))
    assert text == "1.00, 1.00, n = 4"
    assert (float(corner.get("x")), float(corner.get("y"))) == (620, 16)


def test_without_a_value_there_is_no_chart():
    assert frontier([]) is reliability([]) is bars([]) is bars([("a", None)]) is None


def test_a_bar_is_as_long_as_its_value_and_keeps_its_number():
    chart = bars([("a", 10.0), ("b", None), ("c", 40.0)])
    assert [(mark.y, mark.x) for mark in chart.marks] == [(1, 10.0), (3, 40.0)]
    root = ElementTree.fromstring(drawing.svg(drawn(chart, up=""), alone=True))
    groups = [element for element in root.iter(f"{SVG}g") if element.get("class") == "mark"]
    widths = []
    for group in groups:
        xs = [float(x) for x in re.findall(r"[ML] (\S+) \S+", group.find(f"{SVG}path").get("d"))]
        widths.append(max(xs) - min(xs))
    assert widths[1] == pytest.approx(4 * widths[0], rel=1e-4)
    texts = [element.text for element in root.iter(f"{SVG}text")]
    assert {"1", "3", "10", "40"} <= set(texts) and "2" not in texts


def test_the_same_chart_is_the_same_text_and_chinese_stays_text():
    one = drawn(frontier([point(1.0, 0.1), point(2.0, 0.2, is_reference=True)]), "每秒问题数", "平均 IoU（%）")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        text = drawing.svg(one)
    assert text == drawing.svg(one)
    assert ">每秒问题数</text>" in text and "font-family" not in text


def test_what_others_named_is_text_in_a_picture():
    text = drawing.svg(drawn(frontier([point(1.0, 0.1, EVIL + "$x^2$")])))
    assert "<script" not in text and "\u202e" not in text and "$x^2$" in text


def test_a_picture_alone_is_legible_on_dark_paper_and_names_no_file():
    text = drawing.svg(drawn(frontier([point(1.0, 0.1)])), alone=True)
    assert "prefers-color-scheme: dark" in text and "currentColor" in text
    assert not re.search(r"href=\"(?!#)|url\(", text)
    assert "<metadata" not in text and "matplotlib" not in text.casefold()


def test_a_picture_is_out_of_date_when_what_it_shows_changed_and_not_when_its_bytes_did():
    before, after = drawn(frontier([point(1.0, 0.1)])), drawn(frontier([point(1.0, 0.1000001)]))
    text = drawing.svg(before, alone=True)
    assert drawing.fingerprint_in(text) == drawing.fingerprint(before) != drawing.fingerprint(after)
    assert drawing.fingerprint_in(text.replace("0.25", "0.250")) == drawing.fingerprint(before)
    assert drawing.fingerprint_in("<svg/>") is None


def test_numbers_of_marks_that_lie_together_do_not_lie_on_each_other():
    text = drawing.svg(drawn(frontier([point(50.0, 0.5), point(50.0, 0.5), point(50.1, 0.501)])))
    places = re.findall(r'x="(\S+)" y="(\S+)"[^>]*>([123])</text>', text)
    assert sorted(number for *_, number in places) == ["1", "2", "3"]
    assert len({(x, y) for x, y, _ in places}) == 3
