"""The region head: where is what was asked for? One pass over the tower's maps answers with four distributions.

The three maps are joined on the middle grid, see each other there, and are refined on the finest grid. A query reads the
joined map and becomes ten directions. Four say how much each place looks like the left, upper, right and lower edge: summed
along the other axis they are distributions over bins, whose median is the coordinate of an object with one box. The fifth
says whether a place lies inside, the sixth whether it is the centre of a box, the last four how far the box then reaches:
the peaks of the centres are the boxes of an object with several, dozens in the same pass. A query is any vector, so it can
be a label's embedding or a language model's hidden state.

Boxes are fractions `[x1, y1, x2, y2]` of the square picture, 0..1.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

EDGES = 4
INSIDE, CENTRE = EDGES, EDGES + 1  # numbers of directions; the distances follow
DIRECTIONS = CENTRE + 1 + EDGES
EDGE_AXES = (1, 0, 1, 0)  # x1, y1, x2, y2: an x edge keeps the columns, a y edge the rows
LEAST, OVERLAP = 0.3, 0.5  # probability of a centre, and IoU of two boxes, where an object has several

_GROUPS = 8
_ATTENTION_HEADS = 4
_READS = 2
_POSITION_GRID = 24
_INSIDE_BIAS = -2.0  # most places lie outside
_CENTRE_BIAS = -4.0  # and nearly all are no centre
_DISTANCE_SCALE = 0.1  # of the side: a common distance from centre to edge
_DISTANCE_RANGE = (-4.0, 3.0)


@dataclass(frozen=True)
class RegionLogits:
    """What the head says of Q queries.

    `edges` `[B, Q, 4, bins]`, `inside` and `centres` `[B, Q, bins, bins]` and `presence` `[B, Q]` are logits. `distances`
    `[B, Q, 4, bins, bins]` are fractions of the side, from the middle of a place to the left, upper, right and lower edge.
    """

    edges: Tensor
    inside: Tensor
    presence: Tensor
    centres: Tensor
    distances: Tensor

    @property
    def boxes(self) -> Tensor:
        """The medians of the four distributions, `[B, Q, 4]`."""
        return interpolated_median(self.edges.softmax(-1))


class ResidualBlock(nn.Module):
    """Two 3x3 convolutions, each behind a group norm, around which the input is added."""

    def __init__(self, width: int) -> None:
        """`width` is the number of channels."""
        super().__init__()
        self.body = nn.Sequential(
            nn.GroupNorm(_GROUPS, width),
            nn.ReLU(),
            nn.Conv2d(width, width, 3, padding=1),
            nn.GroupNorm(_GROUPS, width),
            nn.ReLU(),
            nn.Conv2d(width, width, 3, padding=1),
        )

    def forward(self, x: Tensor) -> Tensor:
        """`[B, width, H, W]` -> the same shape."""
        refined: Tensor = self.body(x)
        return x + refined


class MapReader(nn.Module):
    """A query looks at every place of the map: cross attention, then a small network."""

    def __init__(self, width: int) -> None:
        """`width` is that of queries and map."""
        super().__init__()
        self.before = nn.LayerNorm(width)
        self.ask = nn.Linear(width, width)
        self.offer = nn.Linear(width, 2 * width)
        self.take = nn.Linear(width, width)
        self.think = nn.Sequential(nn.LayerNorm(width), nn.Linear(width, 2 * width), nn.ReLU(), nn.Linear(2 * width, width))

    def forward(self, queries: Tensor, places: Tensor) -> Tensor:
        """`queries` `[B, Q, width]`, `places` `[B, P, width]` -> `[B, Q, width]`."""

        def heads(x: Tensor) -> Tensor:
            return x.unflatten(-1, (_ATTENTION_HEADS, -1)).transpose(1, 2)

        keys, values = self.offer(places).chunk(2, dim=-1)
        seen = F.scaled_dot_product_attention(heads(self.ask(self.before(queries))), heads(keys), heads(values))
        queries = queries + self.take(seen.transpose(1, 2).flatten(2))
        thought: Tensor = self.think(queries)
        return queries + thought


class RegionHead(nn.Module):
    """Maps at stride 8, 16, 32 and queries -> RegionLogits. Bins are the columns and rows of the map at stride 8."""

    def __init__(self, map_widths: tuple[int, ...], query_width: int, width: int = 128, fine_width: int = 64) -> None:
        """`map_widths` are the tower's; `query_width` is that of whatever asks."""
        super().__init__()
        self.norms = nn.ModuleList(nn.GroupNorm(_GROUPS, w) for w in map_widths)
        self.join = nn.Conv2d(sum(map_widths), width, 1)
        self.positions = nn.Parameter(torch.randn(1, width, _POSITION_GRID, _POSITION_GRID) * 0.02)
        self.before, self.after = ResidualBlock(width), ResidualBlock(width)
        self.overview = nn.TransformerEncoderLayer(
            width, _ATTENTION_HEADS, 2 * width, dropout=0.0, batch_first=True, norm_first=True
        )
        self.place_norm = nn.LayerNorm(width)
        self.fine_detail = nn.Conv2d(map_widths[0], fine_width, 1)
        self.fine_context = nn.Conv2d(width, fine_width, 1)
        self.fine = ResidualBlock(fine_width)
        self.query = nn.Sequential(nn.LayerNorm(query_width), nn.Linear(query_width, width))
        self.readers = nn.ModuleList(MapReader(width) for _ in range(_READS))
        self.directions = nn.Sequential(nn.LayerNorm(width), nn.Linear(width, DIRECTIONS * fine_width))
        self.presence = nn.Sequential(nn.LayerNorm(width), nn.Linear(width, 1))
        self.inside_bias = nn.Parameter(torch.tensor(_INSIDE_BIAS))
        self.centre_bias = nn.Parameter(torch.tensor(_CENTRE_BIAS))

    def forward(self, maps: tuple[Tensor, Tensor, Tensor], queries: Tensor) -> RegionLogits:
        """`queries` `[B, Q, query_width]`; the picture, and so each map, is square."""
        return self.answer(*self.read(maps), queries)

    def answer(self, places: Tensor, fine: Tensor, queries: Tensor) -> RegionLogits:
        """Ask about maps that were read: `queries` `[B, Q, query_width]`."""
        asked = self.query(queries)
        for reader in self.readers:
            asked = reader(asked, places)
        directions = self.directions(asked).unflatten(-1, (DIRECTIONS, -1))
        scores = torch.einsum("bqed,bdhw->bqehw", directions, fine).float() * fine.shape[1] ** -0.5
        edges = torch.stack([scores[:, :, e].logsumexp(dim=2 + (axis == 0)) for e, axis in enumerate(EDGE_AXES)], dim=2)
        return RegionLogits(
            edges=edges,
            inside=scores[:, :, INSIDE] + self.inside_bias,
            presence=self.presence(asked).squeeze(-1).float(),
            centres=scores[:, :, CENTRE] + self.centre_bias,
            distances=_DISTANCE_SCALE * scores[:, :, CENTRE + 1 :].clamp(*_DISTANCE_RANGE).exp(),
        )

    def read(self, maps: tuple[Tensor, Tensor, Tensor]) -> tuple[Tensor, Tensor]:
        """What does not depend on the query: places `[B, P, width]` at stride 16, the fine map at stride 8."""
        # In channels-last order torch 2.13 crashes where a group norm's input needs no gradient: a tower that stands still.
        detail, middle, overview = (norm(a_map.contiguous()) for norm, a_map in zip(self.norms, maps, strict=True))
        size = middle.shape[-2:]
        resized = [F.avg_pool2d(detail, 2), middle, F.interpolate(overview, size=size, mode="bilinear")]
        joined = self.join(torch.cat(resized, dim=1)) + F.interpolate(self.positions, size=size, mode="bilinear")
        joined = self.before(joined)
        small = F.avg_pool2d(joined, 2)
        tokens = small.flatten(2).transpose(1, 2)
        told = (self.overview(tokens) - tokens).transpose(1, 2).reshape(small.shape)
        joined = self.after(joined + F.interpolate(told, size=size, mode="bilinear"))
        context = F.interpolate(self.fine_context(joined), size=detail.shape[-2:], mode="bilinear")
        return self.place_norm(joined.flatten(2).transpose(1, 2)), self.fine(self.fine_detail(detail) + context)


def interpolated_median(probabilities: Tensor) -> Tensor:
    """Where half of the mass lies to the left: distributions `[..., bins]` over 0..1 -> `[...]`.

    Inside a bin the mass is spread evenly.
    """
    bins = probabilities.shape[-1]
    reached = probabilities.cumsum(-1)
    number = (reached < 0.5).sum(-1, keepdim=True).clamp(max=bins - 1)
    inside = probabilities.gather(-1, number)
    before = reached.gather(-1, number) - inside
    share = ((0.5 - before) / inside.clamp(min=1e-9)).clamp(0.0, 1.0)
    return ((number + share) / bins).squeeze(-1)


def edge_targets(coordinates: Tensor, bins: int) -> Tensor:
    """Spread each coordinate `[...]` over the two bins whose centres are nearest, `[..., bins]`; each row sums to 1."""
    place = (coordinates * bins - 0.5).clamp(0.0, bins - 1.0)
    lower = place.floor().clamp(max=bins - 2)
    share = (place - lower).unsqueeze(-1)
    low = F.one_hot(lower.long(), bins).to(place.dtype)
    return low * (1 - share) + low.roll(1, dims=-1) * share


def edge_loss(logits: Tensor, boxes: Tensor, distance_weight: float = 0.3) -> Tensor:
    """Loss of edges `[..., 4, bins]` against boxes `[..., 4]`, one value a box.

    Cross-entropy wants the right bin; the ranked probability score (in bins) makes a near miss cheaper than a far one.
    """
    target = edge_targets(boxes, logits.shape[-1])
    log_probabilities = logits.log_softmax(-1)
    entropy = -(target * log_probabilities).sum(-1)
    distance = (log_probabilities.exp() - target).cumsum(-1).square().sum(-1)
    return (entropy + distance_weight * distance).mean(-1)


def inside_loss(logits: Tensor, coverage: Tensor) -> Tensor:
    """Cross-entropy and dice loss of maps `[N, H, W]` against the covered share of each place, one value a map."""
    share = logits.sigmoid()
    overlap, total = (share * coverage).sum((-1, -2)), (share + coverage).sum((-1, -2))
    dice = 1 - (2 * overlap + 1) / (total + 1)
    return F.binary_cross_entropy_with_logits(logits, coverage, reduction="none").mean((-1, -2)) * 2 + dice


def centre_loss(logits: Tensor, heat: Tensor) -> Tensor:
    """Focal loss of centre maps `[N, H, W]` against bumps of height 1 at the centres, one value a map.

    It is divided by the number of centres, as CornerNet (Law and Deng, 2018) does it.
    """
    share = logits.sigmoid()
    peak = heat >= 1.0
    there = (1 - share).square() * F.logsigmoid(logits)
    elsewhere = (1 - heat).pow(4) * share.square() * F.logsigmoid(-logits)
    total = torch.where(peak, there, elsewhere).sum((-1, -2))
    return -total / peak.sum((-1, -2)).clamp(min=1)


def boxes_at(rows: Tensor, columns: Tensor, distances: Tensor, bins: int) -> Tensor:
    """The boxes `[n, 4]` that places claim by rows and columns `[n]` and distances `[n, 4]`; fractions of the side."""
    centres = torch.stack([columns, rows, columns, rows], dim=-1)
    return (centres + 0.5) / bins + distances * distances.new_tensor([-1.0, -1.0, 1.0, 1.0])


def peak_boxes(centres: Tensor, distances: Tensor, least: float, overlap: float) -> tuple[Tensor, Tensor]:
    """Boxes `[n, 4]` and probabilities `[n]` of one query, best first.

    They stand where the probability `[H, W]` is the largest of its 3 x 3 neighbours and at least `least`. Of two boxes
    whose IoU exceeds `overlap` the better one stays.
    """
    top = F.max_pool2d(centres[None, None], 3, 1, 1)[0, 0]
    rows, columns = torch.nonzero((centres == top) & (centres >= least), as_tuple=True)
    order = centres[rows, columns].argsort(descending=True, stable=True)
    rows, columns = rows[order], columns[order]
    boxes = boxes_at(rows, columns, distances[:, rows, columns].T, centres.shape[-1])
    stays: list[int] = []
    for i in range(len(boxes)):
        others = boxes[stays]
        if not stays or float(_iou(others, boxes[i]).max()) <= overlap:
            stays.append(i)
    return boxes[stays], centres[rows, columns][stays]


def _iou(boxes: Tensor, box: Tensor) -> Tensor:
    low, high = torch.maximum(boxes[:, :2], box[:2]), torch.minimum(boxes[:, 2:], box[2:])
    both = (high - low).clamp(min=0).prod(-1)
    union = (boxes[:, 2:] - boxes[:, :2]).prod(-1) + (box[2:] - box[:2]).prod(-1) - both
    return both / union.clamp(min=1e-9)
