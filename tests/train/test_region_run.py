"""A run with a region head: slices, stages, the pool, and a checkpoint that transformers loads."""

import json
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from medrega_edge.boxes import GRID_MAX
from tests.train.test_tower_views import picture

torch = pytest.importorskip("torch")

pytestmark = [pytest.mark.train, pytest.mark.filterwarnings("ignore:Initializing zero-element")]

BOX = [20, 10, 60, 40]


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    folder = tmp_path_factory.mktemp("data")
    (folder / "images").mkdir()
    rows = []
    for number in range(6):
        Image.fromarray(picture(BOX)).save(folder / "images" / f"{number}.png")
        names = [("skin lesion", "皮肤病变", [BOX]), ("cells", "细胞", [BOX, [5, 5, 15, 15]])]
        rows.append({
            "id": str(number), "dataset": "ph2", "image": f"images/{number}.png", "modality": "dermoscopy", "width": 100,
            "height": 60, "split": "val" if number == 5 else "train", "labels": ["common nevus"], "terms": "open",
            "regions": [{"label_en": en, "label_zh": zh, "boxes": boxes, "kind": "lesion"} for en, zh, boxes in names],
        })  # fmt: skip
    (folder / "records.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return folder


def encoder():
    from medrega_edge.prompts.templates import DEFAULT_PROMPTS
    from medrega_train.language_samples import Encoder
    from medrega_train.questions import all_texts
    from medrega_train.tokens import train_tokenizer
    from tests.train.test_questions import RECORDS

    return Encoder(train_tokenizer(all_texts(RECORDS), 512), DEFAULT_PROMPTS, 4)


def test_the_query_stands_where_the_first_coordinate_follows():
    from medrega_edge.domain import Language, Task
    from medrega_train.questions import QuestionAnswer

    coder = encoder()
    text = "<ref>cells</ref><box>[[1, 2, 30, 444], [7, 8, 90, 999]]</box>"
    encoded = coder.question(QuestionAnswer(Task.DETECT, Language.EN, "locate the cells", text))
    ((position, boxes),) = encoded.objects
    assert boxes == [[1, 2, 30, 444], [7, 8, 90, 999]]
    opening = coder.opening("locate the cells", "cells")
    assert encoded.ids[: position + 1] == opening
    absent = coder.absent("liver")
    assert absent.objects == [(len(absent.ids) - 1, [])] and set(absent.target) == {-100}


def test_a_box_in_a_question_is_pooled_where_it_ends():
    from medrega_edge.domain import Language, Task
    from medrega_train.questions import QuestionAnswer
    from medrega_train.region_targets import pooling

    coder = encoder()
    text = "What is in <box>[[0, 0, 500, 999]]</box>, and in <box>[[1, 2, 3, 4], [5, 6, 7, 8]]</box>?"
    encoded = coder.question(QuestionAnswer(Task.IDENTIFY, Language.EN, text, "liver"))
    assert [boxes for _, boxes in encoded.shown] == [[[0, 0, 500, 999]], [[1, 2, 3, 4], [5, 6, 7, 8]]]
    assert all(encoded.ids[position] == coder._close for position, _ in encoded.shown) and not encoded.objects
    share = pooling(np.array([[0, 0, 0.5, 1]], np.float32), 4).reshape(4, 4)
    assert share.sum() == pytest.approx(1) and (share[:, :2] == 1 / 8).all()
    # The runtime pools alike, and finds the same lists of boxes.
    from medrega_edge.inference.region_head import RegionMaps
    from medrega_edge.inference.region_tokens import RegionTokens
    from medrega_edge.inference.tokenizer import Tokenizer

    rng = np.random.default_rng(0)
    boxes = np.sort(rng.random((3, 2, 2)), axis=1).reshape(3, 4).astype(np.float32)
    tokens = rng.normal(size=(1, 36, 8)).astype(np.float32)
    maps = RegionMaps(tokens, tokens, tokens)
    np.testing.assert_allclose(maps.pooled(boxes.tolist()), pooling(boxes, 6) @ tokens[0], atol=1e-5)
    runtime = RegionTokens.of(Tokenizer(coder._tokenizer.to_str()), (0,))
    assert runtime.box_lists(encoded.ids) == encoded.shown


def test_boxes_relative_to_the_image_become_fractions_of_the_square(data):
    from medrega_edge.evaluation.records import read_records
    from medrega_train.language_samples import _square_fractions
    from medrega_train.padded_views import PaddedViews
    from medrega_train.questions import grid_region

    views = PaddedViews(list(read_records(data)), 64, 0)
    _, view = views.clean(0)
    assert view.extent == pytest.approx((1.0, 0.6), abs=0.02)
    (box,) = grid_region("", view.regions[0].boxes).boxes
    assert box.as_list() == pytest.approx([200, 167, 599, 667], abs=12)
    found = _square_fractions([box.as_list()], view.extent)[0]
    assert found == pytest.approx(np.array([0.2, 0.1, 0.6, 0.4]), abs=0.01)
    for number in range(30):  # the outline of an augmented view is that of its picture
        _, drawn, _ = views.draw(number)
        _, outline = views.outline(number)
        assert drawn.extent == outline.extent
        for mine, other in zip(drawn.regions, outline.regions, strict=True):
            np.testing.assert_array_equal(mine.boxes, other.boxes)
            assert mine.boxes.max() <= 1.0 and GRID_MAX == 999


@pytest.mark.slow
def test_a_run_in_slices_writes_a_checkpoint_with_a_region_head(data, tmp_path):
    from safetensors.torch import load_file
    from transformers import InternVLForConditionalGeneration

    from medrega_train import region_run
    from medrega_train.presets import PRESETS
    from medrega_train.run import RunOptions

    preset = PRESETS["lite-smoke"]
    options = RunOptions(data, tmp_path / "run", workers=0)
    assert region_run.train("lite-smoke", preset, replace(options, minutes=1e-4)) is None  # a slice that ends at once
    folder = region_run.train("lite-smoke", preset, options)
    model = InternVLForConditionalGeneration.from_pretrained(folder)
    tower = load_file(tmp_path / "run" / "tower" / "tower_and_head.safetensors")
    stem = model.model.vision_tower.stem.weight
    torch.testing.assert_close(stem, tower["tower.stem.weight"].float())  # the tower stood still
    head = load_file(folder / "region_head.safetensors")
    assert head["query.1.weight"].shape == (128, 64)
    torch.testing.assert_close(head["join.weight"], tower["regions.join.weight"].float())
    assert head["pooled_region.weight"].shape == (64, 128)
    assert not torch.equal(head["directions.1.weight"], tower["regions.directions.1.weight"].float())
    facts = json.loads((folder / "training.json").read_text("utf-8"))
    assert set(facts["region_head"]) == {"several", "overlap"}
    log = [json.loads(line) for line in (tmp_path / "run" / "instruct" / "log.jsonl").read_text().splitlines()]
    assert {"words", "edges", "centres", "presence", "val_iou"} <= set(log[-1])
