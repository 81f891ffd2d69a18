"""From a full-precision InternVL checkpoint to a model package: quantise, write graphs, measure, sign off."""

from medrega_edge.i18n.message import register
from medrega_edge.quiet import hush

register(__name__)
hush()
