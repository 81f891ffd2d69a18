"""Parts of the server without a process: conversations, a server's names, what a file holds, the audit log, the store."""

import asyncio
import base64
import io
import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

pytest.importorskip("starlette")

from prometheus_client import CollectorRegistry

from medrega_edge import load
from medrega_edge.errors import GateError, ImageError, ResourceError, UsageError
from medrega_edge.images.samples import sample_path
from medrega_edge.io import audit
from medrega_edge.io.strict_json import JsonFault, parse_json
from medrega_edge.server import chat, run
from medrega_edge.server.errors import HttpError, error_response, status_of
from medrega_edge.server.facts import describe
from medrega_edge.server.guard import Guard, GuardOptions
from medrega_edge.server.jobs import Describe, Picture
from medrega_edge.server.pool import Busy, Pool, PoolOptions, TooLate
from medrega_edge.server.store import ENTRY_BYTES, ImageStore
from medrega_edge.server.worker import Worker
from tests.codes import raises_code

SCAN = sample_path("abdomen-mri")
URI = "data:image/png;base64," + base64.b64encode(b"one").decode()
OTHER = "data:image/png;base64," + base64.b64encode(b"two").decode()


def user(*parts):
    images = [{"type": "image_url", "image_url": {"url": part}} for part in parts if part.startswith("data:")]
    return {"role": "user", "content": [*images, *({"type": "text", "text": p} for p in parts if not p.startswith("data:"))]}


def asked(*messages, **more):
    return chat.asked(parse_json(chat.ChatRequest, json.dumps({"messages": messages, "temperature": 1, **more})))


def test_a_conversation_is_about_the_last_images_and_what_was_asked_since():
    assistant = {"role": "assistant", "content": "x"}
    found = asked(
        {"role": "system", "content": "be kind"}, user(URI, "a"), assistant, user(OTHER, "b"), assistant, user("c")
    )
    assert (found.images, found.question.history, found.question.question) == ((b"two",), ("b",), "c")
    found = asked(user(URI, OTHER, "a"), max_completion_tokens=7, medrega={"language": "zh", "masks": True, "index": 3})
    assert found.images == (b"one", b"two") and found.question.max_tokens == 7 and found.question.masks
    assert found.picture("f").index == 3 and found.question.language == "zh"
    assert asked(user(URI), {"role": "user", "content": "where?"}).question.question == "where?"


@pytest.mark.parametrize(
    ("body", "code"),
    [
        ({"messages": [user("a")]}, "server.no_image"),
        ({"messages": [user(URI)]}, "server.no_question"),
        ({"messages": [user(URI, "a")], "tools": [{}]}, "server.unsupported"),
        ({"messages": [user(URI, "a")], "n": 3}, "server.unsupported"),
    ],
)
def test_what_a_conversation_lacks(body, code):
    with raises_code(HttpError, code):
        asked(*body.pop("messages"), **body)


@pytest.mark.parametrize("body", [{"messages": []}, {"messages": 7}, {"messages": [{"role": "user", "content": 7}]}, {}])
def test_a_body_that_is_no_conversation(body):
    with pytest.raises(JsonFault):
        parse_json(chat.ChatRequest, json.dumps(body))


def test_regions_are_written_in_the_model_s_own_protocol():
    region = {"label": "liver", "box": [0, 0, 100, 50]}
    answer = {
        "text": "Here.",
        "regions": [region, region | {"box": [50, 25, 100, 50]}],
        "image": {"width": 100, "height": 50},
        "language": "en",
        "facts": {"not_regarded": ["apical"]},
        "warning_details": [{"message": "perhaps"}],
    }
    aside = "- Of the question not regarded: apical.\n"
    boxes, notice = (
        "<ref>liver</ref><box>[[0, 0, 999, 999], [500, 500, 999, 999]]</box>",
        "Research use only - not a medical device",
    )
    assert chat.content([answer], True) == f"Here.\n\n{aside}- perhaps\n\n{boxes}\n\n{notice}"
    once = f"Here.\n\n{aside}- perhaps\n\n{notice}"
    assert chat.content([answer, answer], False) == f"[1] {once}\n\n[2] {once}"


@pytest.mark.parametrize(
    ("options", "host", "origin", "allowed"),
    [
        ({}, "127.0.0.1:8484", None, True),
        ({}, "LOCALHOST:8484", "http://localhost:8484", True),
        ({}, "[::1]:8484", None, True),
        ({}, "localhost", None, False),
        ({}, "localhost:8485", None, False),
        ({}, "scanner.example:8484", None, False),
        ({"names": ["scanner.example"]}, "scanner.example:8484", "http://scanner.example:8484", True),
        ({"names": ["proxy.example:443"]}, "proxy.example:443", None, True),
        ({}, "localhost:8484", "https://localhost:8484", False),
        ({}, "localhost:8484", "http://evil.example", False),
        ({"origins": ["https://Viewer.example"]}, "localhost:8484", "https://viewer.example", True),
    ],
)
def test_names_and_origins_of_a_server(options, host, origin, allowed):
    guard = run.guard_of(run.ListenOptions(**options), run.RunOptions(logs=False), 8484)
    status, _, _ = answered(guard, {"host": host} | ({"origin": origin} if origin else {}))
    assert (status == 200) is allowed


def answered(options, headers, body=b"", app=None):
    """Pass a request through the guard: status, headers and body of what comes back."""

    async def fine(scope, receive, send):
        while (await receive()).get("more_body"):
            pass
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"ok"})

    sent, parts = [], [body[start : start + 10] for start in range(0, len(body), 10)] or [b""]
    messages = [{"type": "http.request", "body": part, "more_body": part is not parts[-1]} for part in parts]

    async def receive():
        return messages.pop(0) if messages else {"type": "http.disconnect"}

    async def send(message):
        sent.append(message)

    pairs = [(name.encode(), value.encode()) for name, value in headers.items()]
    scope = {"type": "http", "method": "POST", "path": "/v1/info", "headers": pairs}
    asyncio.run(Guard(app or fine, options, CollectorRegistry())(scope, receive, send))
    return sent[0]["status"], dict(sent[0]["headers"]), b"".join(message.get("body", b"") for message in sent[1:])


def test_a_body_larger_than_the_limit_is_cut_off_whatever_it_claims():
    options = GuardOptions({"a:1"}, (), None, 50, logs=False)
    assert answered(options, {"host": "a:1"}, b"x" * 50)[0] == 200
    assert answered(options, {"host": "a:1", "content-length": "3"}, b"x" * 51)[0] == 413
    assert answered(options, {"host": "a:1", "content-length": "51"})[0] == 413


def test_a_fault_tells_where_and_not_what(capsys):
    async def broken(scope, receive, send):
        raise RuntimeError("Doe^Jane")

    status, headers, body = answered(GuardOptions({"a:1"}, (), None, 50), {"host": "a:1"}, app=broken)
    logged = capsys.readouterr().err
    assert status == 500 and b"RuntimeError" in body and b"Doe" not in body and "Doe" not in logged
    assert headers[b"content-security-policy"].startswith(b"default-src 'none'")


def test_each_error_has_its_status():
    errors = [
        UsageError("server.no_box"),
        ImageError("server.no_such_image"),
        ImageError("server.empty"),
        Busy("server.busy", waiting=3),
    ]
    errors += [Busy("server.worker_ended"), TooLate("server.too_late", seconds=3.0), ResourceError("cli.no_memory")]
    assert [status_of(error) for error in errors] == [400, 404, 422, 429, 503, 504, 503]
    assert [error_response(error).headers.get("retry-after") for error in errors[3:5]] == ["2", "2"]


def test_images_in_memory_have_a_limit():
    store = ImageStore(100 + 2 * ENTRY_BYTES)
    first, second = store.put(b"a" * 60), store.put(b"b" * 30)
    assert store.get(first) == b"a" * 60 and store.size == 90 + 2 * ENTRY_BYTES
    third = store.put(b"c" * 50)  # the second was asked for longer ago
    with raises_code(ImageError, "server.no_such_image"):
        store.get(second)
    assert len(store) == 1 and store.get(third) == b"c" * 50
    store.put(b"d" * 5000)  # one alone may be larger
    assert len(store) == 1
    for number in range(50):
        store.put(str(number).encode())  # tiny ones reach the limit, too
    assert len(store) == 2 and store.size <= 100 + 2 * ENTRY_BYTES


def test_what_a_file_holds_names_nobody():
    import pydicom

    scan = pydicom.dcmread(SCAN)
    scan.PatientName = scan.SeriesDescription = "Doe^Jane"
    buffer = io.BytesIO()
    scan.save_as(buffer)
    found = describe(buffer.getvalue(), "f" * 64, Picture("f" * 64), b"salt")
    assert "Doe" not in json.dumps(found) and scan.SeriesInstanceUID not in json.dumps(found)
    assert (found["width"], found["count"], found["sides"], found["is_dicom"]) == (484, 1, ["R", "A", "L", "P"], True)
    assert found["series"] != describe(buffer.getvalue(), "f" * 64, Picture("f" * 64), b"other")["series"]
    flat = io.BytesIO()
    Image.fromarray(np.arange(1600, dtype=np.uint8).reshape(40, 40)).save(flat, format="PNG")
    plain = describe(flat.getvalue(), "0" * 64, Picture("0" * 64), b"salt")
    assert (plain["series"], plain["position"], plain["spacing_mm"], plain["modality"]) == (None, None, None, None)


def test_an_audit_log_that_was_changed_is_found(tmp_path):
    log = tmp_path / "log.jsonl"
    opened = audit.AuditLog(log)
    for number in range(3):
        opened.add("p", "i", {"question": number}, {"text": number})
    with raises_code(ResourceError, "audit.in_use"):
        audit.AuditLog(log)
    opened.close()
    lines = log.read_text().splitlines(keepends=True)
    assert audit.verify(log) == (3, json.loads(lines[2])["hash"])
    for place, wrong in (
        (2, lines[:1] + lines[2:]),
        (1, lines[1:]),
        (3, [*lines[:2], lines[2][:-5]]),
        (2, [lines[0], "{}\n"]),
    ):
        log.write_text("".join(wrong))
        with raises_code(GateError, "audit.broken") as error:
            audit.verify(log)
        assert error.value.message.params["line"] == place
        with raises_code(GateError, "audit.broken"):
            audit.AuditLog(log)
    log.write_text("".join(lines[:2]))  # an end that was cut off does not show
    assert audit.verify(log)[0] == 2
    with raises_code(UsageError, "audit.unreadable"):
        audit.verify(tmp_path / "none")


def test_a_line_that_a_kill_cut_off_is_removed_where_the_log_may_be_mended(tmp_path):
    log = tmp_path / "log.jsonl"
    opened = audit.AuditLog(log)
    for number in range(3):
        opened.add("p", "i", number, "answer")
    opened.close()
    lines = log.read_bytes().splitlines(keepends=True)
    for end in (lines[2][:-1], lines[2][:20], bytes(50)):
        log.write_bytes(b"".join(lines[:2]) + end)
        with raises_code(GateError, "audit.broken"):
            audit.AuditLog(log)
        opened = audit.AuditLog(log, mends=True)
        opened.add("p", "i", "again", "answer")
        opened.close()
        assert audit.verify(log)[0] == 3 and log.read_bytes().startswith(lines[0] + lines[1])
    log.write_bytes(lines[0] + lines[2])
    with raises_code(GateError, "audit.broken"):
        audit.AuditLog(log, mends=True)


def test_an_answer_that_is_given_up_leaves_no_trace_in_the_next():
    engine = load()
    image = engine.open(SCAN)
    expected = engine.report(image, "en", grounded=True).to_dict()["regions"]
    passes = engine.language_model.forward_passes
    engine.report(image, "en", grounded=True)
    for stop in range(1, engine.language_model.forward_passes - passes, 9):
        left = [stop]

        def leave(left=left):
            left[0] -= 1
            if not left[0]:
                raise InterruptedError

        engine.language_model.before_pass = leave
        with pytest.raises(InterruptedError):
            engine.report(image, "en", grounded=True)
        engine.language_model.before_pass = lambda: None
        assert engine.report(image, "en", grounded=True).to_dict()["regions"] == expected


class FullDisk:
    """A file whose disk is full: it takes half of a line, or refuses to flush it."""

    def __init__(self, file, takes_half):
        self.file, self.takes_half = file, takes_half

    def __getattr__(self, name):
        return getattr(self.file, name)

    def write(self, data):
        return self.file.write(data[: len(data) // 2] if self.takes_half else data)

    def fileno(self):
        if self.takes_half:
            return self.file.fileno()
        raise OSError(28, "No space left on device")


@pytest.mark.parametrize("takes_half", [True, False])
def test_a_line_that_cannot_be_written_leaves_the_chain_whole(tmp_path, takes_half):
    log = tmp_path / "log.jsonl"
    opened = audit.AuditLog(log)
    opened.add("p", "i", "first", "answer")
    whole = opened._file
    opened._file = FullDisk(whole, takes_half)
    with raises_code(ResourceError, "audit.not_written"):
        opened.add("p", "i", "second", "answer")
    opened._file = whole
    opened.add("p", "i", "third", "answer")
    opened.close()
    assert audit.verify(log)[0] == 2


def test_bodies_of_all_requests_have_a_limit_together():
    options = GuardOptions({"a:1"}, (), None, 100, most_in_all=60, logs=False)
    status, _, body = answered(options, {"host": "a:1"}, b"x" * 61)
    assert status == 503 and b"server.full" in body
    assert answered(options, {"host": "a:1"}, b"x" * 60)[0] == 200


def test_a_client_that_takes_nothing_is_no_fault_of_the_program(monkeypatch, capsys):
    async def takes_nothing(_):
        await asyncio.sleep(60)

    async def answers(scope, receive, send):
        await send({"type": "http.response.start", "status": 200, "headers": []})

    monkeypatch.setattr("medrega_edge.server.guard.LONGEST_SEND_SECONDS", 0.02)
    scope = {"type": "http", "method": "GET", "path": "/", "headers": [(b"host", b"a:1")]}
    registry = CollectorRegistry()
    asyncio.run(Guard(answers, GuardOptions({"a:1"}, (), None, 50), registry)(scope, None, takes_nothing))
    assert "499" in capsys.readouterr().err
    assert registry.get_sample_value("medrega_requests_total", {"path": "-", "status": "499"}) == 1


def test_who_waits_when_the_server_stops_is_told(monkeypatch):
    async def waits():
        pool = Pool(PoolOptions(1, 5, 30.0, None))
        monkeypatch.setattr(Pool, "workers", 1)  # there, and busy
        waiting = asyncio.ensure_future(pool.do(Describe(Picture("0" * 64)), b""))
        await asyncio.sleep(0)
        assert pool.waiting == 1
        await pool.stop()
        with raises_code(Busy, "server.stopping"):
            await waiting
        with raises_code(Busy, "server.stopping"):
            await pool.do(Describe(Picture("0" * 64)), b"")
        assert pool.waiting == 0

    asyncio.run(waits())


def test_texts_of_the_viewer_are_in_both_languages():
    texts = json.loads((Path(chat.__file__).parent / "viewer" / "texts.json").read_text("utf-8"))
    assert set(texts) == {"en", "zh"} and texts["en"].keys() == texts["zh"].keys()
    assert all(value.strip() for language in texts.values() for value in language.values() if isinstance(value, str))


def test_the_extra_is_named_where_it_is_missing(monkeypatch):
    from medrega_edge.cli import plugins, serve

    monkeypatch.setattr(plugins, "missing_requirements", lambda *_: ["starlette"])
    with raises_code(ResourceError, "cli.missing_extra") as error:
        plugins.check_extra("view", serve.EXTRA)
    assert "medrega-edge[serve]" in str(error.value)


@pytest.mark.parametrize("error", [None, ImageError("server.no_image"), ValueError()])
def test_a_worker_forgets_what_was_written_after_each_job(monkeypatch, error):
    def do(self, job):
        self._engine.language_model._memory.add([1, 2, 3])
        if error:
            raise error

    monkeypatch.setattr(Worker, "_do", do)
    worker = Worker.__new__(Worker)  # without its pipes
    worker._engine = load()
    worker.outcome(Describe(Picture("0")))
    assert worker._engine.language_model._memory.guess(1) == [] and not worker._engine.language_model._memory._tokens
