"""Measure accuracy and speed of a model package on this hardware."""

from medrega_edge.i18n.message import register

register(__name__)
