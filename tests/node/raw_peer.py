"""A peer by bytes: it sends what no library would send."""

import socket
import struct

from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian

from tests.node.standins import NODE, SCANNER

REQUEST, ACCEPT, REJECT, DATA, RELEASE, RELEASED, ABORT = range(1, 8)
CONTEXT = 1
COMMAND, LAST = 1, 2  # bits of a fragment's control byte
STORE, ECHO = 0x0001, 0x0030


def pdu(kind, body, length=None):
    """A PDU; `length` is what it claims, if that is another."""
    return struct.pack(">BBL", kind, 0, len(body) if length is None else length) + body


def association_request(called=NODE, calling=SCANNER, sop_class=CTImageStorage):
    from pynetdicom import build_context
    from pynetdicom.pdu import A_ASSOCIATE_RQ
    from pynetdicom.pdu_primitives import A_ASSOCIATE, ImplementationClassUIDNotification, MaximumLengthNotification

    context = build_context(sop_class, ExplicitVRLittleEndian)
    context.context_id = CONTEXT
    longest, implementation = MaximumLengthNotification(), ImplementationClassUIDNotification()
    longest.maximum_length_received, implementation.implementation_class_uid = 16384, "1.2.3.4"
    asked = A_ASSOCIATE()
    asked.application_context_name = "1.2.840.10008.3.1.1.1"
    asked.calling_ae_title, asked.called_ae_title = calling, called
    asked.presentation_context_definition_list = [context]
    asked.user_information = [longest, implementation]
    made = A_ASSOCIATE_RQ()
    made.from_primitive(asked)
    return made.encode()


def element(group, number, value):
    return struct.pack("<HHL", group, number, len(value)) + value


def text(value):
    data = str(value).encode()
    return data + b"\0" * (len(data) % 2)


def number(value):
    return struct.pack("<H", value)


def command(kind=STORE, sop_class=CTImageStorage, sop_uid="1.2.3.4.5", message=1, has_data=True):
    """The command of a request."""
    body = element(0, 0x0002, text(sop_class)) + element(0, 0x0100, number(kind)) + element(0, 0x0110, number(message))
    if kind == STORE:
        body += element(0, 0x0700, number(0))
    body += element(0, 0x0800, number(1 if has_data else 0x0101))
    if kind == STORE:
        body += element(0, 0x1000, text(sop_uid))
    return element(0, 0x0000, struct.pack("<L", len(body))) + body


def fragment(data, control, context=CONTEXT):
    """A PDU of data with one fragment."""
    return pdu(DATA, struct.pack(">LBB", 2 + len(data), context, control) + data)


class RawPeer:
    """A connection to a node."""

    def __init__(self, port, timeout=10):
        self.socket = socket.create_connection(("127.0.0.1", port), timeout)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.socket.close()

    def send(self, data):
        self.socket.sendall(data)
        return self

    def associate(self, **request):
        kind, _ = self.send(association_request(**request)).receive()
        assert kind == ACCEPT
        return self

    def store(self, data, sop_uid="1.2.3.4.5", piece=16000, **other):
        """Send a C-STORE request, and return the (status, comment) of its answer."""
        self.send(fragment(command(sop_uid=sop_uid, **other), COMMAND | LAST))
        for at in range(0, max(len(data), 1), piece):
            self.send(fragment(data[at : at + piece], LAST if at + piece >= len(data) else 0))
        return self.status()

    def receive(self):
        """The next PDU as (type, body); (None, b"") if the node has ended the connection."""
        try:
            header = self._exactly(6)
            return header[0], self._exactly(int.from_bytes(header[2:], "big"))
        except ConnectionError:
            return None, b""

    def _exactly(self, count):
        data = b""
        while len(data) < count:
            more = self.socket.recv(count - len(data))
            if not more:
                raise ConnectionAbortedError
            data += more
        return data

    def status(self):
        """(status, comment) of the next answer; (None, None) if the node ends the connection instead."""
        kind, body = self.receive()
        if kind != DATA:
            return None, None
        at, found = 6, {}
        while at < len(body):
            _, number, length = struct.unpack_from("<HHL", body, at)
            found[number] = body[at + 8 : at + 8 + length]
            at += 8 + length
        return int.from_bytes(found[0x0900], "little"), found.get(0x0902, b"").decode().strip("\0 ")

    def is_ended(self):
        """Whether the node aborts and closes; what it sent before is passed over."""
        while True:
            kind, _ = self.receive()
            if kind is None:
                return True
            if kind not in (ABORT, DATA, REJECT):
                return False
