import csv
import io
import re
import shutil
import subprocess

import numpy as np
import pytest
from PIL import Image

from medrega_bench.evaluation.paired import compared
from medrega_bench.reports import render
from medrega_bench.reports.document import comparison, document, figures_of
from medrega_edge.domain import NOTICE, NOTICE_ZH, Language

from .handmade import BOX, HALF, many, package, result, row

EVIL = '<script>alert(1)</script>![x](http://x)"\u202e'
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")


def made(language=Language.EN, rows=None, **more):
    half = rows or [*many(HALF), *(row(n, "region_to_text", "spleen", "liver") for n in range(20))]
    full = [*many(), *(row(n, "region_to_text", "liver", "liver") for n in range(20))]
    return document(result(package(half), package(full, "reference", "fp32")), language, **more)


def test_the_page_needs_nothing_else():
    text = render.html(made())
    assert not re.search(r"(src|href)=\"(?!data:|#)|https?:|@import|url\(|<script", text)
    assert "default-src 'none'" in text


@pytest.mark.parametrize(
    ("language", "notice", "word"), [(Language.EN, NOTICE, "Worst"), (Language.ZH, NOTICE_ZH, "准确度与速度")]
)
def test_every_format_carries_the_notice_and_speaks_the_language(language, notice, word):
    one = made(language)
    assert render.html(one).count(notice) >= 2
    assert notice in render.markdown(one)
    assert f'<html lang="{language}">' in render.html(one)
    assert language is Language.EN or word in render.html(one)


def test_figures_stand_in_markdown_and_csv():
    text = render.markdown(made())
    assert r"| detect | English | mean\_iou | 20 | 100.0 | 50.0 | 50.0 (50.0 to 50.0) | yes | 0.0 | 100.0 |" in text
    assert "20 / 20" not in text
    one = result(package(many(HALF)), package(many(), "reference", "fp32"))
    rows = list(csv.DictReader(io.StringIO(render.as_csv(figures_of(one)))))
    loss = next(r for r in rows if (r["section"], r["name"], r["group"]) == ("loss", "mean_iou", ""))
    assert float(loss["value"]) == 0.5
    assert {r["section"] for r in rows} >= {"single_object_single_region", "beside", "loss", "speed"}


def test_what_others_named_is_text_and_nothing_else():
    rows = [row(n, answer=HALF, question=EVIL, modality=EVIL) for n in range(3)]
    shown = document(result(package(rows, name=EVIL)), Language.EN)
    assert "<script" not in render.html(shown)
    assert "\u202e" not in render.html(shown)
    text = render.markdown(shown)
    assert "<script" not in text.replace("\\<script", "")
    assert "![x](" not in text
    assert "\n=1+1" not in render.as_csv(figures_of(result(package(rows, name="=1+1"))))


def picture(folder):
    path = folder / "image.png"
    Image.fromarray(np.full((100, 100, 3), 90, np.uint8)).save(path)
    return path


def test_pictures_are_in_the_page_only_when_they_are_given(tmp_path):
    assert "data:image" not in render.html(made())
    text = render.html(made(pictures={"image3": picture(tmp_path)}))
    assert text.count("data:image/jpeg;base64,") == 1
    assert 'class="true" x="0.0" y="0.0" width="50.0" height="50.0"' in text
    assert 'class="given" x="0.0" y="0.0" width="50.0" height="25.0"' in text
    assert str(tmp_path) not in text


def test_two_results_beside_each_other():
    one = comparison(compared(many(), many("")), Language.EN, ("old", "new"))
    assert "Answers that flipped (20)" in render.html(one)
    assert NOTICE in render.markdown(one)


@pytest.mark.slow
@pytest.mark.skipif(CHROMIUM is None, reason="there is no Chromium here to open the page with")
def test_a_browser_reads_the_figures(tmp_path):
    path = tmp_path / "report.html"
    path.write_text(render.html(made(pictures={"image3": picture(tmp_path)})), encoding="utf-8")
    command = [
        CHROMIUM,
        "--headless",
        "--no-sandbox",
        "--disable-gpu",
        f"--user-data-dir={tmp_path / 'profile'}",
        "--dump-dom",
    ]
    run = subprocess.run([*command, path.as_uri()], capture_output=True, timeout=120, check=True)
    dom = run.stdout.decode()
    assert NOTICE in dom
    assert "<td>50.0 (50.0 to 50.0)</td><td>yes</td>" in dom
    assert dom.count('class="mark"') >= 3  # two points of the frontier, bins of the reliability
    assert dom.count("<figure>") == 1
    assert BOX not in dom
