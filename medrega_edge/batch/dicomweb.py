"""The pictures of an archive that speaks DICOMweb: QIDO-RS lists them, WADO-RS brings each when its turn comes.

An instance is in memory while it is asked about, and never on a disk. Only the archive that the user names is spoken to:
no redirect is followed, no proxy of the environment is used, and certificates are verified. An archive that no longer
answers ends the run, which goes on there later; what is wrong with one instance is the error of its row.
"""

from __future__ import annotations

import ipaddress
import logging
import os
import re
import time
import urllib.parse  # noqa: TID251  # takes an address apart, opens none
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from email.message import Message as Mime
from functools import cache, partial
from pathlib import Path
from typing import Any, TypeVar

import requests  # noqa: TID251  # this source is the one part of a batch that uses a network
from dicomweb_client import DICOMwebClient
from pydicom.dataset import Dataset
from requests.adapters import HTTPAdapter  # noqa: TID251

from medrega_edge.batch.dicomweb_filters import LEVELS, check_fits, tag_of
from medrega_edge.batch.jobs import BatchQuestion, ImageFiles
from medrega_edge.batch.rows import RowOptions
from medrega_edge.errors import ImageError, ResourceError, UsageError
from medrega_edge.i18n.message import Message
from medrega_edge.images.dicom.header import read_header
from medrega_edge.images.dicom.series import HEADER_KEYWORDS, LeftOut, scan_headers
from medrega_edge.images.medical_image import MAX_BYTES
from medrega_edge.images.signatures import FIRST_BYTES, is_dicom
from medrega_edge.io.atomic import natural_sort_key

SCHEMES = {"dicomweb": "http", "dicomwebs": "https"}
PAGE = 500  # results of one search
SECONDS = (10.0, 60.0)  # to connect, and between two pieces of an answer
WAITS = (1.0, 2.0, 4.0)  # seconds before an archive that does not answer is asked again
BUSY = (408, 429, 502, 503, 504)  # HTTP statuses of an archive that may answer later
NO_ENTRY = (401, 407)  # those that concern every instance, not one
CERTIFICATES = "REQUESTS_CA_BUNDLE"  # environment variable: the PEM file of the authorities to trust
UID = re.compile(r"[0-9][0-9.]{0,63}")
# The file as it is stored, in whatever transfer syntax: without the last part archives decompress it.
ACCEPT = 'multipart/related; type="application/dicom"; transfer-syntax=*'

logging.getLogger("dicomweb_client").addHandler(logging.NullHandler())  # it would print UIDs

# Letters that a query may hold as they are (RFC 3986) and dicomweb_client escapes: Orthanc 1.10 takes escapes literally.
PLAIN_LETTERS = {"%2A": "*", "%3F": "?", "%2C": ","}

Result = TypeVar("Result")
Element = Mapping[str, Any]


@dataclass(frozen=True)
class Archive:
    """The address of an archive and what to look for there: keywords of DICOM and the values that they must have.

    `token` is sent as a bearer token. It can be sent to another process, which makes connections of its own.
    """

    url: str
    filters: tuple[tuple[str, str], ...] = ()
    token: str | None = field(default=None, repr=False)

    @classmethod
    def at(cls, address: str, token_file: Path | None = None, plain: bool = False) -> Archive:
        """Read `dicomweb://HOST[:PORT]/PATH?Keyword=value&...`, or `dicomwebs:` for HTTPS; raises UsageError.

        Without `plain`, HTTP without encryption is for an archive on this machine only.
        """
        try:
            parts = urllib.parse.urlsplit(address)
            host, _ = parts.hostname, parts.port  # a port that is none raises ValueError
            filters = urllib.parse.parse_qsl(parts.query, keep_blank_values=True, strict_parsing=bool(parts.query))
        except ValueError:
            raise UsageError("dicomweb.address") from None
        if not host or parts.scheme not in SCHEMES or "@" in parts.netloc or parts.fragment:
            raise UsageError("dicomweb.address")
        known = [keyword for level in LEVELS for keyword in level]
        for keyword, value in filters:
            if keyword not in known or [one for one, _ in filters].count(keyword) > 1:
                raise UsageError("dicomweb.filter", keyword=keyword, known=known)
            if not value.strip():
                raise UsageError("dicomweb.empty_filter", keyword=keyword)
        if SCHEMES[parts.scheme] == "http" and not plain and not _is_this_machine(host):
            raise UsageError("dicomweb.plain")
        url = f"{SCHEMES[parts.scheme]}://{parts.netloc}{parts.path.rstrip('/')}"
        return cls(url, tuple(sorted(filters)), _token(token_file))

    def headers(self) -> Iterator[tuple[str, Dataset]]:
        """Name and header of every instance that the filters let through, in an order that does not depend on the archive.

        A name is the path below the address of the archive. A header has the elements HEADER_KEYWORDS. Raises ResourceError
        for an archive that does not answer, or that returns what the filters leave out.
        """
        try:
            yield from self._headers()
        except (ValueError, LookupError, TypeError, AttributeError):
            raise ResourceError("dicomweb.unreadable") from None

    def _headers(self) -> Iterator[tuple[str, Dataset]]:
        client = _client(self)
        for study in self._uids(client.search_for_studies, 0):
            for series in self._uids(partial(client.search_for_series, study), 1):
                listed = self._uids(partial(client.search_for_instances, study, series), 2)
                described = _asked(partial(client.retrieve_series_metadata, study, series)) if listed else []
                by_uid = {_value(one, "SOPInstanceUID"): one for one in described}
                for instance in listed:
                    header = by_uid.get(instance, {})
                    check_fits(self.filters, header)
                    wanted = {tag: header[tag] for keyword in HEADER_KEYWORDS if (tag := tag_of(keyword)) in header}
                    yield f"studies/{study}/series/{series}/instances/{instance}", _dataset(wanted)

    def _uids(self, search: Callable[..., Sequence[Element]], level: int) -> list[str]:
        """The UIDs that a search at a level (0 studies, 1 series, 2 instances) finds, sorted; it goes page by page.

        Some archives give fewer results than they are asked for, and some the same ones for ever.
        """
        keyword = ("StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID")[level]
        filters = {name: value for name, value in self.filters if name in LEVELS[level]}
        found: dict[str, None] = {}
        seen = 0
        while True:
            page = _asked(partial(search, limit=PAGE, offset=seen, search_filters=filters))
            seen += len(page)
            before = len(found)
            found |= dict.fromkeys(_value(one, keyword) for one in page)
            if len(found) == before:
                return sorted(found, key=natural_sort_key)

    def fetch(self, name: str) -> bytes:
        """The file of an instance, by the name that `headers` gives it.

        Raises ImageError for one that the archive does not give, ResourceError for an archive that no longer answers.
        """
        try:
            kind, body = _tried(partial(_get, _session(self), f"{self.url}/{name}"))
        except requests.HTTPError as error:
            status = _status(error)
            if status in NO_ENTRY:
                raise ResourceError("dicomweb.status", status=status) from None
            raise ImageError("dicomweb.not_given", status=status) from None
        data = _only_part(kind, body)
        if not is_dicom(data[:FIRST_BYTES]) or not _is_instance(data, name.rpartition("/")[2]):
            raise ImageError("dicomweb.other_instance")
        return data


class ArchiveImages(ImageFiles):
    """The pictures of an archive, in the order of series and slices that a folder of the same files has."""

    def __init__(self, archive: Archive, question: BatchQuestion, options: RowOptions = RowOptions()) -> None:
        """List the instances; raises UsageError if there are none, ImageError for a series that is not there."""
        self._archive = archive
        scan = scan_headers(archive.headers())
        # Instances that the archive does not describe stay in the job: their rows hold an answer, or the reason.
        others = scan.left_out[LeftOut.DAMAGED] if question.view.series is None else ()
        super().__init__(scan, others, question, options)
        if not self._names:
            raise UsageError("dicomweb.nothing_found")
        found = Message("dicomweb.found", count=len(self._names), series=len(scan.series), studies=scan.studies)
        self.notes = (found, *self.notes)

    def _place(self) -> str:
        return repr(self._archive)

    def _file(self, name: str) -> bytes:
        return self._archive.fetch(name)


@cache
def _session(archive: Archive) -> requests.Session:
    """Connections to one archive, and to nothing else; a process makes its own."""
    session = requests.Session()
    session.trust_env = False  # neither a proxy nor a password of the environment
    session.verify = os.environ.get(CERTIFICATES) or True
    session.max_redirects = 0
    session.adapters.clear()
    session.mount(f"{archive.url}/", HTTPAdapter())
    session.auth = _with_plain_letters
    if archive.token is not None:
        session.headers["Authorization"] = f"Bearer {archive.token}"
    return session


def _with_plain_letters(request: Any) -> Any:
    for escaped, letter in PLAIN_LETTERS.items():
        request.url = request.url.replace(escaped, letter)
    return request


@cache
def _client(archive: Archive) -> Any:
    client = DICOMwebClient(archive.url, session=_session(archive), timeout=SECONDS)
    client.host = urllib.parse.urlsplit(archive.url).netloc  # its header Host would lack the port
    client.set_http_retry_params(retry=False)  # `_tried` knows the errors of a network, too
    return client


def _dataset(elements: Mapping[str, Element]) -> Dataset:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # pydicom's would quote header values, and they may be a patient's
        return Dataset.from_json(elements)


def _tried(ask: Callable[[], Result]) -> Result:
    """What `ask` returns, if need be after some waiting.

    Raises HTTPError for a status that stays, ResourceError for an archive that does not answer.
    """
    for wait in (*WAITS, None):
        try:
            return ask()
        except requests.exceptions.SSLError:
            raise ResourceError("dicomweb.certificate", variable=CERTIFICATES) from None
        except requests.TooManyRedirects:
            raise UsageError("dicomweb.redirected") from None
        except requests.HTTPError as error:
            if _status(error) not in BUSY:
                raise
            problem = ResourceError("dicomweb.status", status=_status(error))
        except requests.exceptions.JSONDecodeError:
            raise ResourceError("dicomweb.unreadable") from None
        except requests.RequestException:
            problem = ResourceError("dicomweb.no_answer")
        except OSError:  # the file of authorities is not there; a RequestException is an OSError, too
            raise ResourceError("dicomweb.certificate", variable=CERTIFICATES) from None
        if wait is not None:
            time.sleep(wait)
    raise problem


def _status(error: requests.HTTPError) -> int:
    return 0 if error.response is None else error.response.status_code


def _asked(search: Callable[[], Result]) -> Result:
    """What a search returns; raises ResourceError."""
    try:
        return _tried(search)
    except requests.HTTPError as error:
        raise ResourceError("dicomweb.status", status=_status(error)) from None


def _get(session: requests.Session, url: str) -> tuple[str, bytes]:
    """Content type and body of an answer; raises RequestException, ImageError for one that is too large."""
    body = bytearray()
    with session.get(url, headers={"Accept": ACCEPT}, stream=True, timeout=SECONDS) as response:
        response.raise_for_status()
        for piece in response.iter_content(1 << 20):
            body += piece
            if len(body) > MAX_BYTES:
                raise ImageError("image.too_large", size=len(body) >> 20, limit=MAX_BYTES >> 20)
        return response.headers.get("Content-Type", ""), bytes(body)


def _only_part(kind: str, body: bytes) -> bytes:
    """The file in an answer of WADO-RS: the single part of a multipart message, or the body as it is.

    Raises ImageError for anything else, so also where the end of the message is missing.
    """
    mime = Mime()
    mime["Content-Type"] = kind
    if mime.get_content_type() == "application/dicom":
        return body
    mark = b"--" + (mime.get_boundary() or "").encode()
    start = body.find(b"\r\n\r\n", body.find(mark)) + 4
    end = body.find(b"\r\n" + mark, start)
    if mark == b"--" or mark not in body[:start] or start < 4 or not body[end:].startswith(b"\r\n" + mark + b"--"):
        raise ImageError("dicomweb.broken_answer")
    return body[start:end]


def _is_instance(data: bytes, uid: str) -> bool:
    """Whether a file has this SOP Instance UID; a file that cannot be parsed is left to the reader of images."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            return str(read_header(data, Message("image.given"), ("SOPInstanceUID",)).SOPInstanceUID) == uid
        except MemoryError:
            raise
        except Exception:  # whatever pydicom raises on damage
            return True


def _value(found: Element, keyword: str) -> str:
    """The UID of a search result; raises LookupError or ValueError for a result without one."""
    uid = str(found[tag_of(keyword)]["Value"][0])
    if not UID.fullmatch(uid):
        raise ValueError
    return uid


def _is_this_machine(host: str) -> bool:
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _token(file: Path | None) -> str | None:
    if file is None:
        return None
    try:
        token = file.read_text("ascii").strip()
    except (OSError, UnicodeDecodeError):
        token = ""
    if not token.isprintable() or not token or " " in token:
        raise UsageError("dicomweb.token_file")
    return token
