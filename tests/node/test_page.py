"""docs/node.md against the program: every key with its default, and every file that the page writes."""

import dataclasses
import json
import re
import tomllib
from pathlib import Path

import pytest

config = pytest.importorskip("medrega_edge.node.config", reason="needs the node")

PAGE = (Path(__file__).parents[2] / "docs" / "node.md").read_text("utf-8")
TABLES = {
    "[node]": config._Node, "[node.tls]": config.Tls, "[node.limits]": config.Limits, "[[peer]]": config.Peer,
    "[[rule]]": config.Rule, "[retention]": config.Retention,
}  # fmt: skip
BLOCKS = re.findall(r"```(?:json)?\n(.*?)```", PAGE, re.DOTALL)


def keys(table):
    """The keys of a table of the page, each with what the column of defaults says of it."""
    (found,) = re.findall(rf"^\| `{re.escape(table)}` \|(.*?)(?:\n\n|\Z)", PAGE, re.DOTALL | re.MULTILINE)
    has_defaults = found.splitlines()[0].startswith(" default")
    rows = [line.split(" | ") for line in found.splitlines()[2:]]
    defaults = {}
    for row in rows:
        names = re.findall(r"`(\w+)`", row[0])
        values = row[1].split(", ") if has_defaults else []
        defaults |= dict(zip(names, values if len(values) == len(names) else [""] * len(names), strict=True))
    return defaults


@pytest.mark.parametrize("table", TABLES)
def test_the_page_explains_every_key_and_no_other(table):
    sections = {"tls", "limits"} if table == "[node]" else set()  # which have tables of their own
    assert keys(table).keys() == {field.name for field in dataclasses.fields(TABLES[table])} - sections


@pytest.mark.parametrize("table", ["[node]", "[node.limits]", "[retention]"])
def test_the_defaults_of_the_page_are_the_programs(table):
    for field in dataclasses.fields(TABLES[table]):
        if field.name not in ("tls", "limits", "package"):
            said = keys(table)[field.name].strip("` ").lower()
            assert said in (str(field.default).lower(), f"{field.default}".removesuffix(".0")), field.name


def test_the_files_of_the_page_can_be_read(tmp_path):
    files = dict(re.findall(r"cat > trial/(\S+) <<'END'\n(.*?)^END$", PAGE, re.DOTALL | re.MULTILINE))
    assert files.keys() == {"forward.lua", "orthanc.json", "node.toml"}
    archive = json.loads(files["orthanc.json"])
    (tmp_path / "node.toml").write_text(files["node.toml"], encoding="utf-8")
    read = config.read_config(tmp_path / "node.toml")
    assert archive["DicomModalities"]["medrega"] == [read.ae_title, read.host, read.port]
    (peer,) = read.peers
    assert (archive["DicomAet"], archive["DicomPort"]) == (peer.ae_title, peer.port)
    others = [block for block in BLOCKS if block.startswith("[") and "cat >" not in block]
    assert [set(tomllib.loads(block)) for block in others] == [{"node"}, {"peer"}]
    assert [json.loads(block) for block in BLOCKS if block.startswith("{")]


def test_the_script_of_the_trial_is_that_of_the_page():
    from tools.orthanc import FORWARD

    assert FORWARD.strip() in PAGE
