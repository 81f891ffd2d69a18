"""Questions with truth in, accuracy with intervals out: for this package, on this hardware."""

from medrega_edge.i18n.message import register

register(__name__)
