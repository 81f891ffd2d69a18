"""Who may send to the node: the peers of its configuration, told by calling AE title and address together."""

from __future__ import annotations

import ipaddress
from collections.abc import Sequence

from medrega_edge.node.config import Peer


class Senders:
    """The peers that may send. An AE title alone is no proof: anyone can state one."""

    def __init__(self, peers: Sequence[Peer]) -> None:
        """Take the peers, whose addresses the configuration has checked."""
        self._peers = [(ipaddress.ip_network(peer.address), peer) for peer in peers]

    def knows(self, address: str) -> bool:
        """Whether any peer may send from an address."""
        return self.find(None, address) is not None

    def find(self, ae_title: str | None, address: str) -> Peer | None:
        """The peer that calls itself `ae_title`, or any if that is None, and sends from `address`; None if there is none."""
        try:
            sender = ipaddress.ip_address(address)
        except ValueError:
            return None
        if isinstance(sender, ipaddress.IPv6Address) and sender.ipv4_mapped is not None:
            sender = sender.ipv4_mapped  # a listener of IPv6 sees IPv4 so
        return next((p for network, p in self._peers if sender in network and ae_title in (None, p.ae_title)), None)


def address_of(peer: Peer) -> str:
    """The IP address at which a peer with a port listens."""
    return str(ipaddress.ip_network(peer.address).network_address)
