"""The node connects to the peers that its configuration names, when it is told to send, and to nobody else."""

import sys

import pytest

pytest.importorskip("pynetdicom", reason="needs the extra 'pacs'")
pytest.importorskip("dicomweb_client", reason="needs the extra 'pacs'")

from urllib.parse import urlsplit

from medrega_edge.node.sender import deliver, echo
from tests.node.standins import configuration, instance, running, scanner
from tests.node.test_receiver import as_dataset, send
from tests.node.test_sender import Archive, made_object, stored, web

WATCHED = ("socket.connect", "socket.sendto", "socket.sendmsg", "socket.getaddrinfo", "socket.gethostbyname")
_seen, _is_on = [], []


def _hook(event, arguments):
    if _is_on and event in WATCHED:
        _seen.append((event, arguments[-1] if event == "socket.connect" else arguments[:2]))


sys.addaudithook(_hook)  # for the rest of the process; it watches only within a test


@pytest.fixture
def calls():
    _seen.clear()
    _is_on.append(True)
    yield _seen
    _is_on.clear()


def called(calls):
    """The addresses that were connected to; no name was looked up that is none of this machine."""
    assert {each[0] for event, each in calls if event != "socket.connect"} <= {None, "127.0.0.1"}
    assert not {event for event, _ in calls} & {"socket.sendto", "socket.sendmsg"}
    return {tuple(each) for event, each in calls if event == "socket.connect"}


def test_it_calls_the_peers_that_it_sends_to(calls):
    with Archive() as archive, web(stored) as (url, _):
        config = configuration()
        deliver([made_object()], archive.peer, config)
        echo(archive.peer, config)
        deliver([made_object()], scanner(name="pacs", stow=url), config)
        allowed = {("127.0.0.1", archive.peer.port), ("127.0.0.1", urlsplit(url).port)}
    assert called(calls) == allowed


def test_it_calls_nobody_when_it_receives(calls):
    with running() as node:
        assert send(node.port, as_dataset(instance())) == [0]
    assert called(calls) == {("127.0.0.1", node.port)}  # the scanner's call, from this process
