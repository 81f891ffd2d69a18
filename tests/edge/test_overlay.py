import io
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image
from rich.console import Console

from medrega_edge.answer import Answer, ImageFacts, Label, ModelFacts, Region, Timings
from medrega_edge.boxes import PixelBox
from medrega_edge.domain import Language
from medrega_edge.errors import UsageError
from medrega_edge.i18n.message import Message
from medrega_edge.images.medical_image import MedicalImage
from medrega_edge.io.safe_text import printable
from medrega_edge.output import overlay
from medrega_edge.output.overlay import COLOURS, draw_answer, save_png
from medrega_edge.output.terminal import print_answer
from tests.codes import raises_code


def answer(*regions, language=Language.EN):
    return Answer(
        text="x", raw_text="x", task="detect", language=language, regions=regions, labels=(),
        image=ImageFacts(None, 100, 50, None, None, None, "0"), model=ModelFacts("m", "1", "0", "p"), device="cpu",
        finish="stop", prompt_tokens=1, generated_tokens=1, timings=Timings(),
    )  # fmt: skip


IMAGE = MedicalImage(np.full((50, 100, 3), 90, np.uint8), "0")


def printed(an_answer, width=80):
    console = Console(file=io.StringIO(), width=width)
    print_answer(an_answer, console)
    return console.file.getvalue()


def test_classes_come_with_their_score_and_warnings_in_the_language_of_the_answer():
    one = replace(answer(language=Language.ZH), labels=(Label("骨折", 0.612),), warnings=(Message("task.no_answer"),))
    assert "置信度：0.61\n警告：模型没有给出答案\n" in printed(one)
    assert "score: 0.61\nwarning: the model gave no answer\n" in printed(replace(one, language=Language.EN))


def test_what_no_region_has_is_no_column():
    box = PixelBox(1.0, 2.0, 3.0, 4.0)
    assert "score" in printed(answer(Region("liver", box, 0.5), Region("spleen", box, None)))
    assert "score" not in printed(answer(Region("liver", box, None)))


@pytest.mark.parametrize("width", [20, 40, 80])
def test_no_width_hides_a_name_or_a_figure(width):
    localised = answer(Region("右侧竖脊肌", PixelBox(1020.0, 10.0, 1060.0, 40.0), 0.5), language=Language.ZH)
    localised = replace(localised, image=replace(localised.image, spacing_mm=(0.5, 1.0)))
    words = "".join(printed(localised, width).split())
    for figure in ("[1]", "右侧竖脊肌", "1020,10,1060,40", "20x30", "0.50"):
        assert figure in words


def near(pixels, colour):
    wanted = np.array([int(colour[i : i + 2], 16) for i in (1, 3, 5)])
    return np.abs(pixels.astype(int) - wanted).sum(axis=2) < 40


def test_boxes_are_drawn_where_they_are():
    picture = draw_answer(IMAGE, answer(Region("liver", PixelBox(20.0, 10.0, 60.0, 40.0), 0.5)))
    scale = picture.width / IMAGE.width
    ys, xs = np.nonzero(near(np.asarray(picture), COLOURS[0]))
    inside = (ys > 9 * scale) & (ys < 41 * scale)
    assert abs(xs[inside].min() - 20 * scale) <= 4
    assert abs(xs[inside].max() - 60 * scale) <= 4


def test_many_names_do_not_cover_each_other():
    regions = [Region(f"region {i}", PixelBox(20.0, 10.0, 60.0, 40.0), None) for i in range(5)]
    picture = np.asarray(draw_answer(IMAGE, answer(*regions)))
    for colour in COLOURS[:5]:
        assert near(picture, colour).sum() > 50


def test_of_a_crowd_the_first_has_the_name_and_the_others_their_number(monkeypatch):
    written = []
    monkeypatch.setattr(
        overlay, "_draw_name", lambda draw, font, number, name, *_: written.append((number, name)) or (0,) * 4
    )
    crowd = [Region("cell", PixelBox(i, 0.0, i + 1.0, 4.0), 0.9) for i in range(overlay.MOST_NAMED)]
    crowd.append(Region("cell", PixelBox(50.0, 0.0, 51.0, 4.0), 0.2))
    draw_answer(IMAGE, answer(*crowd, Region("liver", PixelBox(20.0, 10.0, 60.0, 40.0), 0.5)))
    count = len(crowd)
    assert written == [
        (0, f"cell 0.90 ×{count}"),
        *((n, "") for n in range(1, count - 1)),
        (count - 1, "?"),
        (count, "liver 0.50"),
    ]


def test_chinese_names_have_glyphs():
    """A font without the glyph draws the same empty box for every character."""
    pictures = [
        np.asarray(draw_answer(IMAGE, answer(Region(name, PixelBox(20.0, 10.0, 60.0, 40.0), None), language=Language.ZH)))
        for name in "肝脾肾"
    ]
    assert not np.array_equal(pictures[0], pictures[1])
    assert not np.array_equal(pictures[1], pictures[2])


def test_the_notice_is_on_the_picture():
    with_notice = np.asarray(draw_answer(IMAGE, answer()))
    assert with_notice[-20:].max() > 200


def test_a_place_that_cannot_be_written_leaves_nothing(tmp_path):
    with raises_code(UsageError, "io.no_output_folder"):
        save_png(Image.new("RGB", (9, 9)), tmp_path / "nowhere" / "x.png")
    (tmp_path / "x.png").mkdir()
    with raises_code(UsageError, "io.not_a_plain_file"):
        save_png(Image.new("RGB", (9, 9)), tmp_path / "x.png")
    with raises_code(UsageError, "output.not_png"):
        save_png(Image.new("RGB", (9, 9)), tmp_path / "x.gif")
    assert [path.name for path in tmp_path.iterdir()] == ["x.png"]


def test_controls_never_reach_the_terminal():
    assert printable("a\x1b[31m\x07\u202eb\n肝") == "a [31m  b\n肝"
