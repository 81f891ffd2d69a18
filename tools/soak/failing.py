"""A network and a disk that fail on command: a proxy between two programs, and a small disk for the node."""

import asyncio
import os
import random
import resource
import subprocess
import threading
from contextlib import contextmanager, suppress

CHUNK = 16_384
MEGABYTE = 1 << 20


class Proxy:
    """Passes connections on to a port. `cut` ends all of them; while `is_cut` no new one comes through.

    With `drops` a connection ends after so many bytes: a function that is called for each.
    """

    def __init__(self, target):
        """Listen on `self.port`; `target()` is the port to pass on to, or None while there is none."""
        self._target, self.is_cut, self.drops, self.dropped = target, False, None, 0
        self._open = set()
        self._loop = asyncio.new_event_loop()
        ready = threading.Event()
        self._thread = threading.Thread(target=self._run, args=(ready,), daemon=True, name="proxy")
        self._thread.start()
        ready.wait()

    def _run(self, ready):
        asyncio.set_event_loop(self._loop)
        server = self._loop.run_until_complete(asyncio.start_server(self._pass, "127.0.0.1", 0))
        self.port = server.sockets[0].getsockname()[1]
        ready.set()
        self._loop.run_forever()
        server.close()
        for task in asyncio.all_tasks(self._loop):
            task.cancel()
        self._loop.run_until_complete(asyncio.sleep(0))
        self._loop.close()

    async def _pass(self, reader, writer):
        port = self._target()
        if self.is_cut or port is None:
            return writer.transport.abort()
        try:
            out_reader, out_writer = await asyncio.open_connection("127.0.0.1", port)
        except OSError:
            return writer.transport.abort()
        pair = (writer.transport, out_writer.transport)
        self._open.add(pair)
        left = [self.drops() if self.drops else None]
        try:
            await asyncio.gather(self._pump(reader, out_writer, left), self._pump(out_reader, writer, left))
        except OSError:
            pass
        finally:
            self._open.discard(pair)
            for transport in pair:
                transport.abort()

    async def _pump(self, reader, writer, left):
        while data := await reader.read(CHUNK):
            if left[0] is not None:
                data = data[: left[0]]
                left[0] -= len(data)
            writer.write(data)
            await writer.drain()
            if left[0] == 0:
                self.dropped += 1
                raise ConnectionResetError
        with suppress(OSError):
            writer.write_eof()

    def cut(self):
        """End all connections in their midst, and let none through until `mend`."""
        self.is_cut = True
        self._loop.call_soon_threadsafe(self._abort)

    def _abort(self):
        for pair in list(self._open):
            self.dropped += 1
            for transport in pair:
                transport.abort()

    def mend(self):
        """Let everything through again."""
        self.is_cut, self.drops = False, None

    def close(self):
        """Stop."""
        self._loop.call_soon_threadsafe(self._abort)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)


def after_some_bytes(seed, most):
    """Return what draws for each connection the number of bytes after which it ends."""
    dice = random.Random(seed)
    return lambda: dice.randrange(1, most)


class Disk:
    """Where the node keeps its state. `fill` makes it full for the node, `free` gives the room back."""

    def __init__(self, folder, is_mounted):
        """Take a folder, which is a small file system of its own or not."""
        self.folder, self.is_mounted = folder, is_mounted
        self._ballast = folder / "ballast"

    @property
    def way(self):
        """How it is made full, in words."""
        return "a file system of its own, filled to the last byte (ENOSPC)" if self.is_mounted else "RLIMIT_FSIZE (EFBIG)"

    def fill(self, pid):
        """Leave no room; `pid` is the node's."""
        if not self.is_mounted:
            return self._limit(pid, 4096)
        with self._ballast.open("wb", buffering=0) as file, suppress(OSError):
            for size in (MEGABYTE, 4096, 1):
                with suppress(OSError):
                    while file.write(bytes(size)) == size:
                        pass
        return None

    def free(self, pid):
        """Give the room back."""
        self._ballast.unlink(missing_ok=True)
        if not self.is_mounted:
            self._limit(pid, resource.RLIM_INFINITY)

    @staticmethod
    def _limit(pid, size):
        with suppress(ProcessLookupError):
            resource.prlimit(pid, resource.RLIMIT_FSIZE, (size, resource.RLIM_INFINITY))


@contextmanager
def small_disk(folder, megabytes):
    """A disk of so many megabytes at `folder`, or the folder alone where this user may mount nothing."""
    folder.mkdir()
    options = ["-t", "tmpfs", "-o", f"size={megabytes}m,mode=0700", "tmpfs", str(folder)]
    is_mounted = os.geteuid() == 0 and not subprocess.run(["mount", *options], capture_output=True, check=False).returncode
    try:
        yield Disk(folder, is_mounted)
    finally:
        if is_mounted:
            subprocess.run(["umount", "--lazy", str(folder)], check=True)
