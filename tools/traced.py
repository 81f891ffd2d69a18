"""What a command asks of the kernel, by strace: the sockets it opened, and the paths it wrote, made, renamed or removed."""

import os
import re
import subprocess
import sys

CALLS = (
    "%network,open,openat,creat,mkdir,mkdirat,rename,renameat,renameat2,unlink,unlinkat,rmdir,link,linkat,symlink,symlinkat,"
    "truncate,mknod,mknodat"
)
_PATH = re.compile(r'"((?:[^"\\]|\\.)*)"')
_WRITES = re.compile(r"O_WRONLY|O_RDWR|O_CREAT|O_TRUNC")


def available():
    """Whether strace is here and may trace."""
    try:
        return subprocess.run(["strace", "-o", os.devnull, "true"], capture_output=True, check=False).returncode == 0
    except FileNotFoundError:
        return False


def traced(folder, *arguments, stdin=b"", before=(), **variables):
    """Run `medrega` in `folder`; returns (process, sockets of the internet, paths written). Devices are not told.

    `before` stands in front of the command: a program that runs it.
    """
    log = folder.parent / f"{folder.name}.strace"
    environment = {"PATH": os.environ["PATH"], "HOME": str(folder), "PYTHONDONTWRITEBYTECODE": "1", **variables}
    command = ["strace", "-f", "-qq", "-e", f"trace={CALLS}", "-o", str(log), *before]
    command += [sys.executable, "-m", "medrega_edge", *map(str, arguments)]
    run = subprocess.run(command, input=stdin, capture_output=True, cwd=folder, env=environment,
                         timeout=120, check=False)  # fmt: skip
    sockets, written = [], set()
    for line in log.read_text("utf-8", "replace").splitlines():
        call = line.split(maxsplit=1)[-1]
        if "AF_INET" in call:
            sockets.append(call)
        elif call.startswith(("open", "creat")):
            path = _PATH.search(call)
            if _WRITES.search(call) and path and " = -1" not in call and not path[1].startswith("/dev/"):
                written.add(path[1])
        elif not call.startswith(("socket", "connect", "send", "recv", "bind", "get", "set", "+++", "---", "<...", "shut")):
            written |= set(_PATH.findall(call)) if " = -1" not in call else set()
    return run, sockets, written
