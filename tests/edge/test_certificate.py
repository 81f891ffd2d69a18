"""Certificates of every version are read; what `medrega model info` shows of them."""

from __future__ import annotations

import dataclasses
import json

import pytest
from rich.cells import cell_len

from medrega_edge import engine as home
from medrega_edge.answer import Certified
from medrega_edge.domain import Language, Modality
from medrega_edge.errors import PackageError
from medrega_edge.i18n.message import Message
from medrega_edge.output.certificate_text import certificate_lines
from medrega_edge.package.certificate import read
from medrega_edge.package.registry import find_package

FIGURE = {"reference": 0.5, "package": 0.48, "loss": 0.02, "interval": [-0.01, 0.05]}
ENTRY = {
    "task": "detect",
    "language": "zh",
    "modality": None,
    "n": 7,
    "mean_iou": FIGURE,
    "accuracy": FIGURE,
    "flipped": 0.125,
}
MEASURED = {
    "accuracy": [ENTRY, ENTRY | {"task": "classify", "modality": "ct", "mean_iou": None}],
    "reason": None,
    "items": {"count": 14, "sha256": "ab" * 32},
    "flips": [{"to": "wrong"}, {"to": "right"}, {"to": "wrong"}],
    "worst": [{"item": "cd" * 32, "task": "detect", "language": "zh", "modality": None, "score": [1.0, 0.25]}],
    "stages": {"vision_int8": {"error": 0.0123, "limit": 0.05}, "gptq": {"error": 0.1, "limit": None}},
    "packages": {"package": {"vision": "ef" * 32}},
    "weights": {"model.safetensors": "12" * 32},
    "code": "34" * 32,
    "recipe": {"overrides": [{"unit": "layers.0.qkv", "bits": 8, "group": 32}]},
}


def shown(certificate, whole=True, language=Language.EN) -> str:
    return "\n".join(certificate_lines(read(json.dumps(certificate)), language, whole))


def test_all_of_it_is_shown() -> None:
    text = shown(MEASURED)
    assert text.count("detect  ") == 2 and text.count("classify") == 1  # no IoU where there is none
    for words in (
        "14 questions",
        "0.500  0.480    +0.020 (-0.010 to +0.050)  12.5%",
        "2 to wrong, 1 to right",
        "cdcdcdcdcdcd  detect zh  1.00 -> 0.25",
        "at most 0.05",
        "model.safetensors",
        "layers.0.qkv, 8 bits",
    ):
        assert words in text, words


def test_in_chinese_the_columns_stand_below_each_other() -> None:
    lines = shown(MEASURED, language=Language.ZH).splitlines()
    header, row = lines[2:4]
    assert "全精度" in header and "全部" in row
    cells = [cell_len(line[: line.index(text)]) for line, text in ((header, "全精度"), (row, "0.500"))]
    assert cells[0] == cells[1]
    assert "detect" in row  # a name that people type


def test_one_without_accuracy_says_why() -> None:
    assert "no questions were given" in shown(MEASURED | {"accuracy": None, "reason": "no questions were given"})


def test_the_default_package_has_one() -> None:
    assert read(find_package(None).text("certificate")).accuracy


@pytest.mark.parametrize(
    "older",
    [
        {"accuracy": None, "stages": {}, "reason": "the reference of a certificate"},
        {"schema_version": 1, "accuracy": None, "reason": "random weights", "stages": {}},
        {key: value for key, value in MEASURED.items() if key not in ("flips", "worst", "weights", "code", "recipe")},
        MEASURED | {"accuracy": [{key: value for key, value in ENTRY.items() if key != "flipped"}]},
        MEASURED | {"accuracy": [ENTRY | {"accuracy": None, "rouge_l": FIGURE}], "added": {"later": 1}},
    ],
)
def test_certificates_of_other_versions_are_read(older: dict[str, object]) -> None:
    assert shown(older)


@pytest.mark.parametrize(
    ("broken", "code", "key"),
    [
        ({}, "package.missing_key", "accuracy"),
        (MEASURED | {"stages": []}, "package.wrong_value", "stages"),
        (MEASURED | {"worst": [{}]}, "package.missing_key", "worst.0.item"),
        (MEASURED | {"items": 3}, "package.wrong_value", "items"),
        (MEASURED | {"accuracy": [ENTRY | {"n": "7"}]}, "package.wrong_value", "accuracy.0.n"),
    ],
)
def test_another_shape_is_refused(broken: dict[str, object], code: str, key: str) -> None:
    with pytest.raises(PackageError) as error:
        read(json.dumps(broken))
    assert error.value.message == Message(code, file="certificate.json", key=key)


def test_in_short_it_is_the_figures_over_all_kinds_of_image() -> None:
    text = shown(MEASURED, whole=False)
    assert "0.500  0.480" in text and "layers.0.qkv" in text
    for words in ("classify", "lost most", "at most", "efef"):
        assert words not in text, words


def test_an_answer_whose_only_box_is_left_out_has_no_accuracy(engine, scan, monkeypatch):
    measured = Certified(0.9, 34, "liver", Modality.MRI)
    monkeypatch.setattr(home.Engine, "_certified", lambda self, answer: measured)
    assert engine.detect(scan, "liver").model.certified == measured
    monkeypatch.setattr(home, "finished", lambda task, answer, least: dataclasses.replace(answer, regions=()))
    assert engine.detect(scan, "liver").model.certified is None
