"""The node as a DICOM application entity: its title, its limits, its certificates, the syntaxes that it reads."""

from __future__ import annotations

import functools
import logging
import ssl
import warnings
from pathlib import Path
from typing import TypeVar

from pydicom.pixels import get_decoder
from pydicom.uid import (
    HTJ2K,
    JPEG2000,
    UID,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    HTJ2KLossless,
    HTJ2KLosslessRPCL,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGBaseline8Bit,
    JPEGExtended12Bit,
    JPEGLossless,
    JPEGLosslessSV1,
    JPEGLSLossless,
    JPEGLSNearLossless,
    RLELossless,
)
from pynetdicom import AE, _config

from medrega_edge.errors import UsageError
from medrega_edge.node.config import NodeConfig, Tls

Entity = TypeVar("Entity", bound=AE)
# In this order a syntax is chosen of those that a peer proposes.
PLAIN = (ExplicitVRLittleEndian, ImplicitVRLittleEndian, DeflatedExplicitVRLittleEndian, ExplicitVRBigEndian)
_COMPRESSED = (
    *(JPEGBaseline8Bit, JPEGExtended12Bit, JPEGLossless, JPEGLosslessSV1, JPEGLSLossless, JPEGLSNearLossless),
    *(JPEG2000Lossless, JPEG2000, HTJ2KLossless, HTJ2KLosslessRPCL, HTJ2K, RLELossless),
)


def silence() -> None:
    """Switch off the logs and warnings of the libraries that see headers: they quote values, which may be a patient's."""
    _config.LOG_HANDLER_LEVEL = "none"
    for name in ("pydicom", "pynetdicom", "dicomweb_client", "urllib3"):
        logging.getLogger(name).setLevel(logging.CRITICAL + 1)
    warnings.filterwarnings("ignore", module=r"py(net)?dicom\b")


def application_entity(config: NodeConfig, kind: type[Entity] = AE) -> Entity:
    """The node for pynetdicom, which calls and listens with the same title and limits."""
    silence()
    entity: Entity = kind(ae_title=config.ae_title)
    entity.maximum_pdu_size = config.limits.pdu_bytes
    entity.maximum_associations = config.limits.associations
    entity.require_called_aet = True
    seconds = config.limits.idle_seconds
    entity.acse_timeout = entity.dimse_timeout = entity.network_timeout = entity.connection_timeout = seconds
    return entity


@functools.cache
def readable_syntaxes() -> tuple[UID, ...]:
    """The transfer syntaxes whose images the program reads: without compression, or with one whose decoder is there."""
    return (*PLAIN, *(syntax for syntax in _COMPRESSED if get_decoder(syntax).is_available))


def listening_tls(tls: Tls | None) -> ssl.SSLContext | None:
    """How the node shows itself to who calls it; with an authority, whoever calls has to show a certificate of it too."""
    if tls is None:
        return None
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    _load(context, tls)
    if tls.authority is not None:
        context.verify_mode = ssl.CERT_REQUIRED
    return context


def calling_tls(tls: Tls | None) -> ssl.SSLContext:
    """How the node calls a peer, whose certificate has to name its address.

    It has to be of the authority; without one, of one that this system trusts.
    """
    context = ssl.create_default_context()
    if tls is not None:
        if tls.authority is not None:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        _load(context, tls)
    return context


def public_tls(tls: Tls | None) -> ssl.SSLContext:
    """How an archive is called over HTTPS: its certificate is of one that this system trusts, or of the authority."""
    context = ssl.create_default_context()
    if tls is not None and tls.authority is not None:
        _trust(context, tls.authority)
    return context


def _load(context: ssl.SSLContext, tls: Tls) -> None:
    try:
        context.load_cert_chain(tls.certificate, tls.key, _no_password)
    except (OSError, ValueError):  # SSLError is an OSError
        raise UsageError("receive.bad_certificate") from None
    if tls.authority is not None:
        _trust(context, tls.authority)


def _trust(context: ssl.SSLContext, authority: Path) -> None:
    try:
        context.load_verify_locations(authority)
    except OSError:
        raise UsageError("receive.bad_certificate") from None


def _no_password() -> str:
    """Refuse a key that has a password: nobody is there to type it."""
    raise ValueError
