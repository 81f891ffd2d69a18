"""The region head reads coordinates off distributions, whoever asks, and learns to."""

import pytest

torch = pytest.importorskip("torch")

from medrega_train.dense_head import plain_iou  # noqa: E402
from medrega_train.region_head import (  # noqa: E402
    RegionHead,
    edge_loss,
    edge_targets,
    inside_loss,
    interpolated_median,
)

pytestmark = pytest.mark.train

BINS = 16
WIDTHS = (16, 24, 32)


@pytest.mark.parametrize(
    ("probabilities", "median"),
    [
        ([0, 1, 0, 0], 0.375),  # all mass in one bin: its middle
        ([0, 0.5, 0.5, 0], 0.5),  # halves: the border between them
        ([0.25, 0.25, 0.25, 0.25], 0.5),
        ([0.1, 0.8, 0.1, 0], 0.375),
        ([0.75, 0.25, 0, 0], 0.5 / 0.75 / 4),
        ([0.5, 0, 0, 0.5], 0.25),
    ],
)
def test_the_median_lies_where_half_of_the_mass_is_passed(probabilities, median):
    assert interpolated_median(torch.tensor(probabilities).float()).item() == pytest.approx(median, abs=1e-6)


def test_a_coordinate_is_spread_over_the_two_nearest_bins():
    targets = edge_targets(torch.tensor([0.0, 0.5 / BINS, 1.0 / BINS, 0.4, 1.0]), BINS)
    assert torch.allclose(targets.sum(-1), torch.ones(5))
    assert (targets > 0).sum(-1).tolist() == [1, 1, 2, 2, 1]
    assert targets[2, :2].tolist() == [0.5, 0.5]
    assert targets[4, -1] == 1


def test_the_median_of_a_target_is_its_coordinate():
    coordinates = torch.linspace(0.5 / BINS, 1 - 0.5 / BINS, 101)
    error = interpolated_median(edge_targets(coordinates, BINS)) - coordinates
    assert error.abs().max() < 0.1 / BINS


def test_a_near_miss_costs_less_than_a_far_one():
    box = torch.tensor([[0.25, 0.25, 0.75, 0.75]])
    missed = [torch.log(edge_targets(box + shift, BINS) + 1e-4) for shift in (0.0, 0.1, 0.2)]
    hit, near, far = (edge_loss(logits, box).item() for logits in missed)
    assert hit < near < far


def maps(side=64, batch=2):
    generator = torch.Generator().manual_seed(0)
    shapes = [(batch, w, side // s, side // s) for w, s in zip(WIDTHS, (8, 16, 32), strict=True)]
    return tuple(torch.randn(shape, generator=generator) for shape in shapes)


@pytest.mark.parametrize("query_width", [8, 40])
@pytest.mark.parametrize("side", [64, 96])
def test_any_query_and_any_side_will_do(query_width, side):
    head = RegionHead(WIDTHS, query_width, width=32, fine_width=16)
    said = head(maps(side), torch.randn(2, 3, query_width))
    assert said.edges.shape == (2, 3, 4, side // 8)
    assert said.inside.shape == (2, 3, side // 8, side // 8)
    assert said.presence.shape == (2, 3)
    assert ((said.boxes >= 0) & (said.boxes <= 1)).all()


def test_an_answer_does_not_depend_on_what_else_is_asked():
    head = RegionHead(WIDTHS, 8, width=32, fine_width=16).eval()
    queries = torch.randn(2, 3, 8)
    together, alone = head(maps(), queries), head(maps(), queries[:, 1:2])
    assert torch.allclose(together.edges[:, 1:2], alone.edges, atol=1e-5)
    assert torch.allclose(together.presence[:, 1:2], alone.presence, atol=1e-5)


def test_the_head_learns_where_bright_squares_are():
    torch.manual_seed(0)
    head = RegionHead(WIDTHS, 8, width=32, fine_width=16)
    boxes = torch.tensor([[[0.25, 0.125, 0.5, 0.75]], [[0.5, 0.5, 0.875, 1.0]]])
    seen = maps()
    for a_map in seen:
        grid = a_map.shape[-1]
        for i, (x1, y1, x2, y2) in enumerate(boxes[:, 0].tolist()):
            a_map[i, :, int(y1 * grid) : int(y2 * grid), int(x1 * grid) : int(x2 * grid)] += 3.0
    queries = torch.ones(2, 1, 8)
    optimizer = torch.optim.AdamW(head.parameters(), lr=3e-3)
    for _ in range(60):
        loss = edge_loss(head(seen, queries).edges, boxes).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert plain_iou(head.eval()(seen, queries).boxes, boxes).min() > 0.7


def test_the_inside_loss_wants_the_covered_share():
    coverage = torch.zeros(1, 4, 4)
    coverage[:, 1:3, 1:3] = 1.0
    right, wrong = (coverage * 2 - 1) * 8, (1 - coverage * 2) * 8
    assert inside_loss(right, coverage).item() < 0.05 < 2 < inside_loss(wrong, coverage).item()
