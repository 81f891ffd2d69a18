"""Training makes a mask head from true masks, in boxes that err."""

import json

import numpy as np
import pytest
from PIL import Image

torch = pytest.importorskip("torch")

from safetensors import safe_open  # noqa: E402
from safetensors.torch import load_file, save_file  # noqa: E402

from medrega_edge.boxes import PixelBox  # noqa: E402
from medrega_edge.errors import UsageError  # noqa: E402
from medrega_edge.evaluation.records import read_records  # noqa: E402
from medrega_edge.evaluation.true_masks import read_mask_lines  # noqa: E402
from medrega_edge.inference.mask_head import cut_out, spread, surroundings  # noqa: E402
from medrega_train import mask_training  # noqa: E402
from medrega_train.efficientnet_lite import EfficientNetLite  # noqa: E402
from medrega_train.mask_crops import CUT, Cut, cuts, erring, varied, views, within  # noqa: E402
from medrega_train.mask_network import MARGIN, PLACES, SIDE, MaskNetwork  # noqa: E402
from medrega_train.mask_training import FILE, TRAINED_ON, Training, TrainingOptions, train  # noqa: E402
from tests.codes import raises_code  # noqa: E402

pytestmark = [pytest.mark.train, pytest.mark.slow]
TRUE = np.array([[0.0, 0.0, 1.0, 1.0]])
TOWER = "tower_and_head.safetensors"
BOX = PixelBox(100, 80, 300, 180)


@pytest.fixture
def folders(tmp_path):
    """An image with one bright object that fills its box; returns data and masks."""
    data, masks = tmp_path / "data", tmp_path / "masks"
    for folder in (data / "images", masks):
        folder.mkdir(parents=True)
    values = np.zeros((400, 500), np.uint8)
    values[80:180, 100:300] = 1
    Image.fromarray(values * 200).save(data / "images" / "a.png")
    Image.fromarray(values).save(masks / "a.png")
    region = {"label_en": "liver", "label_zh": "肝脏", "kind": "organ", "boxes": [list(BOX)]}
    record = {"id": "a", "dataset": "toy", "image": "images/a.png", "modality": "mri", "width": 500, "height": 400}
    (data / "records.jsonl").write_text(json.dumps(record | {"split": "train", "regions": [region]}), "utf-8")
    (masks / "masks.jsonl").write_text(json.dumps({"id": "a", "mask": "a.png", "values": {"liver": 1}}), "utf-8")
    return data, masks


def cuts_of(folders):
    data, masks = folders
    return list(cuts(list(read_records(data)), read_mask_lines(masks), masks))


def test_a_view_of_the_true_box_is_what_the_runtime_reads(folders):
    (cut,) = cuts_of(folders)
    assert (cut.label, cut.pixels.shape, cut.mask.shape) == ("liver", (CUT, CUT, 3), (CUT, CUT))
    pixels, masks = views([cut], TRUE)
    image = np.asarray(Image.open(folders[0] / "images" / "a.png"))
    seen = spread(cut_out(image, surroundings(BOX, MARGIN, 500, 400), SIDE)) * 255
    assert np.abs(pixels[0].numpy() - seen).mean() < 2
    edge = round(PLACES * MARGIN / (1 + 2 * MARGIN))  # places between the edge of the square and that of the box
    assert masks[0, edge + 1 : -edge - 1, edge + 1 : -edge - 1].min() == 1 and masks[0, : edge - 1].max() == 0


def test_a_view_of_a_box_that_is_too_far_right_shows_the_object_further_left(folders):
    (cut,) = cuts_of(folders)
    (_, true), (_, moved) = (views([cut], TRUE + shift) for shift in (0.0, np.array([[0.2, 0, 0.2, 0]])))
    columns = [float((mask[0].sum(0) * torch.arange(PLACES)).sum() / mask.sum()) for mask in (true, moved)]
    assert columns[0] - columns[1] == pytest.approx(0.2 * PLACES / (1 + 2 * MARGIN), abs=0.5)


def test_each_box_of_a_name_has_what_lies_in_it():
    inside = np.ones((10, 10), np.bool_)
    assert within(inside, PixelBox(2, 3, 4.5, 5)).sum() == 3 * 2


def test_edges_err_in_proportion_to_the_box():
    random = np.random.default_rng(0)
    moved = erring(400, random, (0.1,)) - TRUE
    assert np.allclose(moved.std(axis=0), 0.1, rtol=0.2) and np.abs(moved).max() < 0.301
    assert (erring(3, random, (0.0,)) == TRUE).all()


def test_a_mask_is_mirrored_and_turned_as_its_square_is():
    half = np.zeros((CUT, CUT), np.uint8)
    half[: CUT // 2, : CUT // 3] = 255
    pixels, masks = views([Cut("toy", "liver", np.stack([half] * 3, -1), half)], TRUE)
    for seed in range(12):
        seen, mask = varied(pixels, masks, np.random.default_rng(seed))
        small = torch.nn.functional.avg_pool2d(seen, SIDE // PLACES)[0, 0]
        assert small[mask[0] > 0.99].mean() > small[mask[0] < 0.01].mean() + 50


def test_training_lowers_the_loss_and_ends_with_the_steps(folders, monkeypatch):
    monkeypatch.setattr(mask_training, "BATCH", 2)
    monkeypatch.setattr(mask_training, "_EACH", 4)
    run = Training(MaskNetwork(), cuts_of(folders), steps=12)
    losses = [value for _, value in run.run(minutes=60)]
    assert run.step == 12 and losses[-1] < losses[0]


def test_the_rate_ends_with_the_time_or_the_steps():
    run = Training(MaskNetwork(), [], steps=1000)
    run.step = 600
    assert run.share_of_rate(0.99) < run.share_of_rate(0.7) < run.share_of_rate(0.5) == run.share_of_rate(0.0)
    run.step = 1000
    assert run.share_of_rate(0.0) == pytest.approx(0.01)


@pytest.mark.parametrize(("file", "prefix"), mask_training.TOWERS.items())
def test_a_run_starts_from_a_tower_and_writes_a_mask_head(folders, tmp_path, file, prefix):
    data, masks = folders
    tower = EfficientNetLite("lite2").state_dict()
    (tmp_path / "start").mkdir()
    save_file({f"{prefix}{name}": value for name, value in tower.items()}, tmp_path / "start" / file)
    written = train(TrainingOptions(data, masks, tmp_path / "start", tmp_path / "out", minutes=60, steps=0))
    with safe_open(written, "pt") as read:
        assert written.name == FILE and read.metadata()[TRAINED_ON] == "1"
    stem = tower["stem.weight"] / (tower["stem.variance"] + 1e-3).sqrt()[:, None, None, None]
    assert torch.allclose(load_file(written)["tower.stem.weight"].float(), stem, atol=1e-3)


def test_a_run_without_any_mask_is_refused(folders, tmp_path):
    data, masks = folders
    (masks / "masks.jsonl").write_text("", "utf-8")
    save_file({f"tower.{name}": value for name, value in EfficientNetLite("lite2").state_dict().items()}, tmp_path / TOWER)
    with raises_code(UsageError, "train.masks_and_start"):
        train(TrainingOptions(data, masks, tmp_path, tmp_path / "out", minutes=60))


def test_a_checkpoint_without_such_a_tower_is_refused(tmp_path):
    with raises_code(UsageError, "train.no_lite2_tower"):
        train(TrainingOptions(tmp_path, tmp_path, tmp_path, tmp_path, minutes=1))
