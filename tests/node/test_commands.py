"""`medrega node`: what its commands print and how they end. `run` is in test_end_to_end."""

import json

import pytest

from medrega_edge.cli import plugins
from medrega_edge.node.config import Limits
from medrega_edge.node.store import Store
from tests.node.nodes import data, header
from tests.node.test_config import SHORT


@pytest.fixture
def path(tmp_path):
    (tmp_path / "node.toml").write_text(SHORT)
    return tmp_path / "node.toml"


def test_status_counts_beside_a_node_and_without_one(path, medrega):
    ran = medrega("node", "status", path)
    assert ran.code == 2 and "has not run yet" in ran.err
    with Store(path.parent / "state", Limits()) as store:
        store.receive(data(1), header(1), "ct")
        store.receive(data(1, b"others"), header(1), "ct")
        found = json.loads(medrega("node", "status", path, "--json").out)
        assert found["running"] and found["oldest_job"] == 0.0
        assert medrega("node", "status", path).out.startswith("the node is running\n")
    assert (found["received"], found["conflicts"], found["instances_open"], found["studies_open"]) == (1, 1, 1, 1)
    lines = medrega("node", "status", path).out.splitlines()
    assert lines[0] == "the node is not running" and "refused for another content: 1" in lines[6]


def test_retry_tells_how_many(path, medrega):
    Store(path.parent / "state", Limits()).close()
    assert medrega("node", "retry", path).out == "dead letters that are tried again: 0\n"


@pytest.mark.parametrize("command", ["run", "status", "check", "retry"])
def test_the_extra_is_named_where_it_is_missing(path, medrega, monkeypatch, command):
    monkeypatch.setattr(plugins, "missing_requirements", lambda *_: ["pynetdicom"])
    ran = medrega("node", command, path)
    assert ran.code == 6 and f"`medrega node {command}` needs 'pynetdicom'" in ran.err and "medrega-edge[pacs]" in ran.err


@pytest.mark.parametrize("command", ["run", "status", "check", "retry"])
def test_a_wrong_configuration_ends_each_command(path, medrega, command):
    path.write_text(SHORT.replace("question", "qeustion"))
    ran = medrega("node", command, path)
    assert ran.code == 2 and "'rule.0.qeustion'" in ran.err and ran.out == ""
