"""The region head of a checkpoint: the file of its weights, its sizes, and the names and shapes of its weights."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

FILE = "region_head.safetensors"
EDGES = 4
DIRECTIONS = 2 * EDGES + 2  # edges, inside, centre, distances
READS = 2  # how often a query looks at the places


@dataclass(frozen=True)
class RegionHead:
    """Sizes of a region head. `map_widths` are the channels of the tower's maps, `query_width` is that of who asks."""

    map_widths: tuple[int, ...]
    query_width: int
    width: int
    fine_width: int
    position_grid: int

    @property
    def weight_shapes(self) -> dict[str, tuple[int, ...]]:
        """Shapes of the weights by name."""
        width, fine = self.width, self.fine_width
        shapes: dict[str, tuple[int, ...]] = {
            "join.weight": (width, sum(self.map_widths), 1, 1),
            "join.bias": (width,),
            "positions": (1, width, self.position_grid, self.position_grid),
            "fine_detail.weight": (fine, self.map_widths[0], 1, 1),
            "fine_detail.bias": (fine,),
            "fine_context.weight": (fine, width, 1, 1),
            "fine_context.bias": (fine,),
            "overview.self_attn.in_proj_weight": (3 * width, width),
            "overview.self_attn.in_proj_bias": (3 * width,),
            "inside_bias": (),
            "centre_bias": (),
        }
        norms = {f"norms.{i}": channels for i, channels in enumerate(self.map_widths)}
        norms |= {"overview.norm1": width, "overview.norm2": width, "place_norm": width, "query.0": self.query_width}
        norms |= {"directions.0": width, "presence.0": width}
        linears = {
            "overview.self_attn.out_proj": (width, width),
            "overview.linear1": (2 * width, width),
            "overview.linear2": (width, 2 * width),
            "query.1": (width, self.query_width),
            "pooled_region": (self.query_width, width),
            "directions.1": (DIRECTIONS * fine, width),
            "presence.1": (1, width),
        }
        for name, channels in (("before", width), ("after", width), ("fine", fine)):
            norms |= {f"{name}.body.{i}": channels for i in (0, 3)}
            for i in (2, 5):
                shapes[f"{name}.body.{i}.weight"] = (channels, channels, 3, 3)
                shapes[f"{name}.body.{i}.bias"] = (channels,)
        for name in (f"readers.{i}" for i in range(READS)):
            norms |= {f"{name}.before": width, f"{name}.think.0": width}
            linears |= {f"{name}.ask": (width, width), f"{name}.offer": (2 * width, width), f"{name}.take": (width, width)}
            linears |= {f"{name}.think.1": (2 * width, width), f"{name}.think.3": (width, 2 * width)}
        for name, channels in norms.items():
            shapes |= {f"{name}.weight": (channels,), f"{name}.bias": (channels,)}
        for name, (rows, columns) in linears.items():
            shapes |= {f"{name}.weight": (rows, columns), f"{name}.bias": (rows,)}
        return shapes


def read_sizes(weights: Mapping[str, Any], map_widths: tuple[int, ...], query_width: int) -> RegionHead:
    """Read the sizes that the weights themselves choose; 0 where the weight is missing that has one."""

    def size(name: str, axis: int) -> int:
        shape = weights[name].shape if name in weights else ()
        return int(shape[axis]) if axis < len(shape) else 0

    return RegionHead(map_widths, query_width, size("join.weight", 0), size("fine_detail.weight", 0), size("positions", 2))
