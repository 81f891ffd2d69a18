"""The errors of an object that a peer did not get."""

from __future__ import annotations

from medrega_edge.errors import ResourceError


class DeliveryError(ResourceError):
    """A peer did not take what was sent; later it may. `is_permanent` tells that sending it again will not help."""

    is_permanent = False


class RefusedError(DeliveryError):
    """A peer will never take what was sent."""

    is_permanent = True
