"""What `medrega model info` shows of a certificate."""

from __future__ import annotations

import json

import pytest

from medrega_edge.errors import PackageError
from medrega_edge.package.certificate import lines
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
SIGNED = {
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


def test_all_of_it_is_shown() -> None:
    shown = "\n".join(lines(SIGNED))
    assert shown.count("detect  ") == 2 and shown.count("classify") == 1  # no IoU where there is none
    for words in (
        "14 questions",
        "0.500  0.480    +0.020 (-0.010 to +0.050)  12.5%",
        "2 to wrong, 1 to right",
        "cdcdcdcdcdcd  detect zh  1.00 -> 0.25",
        "at most 0.05",
        "model.safetensors",
        "layers.0.qkv, 8 bits",
    ):
        assert words in shown, words


def test_one_without_accuracy_says_why() -> None:
    shown = lines(SIGNED | {"accuracy": None, "reason": "no questions were given"})
    assert shown[0].endswith("not measured, no questions were given")


def test_the_default_package_has_one() -> None:
    assert lines(json.loads(find_package(None).text("certificate")))


@pytest.mark.parametrize("broken", [{}, SIGNED | {"stages": []}, SIGNED | {"worst": [{}]}, SIGNED | {"items": None}])
def test_another_shape_is_refused(broken: dict[str, object]) -> None:
    with pytest.raises(PackageError, match="certificate"):
        lines(broken)


def test_in_short_it_is_the_figures_over_all_kinds_of_image() -> None:
    shown = "\n".join(lines(SIGNED, whole=False))
    assert "0.500  0.480" in shown and "layers.0.qkv" in shown
    for words in ("classify", "worst", "at most", "efef"):
        assert words not in shown, words
