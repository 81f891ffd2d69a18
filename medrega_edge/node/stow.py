"""STOW-RS: results to an archive over HTTP, and to no other host, whatever the archive or the environment says.

A session of requests would follow redirects, take proxies and passwords from the environment, and wait without end.
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import requests
from dicomweb_client import DICOMwebClient
from pydicom import dcmread
from pydicom.dataset import Dataset
from requests.adapters import HTTPAdapter

from medrega_edge.node.config import NodeConfig, Peer, Tls
from medrega_edge.node.delivery_error import DeliveryError, RefusedError
from medrega_edge.node.entity import public_tls, silence
from medrega_edge.node.made import MadeObject

_PERMANENT = (400, 405, 406, 409, 410, 411, 413, 414, 415, 422, 501)  # about the object; others another attempt can change
_FAILED = b"00081198"  # the tag of the sequence of failed instances, in XML and JSON alike
_UNKNOWN_REASON = -1
_TRANSIENT_REASONS = range(0xA700, 0xA800)  # of a failed instance: out of resources


class _Adapter(HTTPAdapter):  # type: ignore[misc]
    """Waits only so many seconds for the archive, whose certificate may be of the authority of the configuration too."""

    def __init__(self, seconds: float, tls: Tls | None) -> None:
        self._seconds, self._tls = seconds, tls
        super().__init__(max_retries=0)

    def init_poolmanager(self, *arguments: Any, **options: Any) -> None:
        super().init_poolmanager(*arguments, **options, ssl_context=public_tls(self._tls))

    def send(self, request: Any, **options: Any) -> requests.Response:
        return super().send(request, **options | {"timeout": (self._seconds, self._seconds)})


def session_with(peer: Peer, config: NodeConfig) -> requests.Session:
    """A session that reaches the peer's URL alone; raises DeliveryError for a file of a token that cannot be read."""
    session = requests.Session()
    session.headers["Accept"] = "application/dicom+json"
    session.trust_env = False  # no proxies, no .netrc
    session.max_redirects = 0
    session.adapters.clear()
    session.mount(f"{base_url(peer)}/", _Adapter(config.limits.idle_seconds, config.tls))
    if config.tls is not None and peer.tls:
        session.cert = (str(config.tls.certificate), str(config.tls.key))
    if peer.token_file is not None:
        session.headers["Authorization"] = f"Bearer {_token(peer.token_file, peer)}"
    return session


def base_url(peer: Peer) -> str:
    """The URL of the archive, without a slash at its end."""
    return peer.stow.rstrip("/")


def _token(path: Path, peer: Peer) -> str:
    try:
        token = path.read_text("utf-8").strip()
    except (OSError, UnicodeDecodeError):
        token = ""
    if not token or not token.isascii() or not token.isprintable() or " " in token:
        raise DeliveryError("deliver.no_token", peer=peer.name)
    return token


def store_over_http(objects: Sequence[MadeObject], peer: Peer, config: NodeConfig) -> None:
    """Send the objects in one request; raises DeliveryError unless the archive says that it stored all of them."""
    answers: list[requests.Response] = []

    def on_answer(response: requests.Response, *_: Any, **__: Any) -> None:
        answers.append(response)

    silence()
    datasets = [dcmread(io.BytesIO(each.data)) for each in objects]
    with session_with(peer, config) as session:
        client = DICOMwebClient(base_url(peer), session=session, callback=on_answer)
        client.host = urlsplit(base_url(peer)).netloc  # it would send the Host without its port
        client.set_http_retry_params(retry=False)  # the queue tries again, and waits between
        try:
            client.store_instances(datasets)
        except requests.TooManyRedirects:
            raise RefusedError("deliver.redirected", peer=peer.name) from None
        except requests.RequestException:
            if not answers:
                raise DeliveryError("deliver.peer_away", peer=peer.name) from None
        except Exception:  # noqa: BLE001 - an answer that it cannot read; its status counts
            if not answers:
                raise
        _check(answers[-1], peer)


def _check(answer: requests.Response, peer: Peer) -> None:
    status = answer.status_code
    if status not in (200, 202):
        if status in _PERMANENT:
            raise RefusedError("deliver.http_status", peer=peer.name, status=status)
        raise DeliveryError("deliver.http_status", peer=peer.name, status=status)
    reasons = _failures(answer)
    if reasons is None:
        is_told = status == 202 or _FAILED in answer.content
        reasons = [_UNKNOWN_REASON] if is_told else []
    if any(reason in _TRANSIENT_REASONS or reason in (_UNKNOWN_REASON, 0x0110) for reason in reasons):
        raise DeliveryError("deliver.not_all_stored", peer=peer.name)
    if reasons:
        raise RefusedError("deliver.not_all_stored", peer=peer.name)


def _failures(answer: requests.Response) -> list[int] | None:
    """The reasons of the instances that were not stored; None if the answer cannot be read."""
    if "json" not in answer.headers.get("Content-Type", ""):
        return None
    try:
        content = answer.json()
        dataset = Dataset.from_json(content[0] if isinstance(content, list) else content)
        failed = dataset.get("FailedSOPSequence") or ()
        return [int(item.get("FailureReason") or _UNKNOWN_REASON) for item in failed if item.get("FailureReason") != 0x0111]
    except Exception:  # noqa: BLE001 - it may hold anything
        return None
