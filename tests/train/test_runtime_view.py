"""The runtime shows the tower what it was trained on: the pixels of the clean view."""

from pathlib import Path

import numpy as np
import pytest

from medrega_edge.domain import Modality
from medrega_edge.evaluation.records import Record
from medrega_edge.images.medical_image import MedicalImage
from medrega_edge.images.preprocess import Preprocessing, preprocess
from medrega_train.tower_views import FILL, clean_view

SIDE = 96
SETTINGS = Preprocessing(SIDE, (FILL / 255,) * 3, (128 / 255,) * 3, "pad")


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize(("width", "height"), [(200, 133), (61, 190), (96, 96), (50, 50), (333, 20), (97, 95)])
def test_both_draw_the_same_square(width, height, channels):
    pixels = np.random.default_rng(0).integers(0, 256, (height, width, channels)).astype(np.uint8)
    record = Record("r", "d", Path("x.png"), Modality.CT, width, height)
    view = clean_view(record, pixels[..., 0] if channels == 1 else pixels, SIDE)
    whole = np.ascontiguousarray(np.broadcast_to(pixels, (height, width, 3)))
    values, geometry = preprocess(MedicalImage(whole, None), SETTINGS)
    shown = values[0].transpose(1, 2, 0) * 128 + FILL
    assert np.abs(shown - view.pixels.reshape(SIDE, SIDE, channels)).max() < 0.01
    assert geometry.extent == pytest.approx(view.extent)
