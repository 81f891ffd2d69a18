"""The region head as ONNX nodes, in two parts: what needs only the image, and a graph of its own for what needs a query.

The first part ends the vision graph: the tower's maps are joined at stride 16 and refined at stride 8. In the second a
query becomes directions, whose products with the fine map are scores of places: edges, centres, distances. All is float32.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from medrega_export.checkpoint.region_head import DIRECTIONS, EDGES, READS, RegionHead
from medrega_export.graphs.graph import ACCURACY_LEVEL, Graph, model_file
from medrega_export.graphs.layer_writer import LayerWriter, ReadWeight
from medrega_export.graphs.stage_writer import float_info

PLACES, FINE = "region_places", "region_fine"  # outputs of the vision graph, inputs of the head's
TOKENS = "region_tokens"  # a further output of the vision graph
QUERY = "query"
EDGES_OUTPUT, PRESENCE, CENTRES, DISTANCES = "edges", "presence", "centres", "distances"

_GROUPS = 8
_ATTENTION_HEADS = 4
_CENTRE = EDGES + 1  # number of a direction; the distances follow
_DISTANCE_SCALE = 0.1  # of the side: a common distance from centre to edge
_DISTANCE_RANGE = (-4.0, 3.0)
_COLUMN_EDGES, _ROW_EDGES = (0, 2), (1, 3)  # left and right edge are columns, upper and lower rows
_EDGE_ORDER = (0, 2, 1, 3)  # of both, one behind the other: left, upper, right, lower


def write_region_maps(graph: Graph, read: ReadWeight, head: RegionHead, sides: Sequence[int], maps: Sequence[str]) -> None:
    """Add the outputs PLACES, FINE and TOKENS to a vision graph; `maps` are the tower's, finest first, of these `sides`."""
    _MapsWriter(graph, read).write(head, sides, maps)


class _MapsWriter(LayerWriter):
    """Writes the part that does not depend on the query."""

    def write(self, head: RegionHead, sides: Sequence[int], maps: Sequence[str]) -> None:
        fine, middle, coarse = sides
        detail, other, overview = (
            self.group_norm(f"norms.{i}", name, _GROUPS, side)
            for i, (name, side) in enumerate(zip(maps, sides, strict=True))
        )
        parts = [self.pooled("regions.detail", detail, 2), other, self.resized("regions.overview", overview, coarse, middle)]
        joined = self.convolution_of("join", self.node("Concat", parts, "regions.maps", axis=1))
        positions = self.constant("positions", self.read("positions"))
        placed = self.resized("regions.positions", positions, head.position_grid, middle)
        joined = self.residual("before", self.node("Add", [joined, placed], "regions.placed"), middle)
        small = self.pooled("regions.small", joined, 2)
        seen = self.resized("regions.seen", self.see(head, small, middle // 2), middle // 2, middle)
        joined = self.residual("after", self.node("Add", [joined, seen], "regions.overseen"), middle)
        context = self.resized("regions.context", self.convolution_of("fine_context", joined), middle, fine)
        refined = self.node("Add", [self.convolution_of("fine_detail", detail), context], "regions.refined")
        self.rename(self.residual("fine", refined, fine), FINE)
        places = self.layer_norm("place_norm", "place_norm", self.flattened("places", joined, head.width))
        self.rename(places, PLACES)
        self.rename(self.linear_of("pooled_region", places), TOKENS)

    def rename(self, name: str, output: str) -> None:
        self.node("Identity", [name], output)

    def residual(self, name: str, source: str, side: int) -> str:
        """Two convolutions, each behind a group norm, around which the input is added."""
        inner = source
        for norm, conv in ((0, 2), (3, 5)):
            normed = self.group_norm(f"{name}.body.{norm}", inner, _GROUPS, side)
            active = self.node("Relu", [normed], f"{name}.body.{norm}.active")
            inner = self.convolution_of(f"{name}.body.{conv}", active)
        return self.node("Add", [source, inner], f"{name}.sum")

    def see(self, head: RegionHead, small: str, side: int) -> str:
        """What a transformer layer adds to the places `[B, width, side, side]`."""
        places = self.flattened("overview", small, head.width)
        normed = self.layer_norm("overview.norm1", "overview.norm1", places)
        weights, biases = (self.read(f"overview.self_attn.in_proj_{kind}") for kind in ("weight", "bias"))
        thirds = zip(("queries", "keys", "values"), np.split(weights, 3), np.split(biases, 3), strict=True)
        queries, keys, values = (self.dense(f"overview.{part}", normed, weight, bias) for part, weight, bias in thirds)
        mixed = self.attend("overview.mixed", queries, keys, values, _ATTENTION_HEADS)
        told = self.linear_of("overview.self_attn.out_proj", mixed)
        attended = self.node("Add", [places, told], "overview.attended")
        inner = self.linear_of("overview.linear1", self.layer_norm("overview.norm2", "overview.norm2", attended))
        more = self.linear_of("overview.linear2", self.node("Relu", [inner], "overview.active"))
        both = self.node("Add", [told, more], "overview.both")
        turned = self.node("Transpose", [both], "overview.turned", perm=[0, 2, 1])
        return self.node("Reshape", [turned, self.whole("overview.grid", 0, head.width, side, side)], "overview.seen")


def write_region_head(head: RegionHead, sides: Sequence[int], read: ReadWeight, path: Path) -> None:
    """Write the graph that answers queries to `path`.

    `query` float32 `[1, Q, query_width]`, `region_places` and `region_fine` as the vision graph gives them -> `edges`
    `[1, Q, 4, bins]`, each a distribution; `presence` `[1, Q]` and `centres` `[1, Q, bins, bins]`, probabilities;
    `distances` `[1, Q, 4, bins, bins]`, fractions of the side. `sides` are those of the tower's maps; `bins` is the first.
    """
    bins, middle, _ = sides
    inputs = [
        float_info(QUERY, 1, "queries", head.query_width),
        float_info(PLACES, 1, middle**2, head.width),
        float_info(FINE, 1, head.fine_width, bins, bins),
    ]
    outputs = [
        float_info(EDGES_OUTPUT, 1, "queries", EDGES, bins),
        float_info(PRESENCE, 1, "queries"),
        float_info(CENTRES, 1, "queries", bins, bins),
        float_info(DISTANCES, 1, "queries", EDGES, bins, bins),
    ]
    with model_file(path, ACCURACY_LEVEL, inputs, outputs) as graph:
        _HeadWriter(graph, read).write(head, bins)


class _HeadWriter(LayerWriter):
    """Writes the part that depends on the query."""

    def write(self, head: RegionHead, bins: int) -> None:
        asked = self.linear_of("query.1", self.layer_norm("query.0", "query.0", QUERY))
        for i in range(READS):
            asked = self.reader(f"readers.{i}", asked)
        logit = self.linear_of("presence.1", self.layer_norm("presence.0", "presence.0", asked))
        flat = self.node("Squeeze", [logit, self.whole("last_axis", -1)], "presence.logit")
        self.node("Sigmoid", [flat], PRESENCE)
        scores = self.scores(head, asked, bins)
        self.edges(scores)
        centre = self.node("Gather", [scores, self.scalar("centre", _CENTRE)], "centre.score", axis=2)
        biased = self.node("Add", [centre, self.constant("centre_bias", self.read("centre_bias"))], "centre.logit")
        self.node("Sigmoid", [biased], CENTRES)
        self.distances(scores)

    def scalar(self, name: str, value: int) -> str:
        return self.graph.constant(name, np.array(value, np.int64))

    def reader(self, name: str, queries: str) -> str:
        """A query looks at every place, then passes a small network."""
        asked = self.linear_of(f"{name}.ask", self.layer_norm(f"{name}.before", f"{name}.before", queries))
        weights, biases = (np.split(self.read(f"{name}.offer.{kind}"), 2) for kind in ("weight", "bias"))
        keys = self.dense(f"{name}.keys", PLACES, weights[0], biases[0])
        values = self.dense(f"{name}.values", PLACES, weights[1], biases[1])
        seen = self.attend(f"{name}.seen", asked, keys, values, _ATTENTION_HEADS)
        queries = self.node("Add", [queries, self.linear_of(f"{name}.take", seen)], f"{name}.taken")
        inner = self.linear_of(f"{name}.think.1", self.layer_norm(f"{name}.think.0", f"{name}.think.0", queries))
        thought = self.linear_of(f"{name}.think.3", self.node("Relu", [inner], f"{name}.active"))
        return self.node("Add", [queries, thought], f"{name}.sum")

    def scores(self, head: RegionHead, asked: str, bins: int) -> str:
        """Products of directions and places: `[1, Q, DIRECTIONS, bins, bins]`."""
        directions = self.linear_of("directions.1", self.layer_norm("directions.0", "directions.0", asked))
        rows = self.node("Reshape", [directions, self.whole("directions.rows", 0, -1, head.fine_width)], "directions")
        places = self.node("Reshape", [FINE, self.whole("fine.flat", 0, head.fine_width, bins**2)], "fine.places")
        products = self.node("MatMul", [rows, places], "scores.products")
        scale = self.constant("scores.scale", np.array(head.fine_width**-0.5))
        scaled = self.node("Mul", [products, scale], "scores.scaled")
        return self.node("Reshape", [scaled, self.whole("scores.shape", 1, -1, DIRECTIONS, bins, bins)], "scores")

    def edges(self, scores: str) -> None:
        """Sum each edge's scores along the other axis, in logarithms, and make a distribution of them."""
        logits = []
        for name, numbers, axis in (("columns", _COLUMN_EDGES, 3), ("rows", _ROW_EDGES, 4)):
            chosen = self.node("Gather", [scores, self.whole(name, *numbers)], f"edges.{name}", axis=2)
            axes = self.whole(f"edges.{name}.axis", axis)
            logits.append(self.node("ReduceLogSumExp", [chosen, axes], f"edges.{name}.logits", keepdims=0))
        both = self.node("Concat", logits, "edges.both", axis=2)
        ordered = self.node("Gather", [both, self.whole("edges.order", *_EDGE_ORDER)], "edges.logits", axis=2)
        self.node("Softmax", [ordered], EDGES_OUTPUT, axis=-1)

    def distances(self, scores: str) -> None:
        numbers = self.whole("distance.numbers", *range(_CENTRE + 1, DIRECTIONS))
        chosen = self.node("Gather", [scores, numbers], "distance.scores", axis=2)
        bounds = [self.constant(f"distance.{i}", np.array(value)) for i, value in enumerate(_DISTANCE_RANGE)]
        bounded = self.node("Clip", [chosen, *bounds], "distance.bounded")
        scale = self.constant("distance.scale", np.array(_DISTANCE_SCALE))
        self.node("Mul", [self.node("Exp", [bounded], "distance.factors"), scale], DISTANCES)
