"""The configuration of the node: what it reads, and what it refuses, by the key and without the value."""

import dataclasses

import pytest

from medrega_edge.errors import UsageError
from medrega_edge.node.config import Limits, Retention, read_config
from tests.codes import raises_code

WHOLE = """
[node]
ae_title = "MEDREGA"
host = "127.0.0.1"
port = 0
folder = "state"
language = "zh"
quiet_seconds = 5
instances = 3
[node.limits]
associations = 4
[[peer]]
name = "ct"
ae_title = "CT1"
address = "10.0.0.0/24"
[[peer]]
name = "archive"
ae_title = "ARCHIVE"
address = "127.0.0.1"
port = 104
commitment = true
[[peer]]
name = "web"
ae_title = "WEB"
address = "127.0.0.1"
stow = "https://archive.example/dicom-web"
token_file = "token"
[[rule]]
name = "liver"
modality = "MR"
body_part = ["ABDOMEN", "LIVER"]
description = "^t2"
question = "locate the liver"
outputs = ["sr", "gsps", "sc", "pdf"]
send_to = "archive"
[[rule]]
name = "volume"
modality = ["CT", "MR"]
segment = "liver"
volume = true
outputs = ["sr", "seg"]
send_to = ["archive", "web"]
language = "en"
[retention]
received_hours = 2
"""


@pytest.fixture
def write(tmp_path):
    def write(text):
        (tmp_path / "token").write_text("a token")
        path = tmp_path / "node.toml"
        path.write_text(text, "utf-8")
        return path

    return write


def test_the_whole_file(write, tmp_path):
    read = read_config(write(WHOLE))
    assert (read.ae_title, read.port, read.language, read.quiet_seconds, read.instances) == ("MEDREGA", 0, "zh", 5.0, 3)
    assert read.folder == tmp_path / "state" and read.package is None and read.tls is None
    assert read.limits == dataclasses.replace(Limits(), associations=4)
    assert read.retention == Retention(received_hours=2)
    assert [peer.receives for peer in read.peers] == [False, True, True]
    assert read.peer("web").token_file == tmp_path / "token" and read.peer("archive").commitment
    liver, volume = read.rules
    assert (liver.modality, liver.body_part, liver.send_to) == (("MR",), ("ABDOMEN", "LIVER"), ("archive",))
    assert (volume.modality, volume.segment, volume.language) == (("CT", "MR"), ("liver",), "en")
    assert read.rule("volume") is volume and read.rule("none") is None and read.peer("none") is None


SHORT = """
[[peer]]
name = "archive"
ae_title = "ARCHIVE"
address = "127.0.0.1"
port = 104
[[rule]]
name = "liver"
question = "locate the liver"
send_to = "archive"
"""


def test_what_is_left_out_has_a_default(write):
    read = read_config(write(SHORT))
    assert (read.host, read.port, read.quiet_seconds, read.longest_seconds) == ("127.0.0.1", 11112, 30.0, 3600.0)
    assert read.limits == Limits() and read.retention == Retention() and read.rules[0].outputs == ("sr",)


@pytest.mark.parametrize(
    ("old", "new", "key"),
    [
        ("port = 0", 'port = "0"', "node.port"),
        ("port = 0", "port = 65536", "node.port"),
        ('ae_title = "MEDREGA"', 'ae_title = "seventeen letters"', "node.ae_title"),
        ('ae_title = "MEDREGA"', 'ae_title = "back\\\\slash"', "node.ae_title"),
        ('ae_title = "MEDREGA"', 'ae_title = " "', "node.ae_title"),
        ('host = "127.0.0.1"', 'host = "localhost"', "node.host"),
        ("quiet_seconds = 5", "quiet_seconds = 0", "node.quiet_seconds"),
        ("quiet_seconds = 5", "quiet_seconds = nan", None),
        ("quiet_seconds = 5", "quiet_seconds = 7200", "node.longest_seconds"),
        ("instances = 3", "instances = 3.5", "node.instances"),
        ("associations = 4", "associations = 0", "node.limits.associations"),
        ('language = "zh"', 'language = "de"', "node.language"),
        ("[node.limits]", '[node.tls]\ncertificate = "no.pem"\nkey = "no.pem"\n[node.limits]', "node.tls.certificate"),
        ('address = "10.0.0.0/24"', 'address = "10.0.0.1/24"', "peer.0.address"),
        ('address = "10.0.0.0/24"', 'address = "10.0.0.0/24"\nport = 11112', "peer.0.address"),
        ('name = "archive"', 'name = "ct"', "peer.1.name"),
        ('name = "archive"', 'name = "a/b"', "peer.1.name"),
        ('"https://archive.example/dicom-web"', '"http://archive.example/dicom-web"', "peer.2.stow"),
        ('"https://archive.example/dicom-web"', '"https://me:secret@archive.example/"', "peer.2.stow"),
        ('"https://archive.example/dicom-web"', '"archive"', "peer.2.stow"),
        ('stow = "https://archive.example/dicom-web"\n', "port = 104\n", "peer.2.token_file"),
        ('token_file = "token"', 'token_file = "no token"', "peer.2.token_file"),
        ('token_file = "token"', "port = 1", "peer.2.stow"),
        ('send_to = "archive"', 'send_to = "arhive"', "rule.0.send_to"),
        ('send_to = "archive"', 'send_to = "ct"', "rule.0.send_to"),
        ('send_to = "archive"', "send_to = []", "rule.0.send_to"),
        ('send_to = "archive"', 'send_to = ["archive", "archive"]', "rule.0.send_to"),
        ('description = "^t2"', 'description = "("', "rule.0.description"),
        ('question = "locate the liver"\n', "", "rule.0"),
        ('question = "locate the liver"', 'question = "?"\nsegment = "liver"', "rule.0"),
        ('"sc", "pdf"]', '"sc", "png"]', "rule.0.outputs.3"),
        ('outputs = ["sr", "seg"]', 'outputs = ["sr", "gsps"]', "rule.1.outputs"),
        ('outputs = ["sr", "seg"]', "min_confidence = 0.5", "rule.1.min_confidence"),
        ('name = "volume"', 'name = "liver"', "rule.1.name"),
        ("received_hours = 2", "received_hours = -1", "retention.received_hours"),
    ],
)
def test_a_wrong_value_is_refused_by_its_key(write, old, new, key):
    assert old in WHOLE
    path = write(WHOLE.replace(old, new, 1))
    code = "node.config_not_toml" if key is None else "node.config_wrong_value"
    with raises_code(UsageError, code, **({} if key is None else {"key": key})) as error:
        read_config(path)
    assert "secret" not in str(error.value)


@pytest.mark.parametrize(
    ("old", "new", "code", "params"),
    [
        ("port = 0", "prot = 0", "node.config_unknown_key", {"key": "node.prot"}),
        ('question = "locate', 'qeustion = "locate', "node.config_unknown_key", {"key": "rule.0.qeustion"}),
        ("[retention]", "[retain]", "node.config_unknown_key", {"key": "retain"}),
        ('ae_title = "CT1"\n', "", "node.config_missing_key", {"key": "peer.0.ae_title"}),
        ("port = 0", "port =", "node.config_not_toml", {"line": "5"}),
        ("port = 0", "port = 1979-05-27", "node.config_not_toml", {}),
        ("port = 0\n", "port = 0\nport = 0\n", "node.config_not_toml", {"line": "6"}),
        ('host = "127.0.0.1"', 'host = "0.0.0.0"', "node.config_needs_tls", {}),
    ],
)
def test_a_file_that_cannot_be_read_says_where(write, old, new, code, params):
    assert old in WHOLE
    with raises_code(UsageError, code, **params):
        read_config(write(WHOLE.replace(old, new, 1)))


def test_another_address_is_allowed_where_the_file_says_so(write):
    assert read_config(write(WHOLE.replace('host = "127.0.0.1"', 'host = "0.0.0.0"\nplain = true', 1))).plain


def test_without_a_rule_or_a_file_there_is_no_node(write, tmp_path):
    with raises_code(UsageError, "node.config_no_rule"):
        read_config(write("[node]\nport = 0\n"))
    with raises_code(UsageError, "node.config_unreadable"):
        read_config(tmp_path / "none.toml")
    (tmp_path / "latin.toml").write_bytes(b'[node]\nae_title = "\xe9"\n')
    with raises_code(UsageError, "node.config_unreadable"):
        read_config(tmp_path / "latin.toml")
