"""The runtime reads boxes from the region head's outputs as training and evaluation do."""

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from medrega_edge.inference import region_head as runtime
from medrega_train import region_head as training


@pytest.mark.parametrize("seed", range(20))
def test_medians_are_the_same(seed):
    distributions = np.random.default_rng(seed).dirichlet(np.full(48, 0.05 * (seed + 1)), 4).astype(np.float32)
    told = [runtime.interpolated_median(each) for each in distributions]
    assert told == pytest.approx(training.interpolated_median(torch.from_numpy(distributions)).tolist(), abs=1e-5)


@pytest.mark.parametrize("seed", range(20))
def test_peaks_are_the_same_boxes(seed):
    rng = np.random.default_rng(seed)
    centres = rng.random((24, 24)).astype(np.float32) ** 4
    distances = rng.uniform(0.01, 0.2, (4, 24, 24)).astype(np.float32)
    rows, columns = runtime.peaks(centres, 0.4)
    boxes = runtime.boxes_at(rows, columns, distances)
    kept = runtime.suppress(boxes, 0.5)
    expected, probabilities = training.peak_boxes(torch.from_numpy(centres), torch.from_numpy(distances), 0.4, 0.5)
    assert len(kept) > 3
    assert np.allclose(boxes[kept], expected.numpy(), atol=1e-6)
    assert centres[rows, columns][kept] == pytest.approx(probabilities.numpy())
