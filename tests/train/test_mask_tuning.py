"""The decoder of masks is tuned on true masks, in boxes that err, and is told what is in them."""

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
    named_labels,
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


def test_only_names_of_several_images_get_a_vector():
    found = [disc(row, "liver", 60, 60, 20) for row in range(mask_tuning.FEWEST)] + [disc(0, "rare", 50, 50, 9)] * 9
    assert named_labels(found) == ["liver"]


def test_the_first_step_is_the_decoder_as_it_was_and_training_tells_names_apart(monkeypatch):
    """Two names have the same box and other masks; only the name can tell them apart."""
    monkeypatch.setattr(mask_tuning, "BATCH", 2)
    monkeypatch.setattr(mask_tuning, "FEWEST", 2)
    torch.manual_seed(0)
    features = np.random.default_rng(0).normal(size=(2, WIDTH, GRID, GRID)).astype(np.float16)
    found = []
    for row in range(2):
        whole, half = disc(row, "whole", 100, 100, 40), disc(row, "half", 100, 100, 40)
        mask = half.mask()
        mask[:, :100] = 0
        found += [whole, MaskObject(row, "toy", "half", half.box, np.packbits(mask > 0))]
    assert named_labels(found) == ["half", "whole"]
    decoder, plain = MaskDecoder(labels=2), MaskDecoder()
    for part in (decoder.layers, decoder.doubled, decoder.redoubled):
        part.requires_grad_(False)
    plain.load_state_dict({name: value for name, value in decoder.state_dict().items() if name != "labels"})
    maps, box = torch.from_numpy(features[:1].astype(np.float32)), torch.from_numpy(found[0].box[None])
    with torch.no_grad():
        assert torch.equal(decoder(maps, box, torch.tensor([1]))[0], plain(maps, box)[0])
    run = Tuning(decoder, features, found, steps=3)
    assert list(run.run(minutes=60)) == [] and run.step == 3  # losses are told every 25 steps
    assert not torch.equal(decoder.labels[1], decoder.labels[2])
    rows = measured(decoder, features, found[:2], {"half": 1, "whole": 2})
    assert [row[0].label for row in rows] == ["whole", "half"] and all(0 <= row[1] <= 1 for row in rows)


def test_a_run_writes_a_mask_head_that_knows_names(tmp_path, monkeypatch):
    monkeypatch.setattr(mask_tuning, "BATCH", 1)
    monkeypatch.setattr(mask_tuning, "FEWEST", 1)
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
        assert json.loads(file.metadata()[mask_tuning.LABELS]) == ["liver"]
    tuned = load_file(written)
    assert (
        tuned["decoder.labels"].shape == (2, WIDTH) and tuned.keys() - {"decoder.labels"} == LiteMedSam().state_dict().keys()
    )
    again = tune(TuningOptions(data, masks, start, find_package(), out, minutes=60, steps=0))  # from the features on disk
    assert torch.equal(load_file(again)["decoder.labels"], torch.zeros(2, WIDTH, dtype=torch.float16))


def test_a_checkpoint_without_a_mask_head_is_refused(tmp_path):
    with raises_code(UsageError, "train.no_mask_head"):
        tune(TuningOptions(tmp_path, tmp_path, tmp_path, find_package(), tmp_path, minutes=1))
