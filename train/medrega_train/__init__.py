"""Training: images and records in, a full-precision InternVL checkpoint in Hugging Face layout out."""

from medrega_edge.i18n.message import register
from medrega_edge.quiet import hush

register(__name__)
hush()
