"""The archive of the soak: takes what the node sends, and keeps of each object its UID, its hash and what it is about."""

import hashlib
import threading
import time
from dataclasses import dataclass

from pynetdicom import AE, StoragePresentationContexts, evt
from pynetdicom.sop_class import Verification

OUT_OF_RESOURCES = 0xA700


@dataclass
class Result:
    """An object that came. `about` are the instances that it refers to; `digests` has one hash, however often it came."""

    sop_class: str
    size: int
    about: frozenset
    digests: set
    arrivals: int = 1


class Archive:
    """A storage provider on loopback; while `refuses` it has no room."""

    def __init__(self, on_news):
        """Listen on `self.port`; `on_news()` is called after each object that is new."""
        self.results, self.refuses, self.refused = {}, False, 0
        self.answered = {}  # of each instance that an object is about: when the first one came
        self._lock, self._on_news = threading.Lock(), on_news
        entity = AE(ae_title="ARCHIVE")
        entity.maximum_associations = 20
        entity.network_timeout = 10
        entity.supported_contexts = StoragePresentationContexts
        entity.add_supported_context(Verification)
        self._server = entity.start_server(("127.0.0.1", 0), block=False, evt_handlers=[(evt.EVT_C_STORE, self._keep)])
        self.port = self._server.server_address[1]

    def _keep(self, event):
        if self.refuses:
            self.refused += 1
            return OUT_OF_RESOURCES
        data = event.request.DataSet.getvalue()
        digest, dataset = hashlib.sha256(data).hexdigest(), event.dataset
        uid = str(dataset.SOPInstanceUID)
        with self._lock:
            if uid in self.results:
                self.results[uid].digests.add(digest)
                self.results[uid].arrivals += 1
                return 0x0000
            about = frozenset(str(one.value) for one in dataset.iterall() if one.keyword == "ReferencedSOPInstanceUID")
            self.results[uid] = Result(str(dataset.SOPClassUID), len(data), about, {digest})
            for source in about:
                self.answered.setdefault(source, time.monotonic())
        self._on_news()
        return 0x0000

    def close(self):
        """Listen no more."""
        self._server.shutdown()
