"""Turn a full-precision InternVL checkpoint into a quantised model package with a certificate.

    from medrega_export import ExportOptions, export

    report = export(ExportOptions(checkpoint, out, calibration=questions))

- `export`, `ExportOptions`, `ExportReport`: a whole export. Needs the extra [export].
- `Recipe`, `Override`, `FULL`, `fitting_group`: how many bits each part of a model gets. Needs nothing further.
- `write_decoder`, `DecoderShape`, `DecoderWeights`, `DecoderLayer`, `PackedLinear`: the graph of a language model from numpy
  arrays. Needs onnx; neither torch nor gptqmodel.
- `write_prefill`: its second graph, for the prefix of an image, likewise.
- `write_vision_graph`, `VisionShape`: the graph of a vision tower, likewise.

These names are public; `medrega bench` builds its random packages and its sweep with them. Importing this package loads none
of them: each arrives when it is first used.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

from medrega_edge.i18n.message import register

if TYPE_CHECKING:
    from medrega_export.graphs.decoder import DecoderLayer, DecoderShape, DecoderWeights, write_decoder
    from medrega_export.graphs.linear_layers import PackedLinear
    from medrega_export.graphs.prefill import write_prefill
    from medrega_export.graphs.vision_graph import VisionShape, write_vision_graph
    from medrega_export.options import ExportOptions
    from medrega_export.pipeline import ExportReport, export
    from medrega_export.quantisation.recipe import FULL, Override, Recipe, fitting_group

__all__ = [
    "FULL",
    "DecoderLayer",
    "DecoderShape",
    "DecoderWeights",
    "ExportOptions",
    "ExportReport",
    "Override",
    "PackedLinear",
    "Recipe",
    "VisionShape",
    "export",
    "fitting_group",
    "write_decoder",
    "write_prefill",
    "write_vision_graph",
]

_HOMES = {
    "FULL": "quantisation.recipe",
    "DecoderLayer": "graphs.decoder",
    "DecoderShape": "graphs.decoder",
    "DecoderWeights": "graphs.decoder",
    "ExportOptions": "options",
    "ExportReport": "pipeline",
    "Override": "quantisation.recipe",
    "PackedLinear": "graphs.linear_layers",
    "Recipe": "quantisation.recipe",
    "VisionShape": "graphs.vision_graph",
    "export": "pipeline",
    "fitting_group": "quantisation.recipe",
    "write_decoder": "graphs.decoder",
    "write_prefill": "graphs.prefill",
    "write_vision_graph": "graphs.vision_graph",
}

register(__name__)
for _name in ("torchao", "torch.utils._pytree"):  # they warn of GPU kernels that nothing here uses
    logging.getLogger(_name).setLevel(logging.ERROR)


def __getattr__(name: str) -> Any:
    """Import a public name when it is first used; raises ImportError where its extra is not installed."""
    if name in _HOMES:
        from importlib import import_module

        return getattr(import_module(f"medrega_export.{_HOMES[name]}"), name)
    raise AttributeError(f"module 'medrega_export' has no attribute '{name}'")
