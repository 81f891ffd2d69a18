"""Try the steps of the Dockerfile without Docker, in a clean folder: what CI runs where no container can be built.

    python -m tools.container_steps [--keep FOLDER]

Each stage of the Dockerfile gets a folder as its root. COPY copies what .dockerignore leaves, RUN runs with the paths of the
container put below that root, and `python` of this machine stands in for the base image. What the image holds is then run as
its USER, on read-only disks, where the kernel allows that: a question without a network, the default command with its
HEALTHCHECK, and the quick local server. At the end no file of the image may have changed. Exit code 1 and a sentence say
what failed.

What this does not try: the base image itself, and Docker's own options.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shlex
import shutil
import signal
import socket
import ssl
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from urllib.error import HTTPError
from urllib.request import HTTPSHandler, ProxyHandler, Request, build_opener

ROOT = Path(__file__).parents[1]
OWN = re.compile(r"(?<![\w./])/(?=(?:opt|src|run/secrets)\b)")  # where paths of the container lie below a stage's folder
TOKEN = "a-token-of-the-container-steps"
SECONDS = 120  # for the server to be there, and to stop


class Failed(Exception):
    """A step that did not do what the Dockerfile says."""


# ---- the two files


def instructions(text: str) -> list[tuple[str, str]]:
    """Return the instructions of a Dockerfile with their arguments; lines that a backslash joins are one."""
    kept = "\n".join(line for line in text.splitlines() if not line.lstrip().startswith("#"))
    joined = re.sub(r"\\\n\s*", "", kept)
    return [(name.upper(), rest.strip()) for name, _, rest in (line.partition(" ") for line in joined.splitlines() if line)]


def words(text: str) -> list[str]:
    """Return the words of a command: a JSON list, or shell words."""
    return list(json.loads(text)) if text.startswith("[") else shlex.split(text)


def ignore_rules(text: str) -> list[tuple[re.Pattern[str], bool]]:
    """Return the patterns of a .dockerignore, each with whether it takes a path back in."""
    lines = [line.strip() for line in text.splitlines() if line.strip() and not line.startswith("#")]
    return [(_pattern(line.lstrip("!")), line.startswith("!")) for line in lines]


def _pattern(glob: str) -> re.Pattern[str]:
    parts = {"**/": "(?:.*/)?", "**": ".*", "*": "[^/]*", "?": "[^/]"}
    body = "".join(parts.get(part) or re.escape(part) for part in re.split(r"(\*\*/|\*\*|\*|\?)", glob.strip("/")))
    return re.compile(f"{body}(?:/.*)?")  # a folder stands for all below it


def context_files(root: Path) -> list[Path]:
    """Return the files that Docker would send to a build, relative to `root`; the last rule that fits a path decides."""
    rules = ignore_rules((root / ".dockerignore").read_text("utf-8"))
    found = []
    for folder, folders, names in os.walk(root):
        folders[:] = [name for name in folders if name != ".git"]
        for name in names:
            path = Path(folder, name).relative_to(root)
            fitting = [back for pattern, back in rules if pattern.fullmatch(path.as_posix())]
            if not fitting or fitting[-1]:
                found.append(path)
    return sorted(found)


# ---- the stages


@dataclass
class Stage:
    """One stage of the build, and what its image would run."""

    folder: Path
    env: dict[str, str]
    workdir: str = "/"
    user: int | None = None
    entrypoint: list[str] = field(default_factory=list)
    command: list[str] = field(default_factory=list)
    health: list[str] = field(default_factory=list)
    arguments: dict[str, str] = field(default_factory=dict)  # of ARG

    def path(self, text: str) -> str:
        """Return a text with the container's own paths below the folder of this stage."""
        return OWN.sub(f"{self.folder}/", text)

    def environment(self) -> dict[str, str]:
        """Return the variables of a process in the container."""
        return {name: self.path(value) for name, value in self.env.items()}

    def place(self, path: str) -> Path:
        """Return where a path of the container lies."""
        return self.folder / os.path.join(self.workdir, path).lstrip("/")


def build(dockerfile: str, work: Path, python: str) -> Stage:
    """Follow a Dockerfile; returns its last stage. Raises Failed."""
    stages: dict[str, Stage] = {}
    stage: Stage | None = None
    for name, rest in instructions(dockerfile):
        say(f"{name} {rest}")
        if name == "FROM":
            _, _, alias = rest.partition(" AS ")
            stage = _new_stage(work / f"stage{len(stages)}", rest, python)
            stages[alias or str(len(stages))] = stage
            continue
        if stage is None:
            raise Failed(f"{name} stands before FROM")
        _follow(name, rest, stage, stages)
    if stage is None:
        raise Failed("the Dockerfile has no stage")
    return stage


def _new_stage(folder: Path, image: str, python: str) -> Stage:
    """Make the folder of a stage, with `python` where the base image has it."""
    if not image.startswith("python:"):
        raise Failed(f"the base image {image} is none of Python")
    (folder / "base").mkdir(parents=True)
    (folder / "base" / "python").symlink_to(python)
    return Stage(folder, {"PATH": f"{folder}/base:/usr/bin:/bin", "LANG": "C.UTF-8"})


def _follow(name: str, rest: str, stage: Stage, stages: dict[str, Stage]) -> None:
    if name == "ARG":
        key, _, value = rest.partition("=")
        stage.arguments[key] = value
    elif name == "ENV":
        base = stage.env["PATH"]
        stage.env |= dict(part.split("=", 1) for part in shlex.split(rest))
        if stage.env["PATH"] != base:
            stage.env["PATH"] += f":{stage.folder}/base"
    elif name == "WORKDIR":
        stage.workdir = rest
        stage.place(".").mkdir(parents=True, exist_ok=True)
    elif name == "COPY":
        _copy(words(rest), stage, stages)
    elif name == "RUN":
        _run(rest, stage)
    elif name == "USER":
        stage.user = int(rest.partition(":")[0])
    elif name == "ENTRYPOINT":
        stage.entrypoint = words(rest)
    elif name == "CMD":
        stage.command = words(rest)
    elif name == "HEALTHCHECK":
        stage.health = words(rest.partition("CMD ")[2])
    elif name not in ("EXPOSE", "LABEL"):
        raise Failed(f"this program does not know {name}")


def _copy(arguments: list[str], stage: Stage, stages: dict[str, Stage]) -> None:
    """COPY from the build context, or with --from from another stage."""
    source = next((one.partition("=")[2] for one in arguments if one.startswith("--from=")), None)
    what, target = [one for one in arguments if not one.startswith("--")]
    if source is None:
        if what != ".":
            raise Failed(f"this program copies the whole context only, not {what}")
        for path in context_files(ROOT):
            place = stage.place(target) / path
            place.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / path, place)
        return
    other = stages[source]
    shutil.copytree(other.place(what), stage.place(target), symlinks=True)
    for path in stage.place(target).rglob("bin/*"):  # the first lines of scripts name the folder of the other stage
        if path.is_file() and not path.is_symlink() and str(other.folder).encode() in (data := path.read_bytes()):
            path.write_bytes(data.replace(str(other.folder).encode(), str(stage.folder).encode()))


def _run(command: str, stage: Stage) -> None:
    """RUN a command of the shell; pip may look where this machine's pip looks."""
    pip = {
        name: value for name, value in os.environ.items() if name.startswith(("PIP_", "SSL_", "REQUESTS_", "http", "HTTP"))
    }
    environment = {"HOME": os.environ.get("HOME", "/"), **pip, **stage.arguments, **stage.environment()}
    ran = subprocess.run(
        ["/bin/sh", "-c", stage.path(command)], cwd=stage.place("."), env=environment, capture_output=True, check=False
    )
    if ran.returncode:
        raise Failed(f"RUN ended with {ran.returncode}: {ran.stderr.decode('utf-8', 'replace')[-2000:]}")


# ---- what the image does


# Makes every disk read-only in a mount namespace of its own, as `docker run --read-only` does, and runs a command there.
READ_ONLY = """
mount --make-rprivate / || exit 97
for place in $PLACES; do mount -o remount,bind,ro "$place" || exit 97; done
exec "$@"
"""


@dataclass(frozen=True)
class Container:
    """Runs what a stage holds: as `user` if it is not None, and with `is_read_only` on disks that nobody can write to."""

    stage: Stage
    user: int | None
    is_read_only: bool

    def start(self, command: Sequence[str], alone: bool = False) -> subprocess.Popen[bytes]:
        """Start a command; `alone` without a network, where `can_be_alone`."""
        environment = self.stage.environment()
        given = [self.stage.path(word) for word in command]
        found = shutil.which(given[0], path=environment["PATH"])
        if found is None:
            raise Failed(f"the image has no command {given[0]}")
        run = [found, *given[1:]]
        if self.user is not None:
            run = [*("setpriv", f"--reuid={self.user}", f"--regid={self.user}", "--clear-groups", "--no-new-privs"), *run]
        if self.is_read_only:
            run = read_only(self.stage.folder, run)
        if alone:
            run = ["unshare", "--net", *run]
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "stdin": subprocess.DEVNULL}
        return subprocess.Popen(run, env=environment, cwd="/", **pipes)  # type: ignore[call-overload, no-any-return]

    def run(self, command: Sequence[str], alone: bool = False) -> tuple[int, str, str]:
        """Run a command; returns its exit code and what it wrote."""
        process = self.start(command, alone)
        out, err = process.communicate(timeout=SECONDS)
        return process.returncode, out.decode(), err.decode("utf-8", "replace")


def read_only(folder: Path, command: Sequence[str]) -> list[str]:
    """Return the command that runs another one on read-only disks: those of `/`, of temporary files, and of `folder`."""
    places = dict.fromkeys(mount_point(Path(place)) for place in ("/", tempfile.gettempdir(), folder))
    return ["unshare", "--mount", "env", f"PLACES={' '.join(map(str, places))}", "sh", "-c", READ_ONLY, "sh", *command]


def mount_point(path: Path) -> Path:
    """Return where the file system of a path is mounted."""
    return path if path.is_mount() else mount_point(path.parent)


def can_be_read_only(folder: Path) -> bool:
    """Whether the kernel lets this process make disks read-only for a command."""
    if os.geteuid() != 0 or shutil.which("unshare") is None:
        return False
    trial = folder / "written"
    code = subprocess.run(read_only(folder, ["touch", str(trial)]), capture_output=True, check=False).returncode
    return code not in (0, 97) and not trial.exists()


def usable_user(stage: Stage) -> int | None:
    """Return the user of the image, None where this process cannot become that user or that user not run Python."""
    if stage.user is None or os.geteuid() != 0 or shutil.which("setpriv") is None:
        return None
    code, _, _ = Container(stage, stage.user, False).run(["python", "-c", "import ssl, sqlite3"])
    return stage.user if code == 0 else None


def can_be_alone() -> bool:
    """Whether the kernel gives this process a network of its own, with nothing in it."""
    if shutil.which("unshare") is None:
        return False
    return subprocess.run(["unshare", "--net", "true"], capture_output=True, check=False).returncode == 0


def check_question(container: Container) -> None:
    """`docker run --network none IMAGE ask ...`."""
    alone = can_be_alone()
    asked = [*container.stage.entrypoint, "ask", "--sample", "abdomen-mri", "locate the liver", "--json"]
    code, out, err = container.run(asked, alone)
    if code or not json.loads(out)["regions"]:
        raise Failed(f"a question ended with {code}: {err[-2000:]}")
    say(f"a question was answered{' without a network' if alone else '; no network of its own could be had'}")


def check_server(container: Container, options: Sequence[str], scheme: str, token: str | None) -> None:
    """Start the server, hold HEALTHCHECK and token against it, stop it as Docker does."""
    port = free_port()
    health = [*container.stage.health, str(port)]
    if container.run(health)[0] == 0:
        raise Failed("HEALTHCHECK says that a server is healthy that was not started")
    with stopped(container.start([*container.stage.entrypoint, *options, "--port", str(port)])) as process:
        deadline = time.monotonic() + SECONDS
        while container.run(health)[0] != 0:
            if process.poll() is not None:
                _, err = process.communicate()
                raise Failed(f"the server ended with {process.returncode}: {err.decode('utf-8', 'replace')[-2000:]}")
            if time.monotonic() > deadline:
                raise Failed("HEALTHCHECK does not find the server healthy")
            time.sleep(0.2)
        statuses = [status(f"{scheme}://127.0.0.1:{port}/v1/info", given) for given in (None, token)]
        if statuses != [200 if token is None else 401, 200]:
            raise Failed(f"the server answered {statuses} without and with its token")
    if process.returncode not in (0, 128 + signal.SIGTERM):
        raise Failed(f"told to stop, the server ended with {process.returncode}")
    say(f"{' '.join(options[:1])} over {scheme}: healthy, answers{' its token only' if token else ''}, stops when told to")


@contextmanager
def stopped(process: subprocess.Popen[bytes]) -> Iterator[subprocess.Popen[bytes]]:
    """Stop a server at the end: with SIGTERM, and by force where that does nothing."""
    try:
        yield process
    finally:
        process.terminate()
        try:
            process.communicate(timeout=SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.communicate()


def status(url: str, token: str | None) -> int:
    """Return the status of a response."""
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    opener = build_opener(ProxyHandler({}), HTTPSHandler(context=context))
    try:
        with opener.open(
            Request(url, headers={"Authorization": f"Bearer {token}"} if token else {}), timeout=60
        ) as response:
            return int(response.status)
    except HTTPError as error:
        return error.code


def free_port() -> int:
    """Return a port that nobody listens on."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return int(taken.getsockname()[1])


def make_secrets(folder: Path) -> None:
    """Make the token, the certificate and its key, as docs/container.md does; everybody here may read them."""
    folder.mkdir(parents=True)
    (folder / "token").write_text(f"{TOKEN}\n")
    made = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=localhost"]
    made += ["-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1"]
    subprocess.run([*made, "-keyout", folder / "key.pem", "-out", folder / "cert.pem"], capture_output=True, check=True)
    (folder / "key.pem").chmod(0o644)


def listing(folder: Path) -> dict[str, tuple[int, int]]:
    """Return every file below a folder with its size and the time of its last change."""
    files = [path for path in folder.rglob("*") if path.is_file() and not path.is_symlink()]
    return {str(path.relative_to(folder)): (path.stat().st_size, path.stat().st_mtime_ns) for path in files}


def find_python(dockerfile: str) -> str:
    """Return a Python of the version of the base image, else this one; one that other users can run comes first."""
    version = re.search(r"^FROM python:(\d+\.\d+)", dockerfile, re.MULTILINE)
    name = f"python{version[1]}" if version else "python3"
    for candidate in (f"/usr/local/bin/{name}", f"/usr/bin/{name}", shutil.which(name) or sys.executable):
        works = [candidate, "-c", "import venv, ensurepip, ssl"]
        if os.path.exists(candidate) and subprocess.run(works, capture_output=True, check=False).returncode == 0:
            return candidate
    return sys.executable


def say(line: str) -> None:
    """Print a line at once."""
    print(line, flush=True)  # noqa: T201


def try_all(work: Path) -> None:
    """Build, then run; raises Failed."""
    dockerfile = (ROOT / "Dockerfile").read_text("utf-8")
    python = find_python(dockerfile)
    say(f"python: {python}")
    stage = build(dockerfile, work, python)
    make_secrets(stage.folder / "run" / "secrets")
    for folder in (work, *stage.folder.parents[:1]):
        folder.chmod(0o755)
    user = usable_user(stage)
    say(f"as user {stage.user}" if user is not None else f"as this user: not as {stage.user}, who cannot be become here")
    before = listing(stage.folder)
    say(f"the image: {len(before)} files, {sum(size for size, _ in before.values()) / 1e6:.0f} MB beside its base")
    container = Container(stage, user, can_be_read_only(stage.folder))
    say("on read-only disks" if container.is_read_only else "not on read-only disks, which this process cannot make")
    check_question(container)
    check_server(container, stage.command, "https", TOKEN)
    check_server(container, ["serve"], "http", None)
    after = listing(stage.folder)
    if changed := sorted(name for name in before.keys() | after.keys() if before.get(name) != after.get(name)):
        raise Failed(f"the image was written to: {changed[:5]}")
    say("no file of the image has changed")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the steps; returns the exit code."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--keep", type=Path, metavar="FOLDER", help="new folder for the stages; default: a temporary one")
    keep = parser.parse_args(arguments).keep
    work = Path(tempfile.mkdtemp(prefix="medrega-container-")) if keep is None else keep.absolute()
    try:
        try_all(work)
    except Failed as problem:
        say(f"FAILED: {problem}")
        return 1
    finally:
        if keep is None:
            shutil.rmtree(work, ignore_errors=True)
    say("OK")
    return 0


if __name__ == "__main__":
    sys.exit(main())
