"""The decoder of masks is tuned on true masks, in boxes that err, and is told what is in them."""

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from medrega_edge.boxes import PixelBox  # noqa: E402
from medrega_train import mask_tuning  # noqa: E402
from medrega_train.lite_medsam import GRID, SIDE, WIDTH, MaskDecoder  # noqa: E402
from medrega_train.mask_tuning import MaskObject, Tuning, in_square, jittered, measured, named_labels  # noqa: E402

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
