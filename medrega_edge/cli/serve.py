"""`medrega serve`, `medrega view`, `medrega audit verify`: the server, the viewer, and the log of what was answered.

What they need is an extra, so nothing of it is imported before a command runs.
"""

from __future__ import annotations

import hashlib
import json
import os
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from medrega_edge.cli.console import print_result, print_status, user_language
from medrega_edge.cli.help import App
from medrega_edge.cli.options import ModelOptions, OwnLanguageOption, with_shared_options
from medrega_edge.cli.plugins import check_extra
from medrega_edge.domain import NOTICE, NOTICE_ZH, Language
from medrega_edge.errors import ImageError, UsageError
from medrega_edge.i18n.message import Message

if TYPE_CHECKING:
    from collections.abc import Callable

    from medrega_edge.server.app import Opened
    from medrega_edge.server.run import ListenOptions, RunOptions

SERVER = "Server and viewer"  # group of the help
EXTRA = "serve"
MEGABYTE = 1 << 20
audit_app = App()

PortOption = Annotated[int, typer.Option(min=0, max=65535, help="Port; 0 for one that is free.")]


@with_shared_options
def serve(
    host: Annotated[
        str, typer.Option(help="Address to listen on. Another than this machine's own needs a token and TLS.")
    ] = "127.0.0.1",
    port: PortOption = 8484,
    token_file: Annotated[
        Path | None, typer.Option(metavar="FILE", help="File with the token that clients need; default: MEDREGA_TOKEN.")
    ] = None,
    tls_cert: Annotated[Path | None, typer.Option(metavar="FILE", help="Certificate, as PEM.")] = None,
    tls_key: Annotated[Path | None, typer.Option(metavar="FILE", help="Its key, as PEM.")] = None,
    name: Annotated[
        list[str] | None, typer.Option(metavar="HOST", help="Further name by which clients call this server.")
    ] = None,
    allow_origin: Annotated[
        list[str] | None, typer.Option(metavar="URL", help="Page of another site that may send requests.")
    ] = None,
    processes: Annotated[
        int | None, typer.Option(min=1, max=64, help="Processes that answer; default: what pays off.")
    ] = None,
    queue: Annotated[int, typer.Option(min=0, max=10_000, help="Requests that may wait; more are refused with 429.")] = 64,
    deadline: Annotated[float, typer.Option(min=1, max=86_400, help="Seconds after which a request is given up.")] = 120.0,
    max_upload: Annotated[int, typer.Option(min=1, max=2048, help="Largest request, in megabytes.")] = 512,
    image_memory: Annotated[int, typer.Option(min=1, help="Memory for images that clients have sent, in megabytes.")] = 1024,
    audit: Annotated[
        Path | None, typer.Option(metavar="FILE.jsonl", help="Write a line for each answer: hashes, chained; no words.")
    ] = None,
    quiet: Annotated[bool, typer.Option("--quiet", help="No line for each request on standard error.")] = False,
    language: OwnLanguageOption = None,
    *,
    model: ModelOptions,
) -> None:
    """Answer over HTTP: an OpenAI-compatible API, regions as JSON, and a viewer in the browser.

    medrega serve

    medrega serve --host 0.0.0.0 --name scans.example.org --token-file token --tls-cert cert.pem --tls-key key.pem

    It listens on this machine only, unless told otherwise, fetches nothing, and keeps images in memory.
    """
    check_extra("serve", EXTRA)
    from medrega_edge.server.run import ListenOptions, RunOptions, read_token

    listen = ListenOptions(host, port, read_token(token_file), tls_cert, tls_key, name or (), allow_origin or ())
    run = RunOptions(
        model=model.model,
        threads=model.threads,
        device=model.device,
        cache=model.cache_folder,
        cache_bytes=model.cache_bytes,
        processes=processes,
        queue=queue,
        deadline=deadline,
        most_bytes=max_upload * MEGABYTE,
        store_bytes=image_memory * MEGABYTE,
        audit=audit,
        logs=not quiet,
    )
    _run(listen, run, lambda url: print_status(Message("server.ready", url=url)))


@with_shared_options
def view(
    images: Annotated[
        list[Path] | None,
        typer.Argument(metavar="FILE...", help="Images, folders of DICOM files, or a JSONL file of answers."),
    ] = None,
    port: PortOption = 0,
    no_browser: Annotated[bool, typer.Option("--no-browser", help="Print the address, and open no browser.")] = False,
    sample: Annotated[str | None, typer.Option(metavar="NAME", help="A scan that ships with the program.")] = None,
    language: OwnLanguageOption = None,
    *,
    model: ModelOptions,
) -> None:
    """Open images, or saved answers, in the browser.

    medrega view scan.dcm

    medrega view --sample abdomen-mri

    medrega view answers.jsonl FOLDER
    """
    check_extra("view", EXTRA)
    from medrega_edge.server.run import ListenOptions, RunOptions, new_token

    if sample is not None:
        from medrega_edge.images.samples import sample_path

        images = [*(images or ()), sample_path(sample)]
    files, opened = _opened(images or [])
    listen = ListenOptions(port=port, token=new_token())
    room = max(RunOptions.store_bytes, 2 * sum(map(len, files)))  # what was opened does not leave
    run = RunOptions(
        model=model.model,
        threads=model.threads,
        device=model.device,
        cache=model.cache_folder,
        cache_bytes=model.cache_bytes,
        logs=False,
        store_bytes=room,
        files=files,
        opened=opened,
        code=new_token(),
    )

    def show(url: str) -> None:
        print_status(Message("server.view", url=f"{url}/#token={listen.token}"))
        if not no_browser:
            import webbrowser

            webbrowser.open(f"{url}/#code={run.code}")  # others may read the arguments of a program

    _run(listen, run, show)


@audit_app.command()
def verify(
    file: Annotated[Path, typer.Argument(metavar="FILE.jsonl", help="Audit log of `medrega serve` or `medrega node`.")],
    language: OwnLanguageOption = None,
) -> None:
    """Check that no line of an audit log was changed, removed or put in.

    medrega audit verify answers.jsonl
    """
    from medrega_edge.io.audit import verify as verified

    count, last = verified(file)
    print_result(Message("audit.whole", count=count, last=last))


@audit_app.callback()
def _audit() -> None:
    """Check the log that `medrega serve --audit` or `medrega node` writes."""


def _run(listen: ListenOptions, run: RunOptions, on_ready: Callable[[str], None]) -> None:
    import asyncio

    from medrega_edge.server.run import listener
    from medrega_edge.server.run import serve as served

    print_status(NOTICE_ZH if user_language() is Language.ZH else NOTICE)
    with listener(listen) as opened, suppress(KeyboardInterrupt, SystemExit):  # told to stop: that is its proper end
        asyncio.run(served(opened, listen, run, on_ready))


def _opened(paths: list[Path]) -> tuple[list[bytes], Opened]:
    """Read the files to show; raises ImageError for one that is not there, UsageError for answers that cannot be read."""
    from medrega_edge.images.reader import read_file
    from medrega_edge.io.atomic import image_names
    from medrega_edge.server.app import Opened

    files: list[bytes] = []
    answers: list[dict[str, Any]] = []
    for path in paths:
        if os.path.isdir(path):
            files += [read_file(path / name) for name in image_names(path)]
        elif not os.path.exists(path):
            raise ImageError("cli.no_such_file", path=path)
        elif path.suffix.lower() in (".jsonl", ".json"):
            found, beside = _answers(path)
            answers += found
            files += [read_file(image) for image in beside]
        else:
            files.append(read_file(path))
    hashes = list(dict.fromkeys(hashlib.sha256(data).hexdigest() for data in files))
    return files, Opened(hashes, answers)


def _answers(path: Path) -> tuple[list[dict[str, Any]], list[Path]]:
    """Read saved answers, and the paths of their images, which are relative to the file or to this folder."""
    answers: list[dict[str, Any]] = []
    images: dict[Path, None] = {}
    try:
        lines = path.read_text("utf-8").splitlines()
        for number, line in enumerate(filter(None, lines), 1):
            answer = json.loads(line)
            if "error" in answer:
                continue
            name = answer["image"]["path"] or ""
            if name.replace("\\", "/").startswith("//"):  # of another machine, which must not be called
                name = ""
            answers.append({"id": answer.get("id", number), "question": answer.get("question"), "answer": answer})
            for folder in (path.parent, Path()) if name else ():
                if (folder / name).is_file():
                    images[folder / name] = None
                    break
    except (OSError, ValueError, KeyError, TypeError):
        raise UsageError("server.bad_answers") from None
    return answers, list(images)


def mount(app: App) -> None:
    """Register `serve`, `view` and `audit`."""
    app.command(rich_help_panel=SERVER)(serve)
    app.command(rich_help_panel=SERVER)(view)
    app.add_typer(audit_app, name="audit", rich_help_panel=SERVER)
