"""Training tunes the mask decoder on true masks, in boxes that err."""

import json

import numpy as np
import pytest
from PIL import Image

torch = pytest.importorskip("torch")

from safetensors import safe_open  # noqa: E402
from safetensors.torch import load_file, save_file  # noqa: E402

from medrega_edge.boxes import PixelBox  # noqa: E402
from medrega_edge.errors import UsageError  # noqa: E402
from medrega_edge.package.registry import find_package  # noqa: E402
from medrega_train import mask_tuning  # noqa: E402
from medrega_train.lite_medsam import GRID, SIDE, WIDTH, LiteMedSam, MaskDecoder  # noqa: E402
from medrega_train.mask_tuning import (  # noqa: E402
    MaskObject,
    Tuning,
    TuningOptions,
    in_square,
    jittered,
    measured,
    tune,
)
from tests.codes import raises_code  # noqa: E402

pytestmark = [pytest.mark.train, pytest.mark.slow]


def disc(row, label, x, y, radius):
    places = np.arange(SIDE)
    inside = (places[:, None] - y) ** 2 + (places - x) ** 2 < radius**2
    box = np.array([x - radius, y - radius, x + radius, y + radius], np.float32)
    return MaskObject(row, "toy", label, box, np.packbits(inside))


def test_a_mask_lies_in_the_square_as_its_image_does():
    inside = np.zeros((100, 200), np.bool_)
    inside[50:, 100:] = True
    square = in_square(inside)
    assert square[64:128, 128:].all() and square.sum() == 64 * 128


def test_each_box_of_a_name_has_what_lies_in_it():
    inside = np.ones((10, 10), np.bool_)
    assert mask_tuning._within(inside, PixelBox(2, 3, 4.5, 5)).sum() == 3 * 2


def test_boxes_err_in_proportion_to_their_size():
    random = np.random.default_rng(0)
    box = np.array([100, 100, 140, 120], np.float32)
    moved = np.stack([jittered(box, 0.1, random) for _ in range(400)]) - box
    assert np.allclose(moved.std(axis=0), [4, 2, 4, 2], rtol=0.2)
    assert np.array_equal(jittered(box, 0.0, random), box)


def test_training_changes_the_decoder_and_is_measured(monkeypatch):
    monkeypatch.setattr(mask_tuning, "BATCH", 2)
    torch.manual_seed(0)
    features = np.random.default_rng(0).normal(size=(2, WIDTH, GRID, GRID)).astype(np.float16)
    found = [disc(row, "liver", 100, 100, 40) for row in range(2)]
    decoder = MaskDecoder()
    before = decoder.tokens.detach().clone()
    run = Tuning(decoder, features, found, steps=3)
    assert list(run.run(minutes=60)) == [] and run.step == 3  # losses are told every 25 steps
    assert not torch.equal(decoder.tokens, before)
    rows = measured(decoder, features, found)
    assert [row[0].row for row in rows] == [0, 1] and all(0 <= row[1] <= 1 for row in rows)


def test_the_rate_ends_with_the_time_or_the_steps():
    run = Tuning(MaskDecoder(), np.zeros((1, 1, 1, 1), np.float16), [], steps=100)
    run.step = 60
    assert run.rate(0.99) < run.rate(0.7) < run.rate(0.5) == run.rate(0.0)
    run.step = 100
    assert run.rate(0.0) == pytest.approx(mask_tuning.PEAK / 100)


def test_a_run_writes_a_mask_head(tmp_path, monkeypatch):
    monkeypatch.setattr(mask_tuning, "BATCH", 1)
    data, masks, start, out = (tmp_path / name for name in ("data", "masks", "start", "out"))
    for folder in (data / "images", masks, start, out):
        folder.mkdir(parents=True)
    values = np.zeros((60, 80), np.uint8)
    values[20:40, 10:50] = 1
    Image.fromarray(values * 200).save(data / "images" / "a.png")
    Image.fromarray(values).save(masks / "a.png")
    region = {"label_en": "liver", "label_zh": "肝脏", "kind": "organ", "boxes": [[10, 20, 50, 40]]}
    record = {"id": "a", "dataset": "toy", "image": "images/a.png", "modality": "mri", "width": 80, "height": 60}
    (data / "records.jsonl").write_text(json.dumps(record | {"split": "train", "regions": [region]}), "utf-8")
    (masks / "masks.jsonl").write_text(json.dumps({"id": "a", "mask": "a.png", "values": {"liver": 1}}), "utf-8")
    save_file(LiteMedSam().state_dict(), start / mask_tuning.FILE)
    written = tune(TuningOptions(data, masks, start, find_package(), out, minutes=60, steps=1))
    with safe_open(written, "pt") as file:
        assert file.metadata()[mask_tuning.TUNED_ON] == "1"
    start_weights, tuned = load_file(start / mask_tuning.FILE), load_file(written)
    assert tuned.keys() == start_weights.keys()
    assert torch.equal(tuned["encoder.stem.0.weight"], start_weights["encoder.stem.0.weight"].half())
    assert not torch.equal(tuned["decoder.tokens"], start_weights["decoder.tokens"].half())
    again = tune(TuningOptions(data, masks, start, find_package(), out, minutes=60, steps=0))  # from the features on disk
    assert torch.equal(load_file(again)["decoder.tokens"], start_weights["decoder.tokens"].half())


def test_a_checkpoint_without_a_mask_head_is_refused(tmp_path):
    with raises_code(UsageError, "train.no_mask_head"):
        tune(TuningOptions(tmp_path, tmp_path, tmp_path, find_package(), tmp_path, minutes=1))
