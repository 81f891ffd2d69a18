"""The configuration of the node: one TOML file, read into frozen dataclasses.

Every key is known, every value of its type, and every name of a peer leads to one. An error names the key and never a
value: a value may be secret.
"""

from __future__ import annotations

import ipaddress
import json
import re
import tomllib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field

from medrega_edge.errors import UsageError
from medrega_edge.i18n.message import Message
from medrega_edge.io.strict_json import STRICT, Count, JsonFault, Problem, Share, parse_json

Output = Literal["sr", "gsps", "sc", "seg", "pdf"]
LOCAL_URLS = (("http", "localhost"), ("http", "127.0.0.1"), ("http", "[::1]"))  # the others need TLS


def _as_tuple(value: Any) -> Any:
    """One text as a list of one."""
    return (value,) if isinstance(value, str) else tuple(value) if isinstance(value, list) else value


_AE = r"^[!-\[\]-~]([ -\[\]-~]{0,14}[!-\[\]-~])?$"  # DICOM PS3.5: no backslash, no space around, at most 16
AeTitle = Annotated[str, Field(pattern=_AE)]
Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9_-]{1,64}$")]  # names of peers and rules stand in logs and file names
Text = Annotated[str, Field(min_length=1)]
Texts = Annotated[tuple[Text, ...], BeforeValidator(_as_tuple)]
Names = Annotated[tuple[Name, ...], BeforeValidator(_as_tuple), Field(min_length=1)]
Outputs = Annotated[tuple[Output, ...], BeforeValidator(_as_tuple), Field(min_length=1)]
Port = Annotated[int, Field(ge=0, le=65535)]
Positive = Annotated[int, Field(gt=0, lt=2**40)]
Seconds = Annotated[float, Field(gt=0, lt=1e9)]
Hours = Annotated[float, Field(ge=0, lt=1e6)]


@dataclass(frozen=True)
class Tls:
    """PEM files. With `authority` a client needs a certificate that it signed."""

    __pydantic_config__ = STRICT
    certificate: Path
    key: Path
    authority: Path | None = None


@dataclass(frozen=True)
class Limits:
    """What peers can take of this machine. `attempts` is how often a job may end the process, or fail for want of room."""

    __pydantic_config__ = STRICT
    associations: Annotated[int, Field(ge=1, le=1000)] = 16
    pdu_bytes: Annotated[int, Field(ge=4096, le=1 << 24)] = 65536
    instance_megabytes: Positive = 512
    study_instances: Positive = 5000
    folder_megabytes: Positive = 50_000
    idle_seconds: Seconds = 30
    attempts: Annotated[int, Field(ge=1, le=100)] = 3


@dataclass(frozen=True)
class Retention:
    """Hours for which images stay after their results were delivered, results after that, dead letters after their end."""

    __pydantic_config__ = STRICT
    received_hours: Hours = 0
    results_hours: Hours = 168
    rejected_hours: Hours = 720


@dataclass(frozen=True)
class Peer:
    """A program that may send to the node from `address`, an IP address or network, or gets results at `port` or `stow`."""

    __pydantic_config__ = STRICT
    name: Name
    ae_title: AeTitle
    address: Text
    port: Port = 0
    tls: bool = False
    stow: str = ""
    token_file: Path | None = None
    commitment: bool = False

    @property
    def receives(self) -> bool:
        """Whether results can be sent to it."""
        return bool(self.port or self.stow)


@dataclass(frozen=True)
class Rule:
    """What to ask about a series, and where the results go. An empty `modality`, `body_part` or `description` fits all."""

    __pydantic_config__ = STRICT
    name: Name
    send_to: Names
    modality: Texts = ()
    body_part: Texts = ()
    description: str = ""
    question: str = ""
    segment: Texts = ()
    volume: bool = False
    outputs: Outputs = ("sr",)
    language: Literal["en", "zh"] | None = None
    min_confidence: Share = 0.0


@dataclass(frozen=True)
class NodeConfig:
    """The whole file; its paths are absolute."""

    ae_title: str
    host: str
    port: int
    plain: bool
    folder: Path
    package: str | None
    language: str
    quiet_seconds: float
    instances: int
    longest_seconds: float
    tls: Tls | None
    limits: Limits
    peers: tuple[Peer, ...]
    rules: tuple[Rule, ...]
    retention: Retention

    def peer(self, name: str) -> Peer | None:
        """The peer of a name; None if the file has none."""
        return next((peer for peer in self.peers if peer.name == name), None)

    def rule(self, name: str) -> Rule | None:
        """The rule of a name; None if the file has none."""
        return next((rule for rule in self.rules if rule.name == name), None)


@dataclass(frozen=True)
class _Node:
    __pydantic_config__ = STRICT
    ae_title: AeTitle = "MEDREGA"
    host: Text = "127.0.0.1"
    port: Port = 11112
    plain: bool = False
    folder: Path = Path("state")
    package: Text | None = None
    language: Literal["en", "zh"] = "en"
    quiet_seconds: Seconds = 30.0
    instances: Count = 0
    longest_seconds: Seconds = 3600.0
    tls: Tls | None = None
    limits: Limits = Limits()


@dataclass(frozen=True)
class _File:
    __pydantic_config__ = STRICT
    node: _Node = _Node()
    peer: tuple[Peer, ...] = ()
    rule: tuple[Rule, ...] = ()
    retention: Retention = Retention()


def read_config(path: Path) -> NodeConfig:
    """Read and check the file; raises UsageError that names the key at fault."""
    read = _parsed(path)
    node = read.node
    _check_addresses(node, read.peer)
    _check_peers(read.peer)
    _check_rules(read.rule, read.peer)
    if node.longest_seconds < node.quiet_seconds:
        raise _wrong("node.longest_seconds", Message("node.config_longest"))
    base = path.absolute().parent
    folder = base / node.folder.expanduser()
    tls = None if node.tls is None else _tls_below(node.tls, base)
    for number, peer in enumerate(read.peer):
        if peer.token_file is not None and not (base / peer.token_file).is_file():
            raise _wrong(f"peer.{number}.token_file", Message("node.config_no_file"))
    package = node.package
    if package is not None and (base / package).is_dir():  # else it is a name, which the registry finds
        package = str(base / package)
    peers = tuple(replace(peer, token_file=_below(base, peer.token_file)) for peer in read.peer)
    settings = {name: getattr(node, name) for name in _Node.__dataclass_fields__}
    settings |= {"folder": folder, "tls": tls, "package": package}
    return NodeConfig(**settings, peers=peers, rules=read.rule, retention=read.retention)


def _parsed(path: Path) -> _File:
    try:
        data = tomllib.loads(path.read_text("utf-8"))
        text = json.dumps(data, allow_nan=False)
    except tomllib.TOMLDecodeError as error:
        place = re.search(r"at line (\d+)", str(error))  # its other words may quote a value
        raise UsageError("node.config_not_toml", line=place.group(1) if place else "?") from None
    except (TypeError, ValueError) as error:  # a date, NaN; text that is not UTF-8
        if isinstance(error, UnicodeDecodeError):
            raise UsageError("node.config_unreadable") from None
        raise UsageError("node.config_not_toml", line="?") from None
    except OSError:
        raise UsageError("node.config_unreadable") from None
    try:
        return parse_json(_File, text)
    except JsonFault as fault:
        match fault.problem:
            case Problem.UNKNOWN_KEY:
                raise UsageError("node.config_unknown_key", key=fault.key) from None
            case Problem.MISSING_KEY:
                raise UsageError("node.config_missing_key", key=fault.key) from None
        raise _wrong(fault.key, Message("node.config_type")) from None


def _check_addresses(node: _Node, peers: Sequence[Peer]) -> None:
    try:
        is_local = ipaddress.ip_address(node.host).is_loopback
    except ValueError:
        raise _wrong("node.host", Message("node.config_address")) from None
    if not is_local and node.tls is None and not node.plain:
        raise UsageError("node.config_needs_tls")
    for number, peer in enumerate(peers):
        try:
            network = ipaddress.ip_network(peer.address)
        except ValueError:
            raise _wrong(f"peer.{number}.address", Message("node.config_network")) from None
        if peer.port and network.num_addresses != 1:
            raise _wrong(f"peer.{number}.address", Message("node.config_one_address"))


def _check_peers(peers: Sequence[Peer]) -> None:
    from pydantic_core import Url

    for number, peer in enumerate(peers):
        if peer.name in [other.name for other in peers[:number]]:
            raise _wrong(f"peer.{number}.name", Message("node.config_twice"))
        if not peer.stow:
            if peer.token_file is not None:
                raise _wrong(f"peer.{number}.token_file", Message("node.config_token_without_stow"))
            continue
        if peer.port:
            raise _wrong(f"peer.{number}.stow", Message("node.config_port_and_stow"))
        try:
            url = Url(peer.stow)
        except ValueError:
            url = None
        is_safe = url is not None and (url.scheme == "https" or (url.scheme, url.host) in LOCAL_URLS)
        if url is None or not is_safe or url.username or url.password or url.query or url.fragment:
            raise _wrong(f"peer.{number}.stow", Message("node.config_url"))


def _check_rules(rules: Sequence[Rule], peers: Sequence[Peer]) -> None:
    from medrega_edge.output.dicom.writer import VOLUME_KINDS

    if not rules:
        raise UsageError("node.config_no_rule")
    by_name = {peer.name: peer for peer in peers}
    for number, rule in enumerate(rules):
        place = f"rule.{number}"
        if rule.name in [other.name for other in rules[:number]]:
            raise _wrong(f"{place}.name", Message("node.config_twice"))
        if bool(rule.question.strip()) == bool(rule.segment):
            raise _wrong(place, Message("node.config_question_or_segment"))
        if rule.volume and not set(rule.outputs) <= set(VOLUME_KINDS):
            raise _wrong(f"{place}.outputs", Message("node.config_volume_outputs", names=VOLUME_KINDS))
        if rule.volume and rule.min_confidence:
            raise _wrong(f"{place}.min_confidence", Message("node.config_volume_confidence"))
        try:
            re.compile(rule.description)
        except re.error:
            raise _wrong(f"{place}.description", Message("node.config_pattern")) from None
        for name in rule.send_to:
            if name not in by_name:
                raise _wrong(f"{place}.send_to", Message("node.config_no_peer", name=name))
            if not by_name[name].receives:
                raise _wrong(f"{place}.send_to", Message("node.config_deaf_peer", name=name))
        for key, values in (("send_to", rule.send_to), ("outputs", rule.outputs)):
            if len(set(values)) < len(values):
                raise _wrong(f"{place}.{key}", Message("node.config_twice"))


def _wrong(key: str, reason: Message) -> UsageError:
    return UsageError("node.config_wrong_value", key=key, reason=reason)


def _tls_below(tls: Tls, base: Path) -> Tls:
    """The certificates by absolute paths. Every file exists."""
    found = Tls(base / tls.certificate, base / tls.key, _below(base, tls.authority))
    for key, path in (("certificate", found.certificate), ("key", found.key), ("authority", found.authority)):
        if path is not None and not path.is_file():
            raise _wrong(f"node.tls.{key}", Message("node.config_no_file"))
    return found


def _below(base: Path, path: Path | None) -> Path | None:
    return None if path is None else base / path
