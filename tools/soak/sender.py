"""The scanners of the soak: several associations at once, each instance sent until it has the status that ends it."""

import random
import threading
import time
from collections import Counter, deque
from contextlib import suppress

from pynetdicom import AE

from tools.soak.instances import KINDS, Fate

SCANNERS = 4
PAUSE = 0.2  # seconds before an instance is sent again
RETRIED = {0xA700, 0x0110, None}  # no room, a fault of the node, no answer: what another attempt changes


class Sender:
    """Sends studies. `acknowledged` has the time of the success of each instance, `statuses` counts all answers."""

    def __init__(self, port, studies, answered, most_open, seed):
        """Take where to send, what, what is answered by now, and how many acknowledged instances may wait for it."""
        self.acknowledged, self.refused, self.wrong = {}, {}, []
        self.statuses, self.stopping = Counter(), threading.Event()
        self._port, self._answered, self._most_open = port, answered, most_open
        self._studies, self._lock, self._open = deque(studies), threading.Lock(), set()
        self._threads = [
            threading.Thread(target=self._send, args=(random.Random(seed + number),), daemon=True)
            for number in range(SCANNERS)
        ]

    def start(self):
        """Begin."""
        for thread in self._threads:
            thread.start()

    def is_alive(self):
        """Whether something is still to be sent."""
        return any(thread.is_alive() for thread in self._threads)

    def _send(self, dice):
        while not self.stopping.is_set():
            with self._lock:
                if not self._studies:
                    return
                study = self._studies.popleft()
            left = deque(study.sendings)
            while left and not self.stopping.is_set():
                self._associate(left, dice.randrange(1, 25))

    def _associate(self, left, most):
        """Send up to so many over one association; what has its status is taken from the left."""
        entity = AE(ae_title="SCANNER")
        entity.acse_timeout = entity.dimse_timeout = entity.network_timeout = 15
        entity.connection_timeout = 5
        datasets = [(sending, sending.source.dataset(sending.changed)) for sending in list(left)[:most]]
        for pair in sorted({(each.SOPClassUID, each.file_meta.TransferSyntaxUID) for _, each in datasets}):
            entity.add_requested_context(*pair)
        association = entity.associate("127.0.0.1", self._port, ae_title="MEDREGA")
        try:
            for sending, dataset in datasets:
                self._wait_for_answers()
                if not association.is_established or self.stopping.is_set():
                    self.statuses["no association"] += 1
                    self.stopping.wait(PAUSE)
                    return
                status = None
                with suppress(RuntimeError):  # it ended meanwhile
                    status = association.send_c_store(dataset).get("Status")
                self.statuses["no answer" if status is None else f"{status:04X}"] += 1
                if status in RETRIED:
                    self.stopping.wait(PAUSE)
                    return
                left.popleft()
                self._note(sending, status)
        finally:
            if association.is_established:
                association.release()

    def _note(self, sending, status):
        source = sending.source
        with self._lock:
            if status != sending.status:
                self.wrong.append((source.number, source.kind, sending.changed, f"{status:04X}"))
            if status == 0x0000 and source.sop_uid not in self.acknowledged:
                self.acknowledged[source.sop_uid] = time.monotonic()
                if KINDS[source.kind].fate is Fate.ANSWERED:
                    self._open.add(source.sop_uid)
            elif status not in (0x0000, 0x0111):
                self.refused[source.sop_uid] = status

    def _wait_for_answers(self):
        """Wait while too many instances are acknowledged and not answered, as a department's day does."""
        while not self.stopping.is_set():
            with self._lock:
                self._open = {uid for uid in self._open if uid not in self._answered}
                if len(self._open) < self._most_open:
                    return
            self.stopping.wait(0.05)

    @property
    def done(self):
        """How many instances have the status that ends them."""
        return len(self.acknowledged) + len(self.refused)
