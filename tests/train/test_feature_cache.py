import time

import numpy as np
import pytest
from PIL import Image

from .test_augment import picture, record

pytestmark = pytest.mark.train


@pytest.fixture
def views(tmp_path):
    from dataclasses import replace

    from medrega_train.views import Views

    path = tmp_path / "picture.png"
    Image.fromarray(picture((30, 40, 70, 64))).save(path)
    records = [replace(record(area, (30, 40, 70, 64)), image=path) for area in ("torso", "head", "skin")]
    return Views(records, 32, seed=5)


def evenly(_record):
    return 1.0


def brightness(pictures):
    return {"tokens": pictures.mean(dim=(2, 3))[:, None, :]}  # [B, 1 token, 3]


def test_an_outline_has_the_regions_of_the_picture(views):
    for number in range(40):
        drawn, view, _ = views.draw(number)
        told, outline = views.outline(number)
        assert told is drawn and outline.upright == view.upright
        assert [r.label_en for r in outline.regions] == [r.label_en for r in view.regions]
        for mine, theirs in zip(outline.regions, view.regions, strict=True):
            np.testing.assert_array_equal(mine.boxes, theirs.boxes)


def test_an_interrupted_pool_goes_on_and_holds_what_the_tower_saw(views, tmp_path, monkeypatch):
    from medrega_train import feature_cache
    from medrega_train.feature_cache import FeaturePool, Pictures

    monkeypatch.setattr(feature_cache, "CHUNK", 4)
    later, past = time.monotonic() + 60, 0.0
    cut = FeaturePool(views, tmp_path / "cut", 10, evenly)
    assert not cut.fill(brightness, past, 0) and not cut.fill(brightness, past, 0)
    assert cut.fill(brightness, past, 0)  # the third chunk is the last
    whole = FeaturePool(views, tmp_path / "whole", 10, evenly)
    assert whole.fill(brightness, later, 0)
    pictures = np.array([Pictures(views)[place].mean(axis=(1, 2)) for place in range(10)])
    for number in range(200):
        mine, theirs = cut.draw(number), whole.draw(number)
        np.testing.assert_array_equal(mine[3]["tokens"], theirs[3]["tokens"])
        place = int(np.abs(pictures - mine[3]["tokens"][0]).max(axis=1).argmin())
        np.testing.assert_allclose(mine[3]["tokens"][0], pictures[place], atol=2e-3)
    first, again = whole.draw(3), whole.draw(13)
    assert first[2].integers(2**32) != again[2].integers(2**32)  # other questions, even about the same view


def test_a_view_is_drawn_as_often_as_its_record_weighs(views, tmp_path):
    from medrega_train.feature_cache import FeaturePool

    wanted = views.records[0]
    pool = FeaturePool(views, tmp_path / "pool", 30, lambda record: float(record is wanted))
    assert pool.fill(brightness, time.monotonic() + 60, 0)
    assert {id(record) for record in (pool.draw(number)[0] for number in range(50)) if record} == {id(wanted)}


def test_a_graft_speaks_the_new_tokenizer_with_what_the_old_one_knew():
    import torch
    from tokenizers import decoders

    from medrega_train.model import build_model, graft
    from medrega_train.presets import PRESETS
    from medrega_train.questions import all_texts
    from medrega_train.tokens import END, PAD, train_tokenizer

    from .test_questions import RECORDS

    texts = list(all_texts(RECORDS))
    old, new = train_tokenizer(texts, 400), train_tokenizer([*texts, "tachycardia " * 50], 480)

    def build(tokenizer):
        ids = {"image": 5, "end": tokenizer.token_to_id(END), "pad": tokenizer.token_to_id(PAD)}
        return build_model(PRESETS["smoke"], ids, tokenizer.get_vocab_size())

    other, same, model = build(old), build(old), build(new)
    torch.nn.init.normal_(other.lm_head.weight)
    graft(same, old, other, old)
    for name, tensor in other.state_dict().items():
        assert torch.equal(same.state_dict()[name], tensor), name
    graft(model, new, other, old)
    mine, theirs = model.lm_head.weight, other.lm_head.weight
    token = next(t for t in new.get_vocab() if t not in old.get_vocab() and "tach" in t)
    pieces = old.encode(decoders.ByteLevel().decode([token]), add_special_tokens=False).ids
    assert len(pieces) > 1
    torch.testing.assert_close(mine[new.token_to_id(token)], theirs[pieces].mean(dim=0))
    assert torch.equal(mine[new.token_to_id("7")], theirs[old.token_to_id("7")])
