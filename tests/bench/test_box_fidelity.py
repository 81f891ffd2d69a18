"""Box fidelity: parsers by hand, each mistake made on purpose by a server of this process, and servers that misbehave."""

import base64
import io
import json
import re
import shutil
import ssl
import subprocess
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import numpy as np
import pytest
from PIL import Image, ImageChops

from medrega_bench import result_files
from medrega_bench.box_fidelity import measure, report
from medrega_bench.box_fidelity.choice import pixel_box, probes
from medrega_bench.box_fidelity.client import MOST_FAILED, TRIES, Server, _seconds
from medrega_bench.box_fidelity.diagnosis import diagnose
from medrega_bench.box_fidelity.dialects import DIALECTS, Reply, Status
from medrega_bench.box_fidelity.frames import Frame, Kind, Order, axes_of, mirrored, smart_size
from medrega_bench.box_fidelity.hypotheses import Answers, line, steps
from medrega_bench.box_fidelity.phantoms import SETS, drawn
from medrega_bench.box_fidelity.result import BoxesResult, ServerIdentity
from medrega_bench.cli.boxes import DialectName, PhantomName
from medrega_bench.reports import render
from medrega_bench.reports.readme_blocks import update_blocks
from medrega_edge.domain import NOTICE, NOTICE_ZH, Language
from medrega_edge.errors import MedregaError, ResourceError, UsageError

pytestmark = pytest.mark.slow  # seconds: the fast tests have a minute

SIZES = ((224, 224), (320, 240), (640, 160), (160, 640), (480, 360))
PHANTOMS = list(drawn("shapes", SIZES, 5))
THOUSAND = Frame(Kind.STRETCHED, 1000)
PIXELS = Frame(Kind.PIXELS)


# ---- a server that sees, and answers with a mistake ----


def seen(body):
    """Size and true box, in shares, of the thing in the picture of a request: what differs from the first pixel."""
    content = json.loads(body)["messages"][0]["content"]
    data = base64.b64decode(content[0]["image_url"]["url"].partition(",")[2])
    image = Image.open(io.BytesIO(data)).convert("RGB")
    ground = Image.new("RGB", image.size, image.getpixel((0, 0)))
    box = ImageChops.difference(image, ground).getbbox()
    return image.size, np.array([box], float) / np.tile(image.size, 2), content[1]["text"]


def written(shares, size, order=Order.XYXY, frame=THOUSAND, across=False, down=False, digits=0):
    """The four numbers of a box of a server with these habits."""
    slope, intercept = axes_of(frame, np.array([size], float))
    a, b, c, d = (slope * mirrored(shares, across, down) + intercept)[0]
    numbers = {
        Order.XYXY: (a, b, c, d),
        Order.YXYX: (b, a, d, c),
        Order.XYWH: (a, b, c - a, d - b),
        Order.CXCYWH: ((a + c) / 2, (b + d) / 2, c - a, d - b),
    }[order]
    return [round(float(number), digits) if digits else round(float(number)) for number in numbers]


def completion(text, **message):
    done = {"role": "assistant", "content": text, **message}
    return {"model": "fake", "choices": [{"index": 0, "message": done, "finish_reason": "stop"}]}


@contextmanager
def serving(answer, tls=None):
    """Serve `answer(handler, body)` -> JSON, or None where it has answered itself; yields the address, without /v1."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self):
            self.reply(404, {"error": {"message": "nothing here"}})

        def do_POST(self):
            made = answer(self, self.rfile.read(int(self.headers["Content-Length"])))
            if made is not None:
                self.reply(200, made)

        def reply(self, status, value, **headers):
            data = value if isinstance(value, bytes) else json.dumps(value).encode()
            self.send_response(status)
            for name, text in {"Content-Length": str(len(data)), "Connection": "close", **headers}.items():
                self.send_header(name.replace("_", "-"), text)
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, *_):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    server.handle_error = lambda *_: None  # of a client that leaves
    if tls is not None:
        server.socket = tls.wrap_socket(server.socket, server_side=True)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def measured(answer, dialect="list-1000", phantoms=PHANTOMS):
    """The result of a server that answers `answer(size, shares, question)`, text or a whole completion."""

    def made(_, body):
        said = answer(*seen(body))
        return completion(said) if isinstance(said, str) else said

    with serving(made) as url:
        client = Server(url, "fake", None, 10)
        ask = measure.remembering(client.ask)
        chosen = measure.choose_question(ask, dialect, phantoms)
        asked = list(measure.asked_all(ask, chosen, phantoms))
    identity = ServerIdentity("fake", client.answered_as, client.software)
    return measure.result_of(asked, chosen, dialect is not None, identity, "shapes", 5, "medrega bench boxes")


def codes(result):
    return [finding.code.removeprefix("bench.boxes_") for finding in result.verdict]


def listing(**habits):
    return lambda size, shares, _: str(written(shares, size, **habits))


def test_an_honest_server_has_no_mistake():
    result = measured(listing())
    assert codes(result) == ["sound"]
    assert result.overall.parsed == result.overall.asked == 25 and result.overall.iou.value > 0.97
    assert result.step == 1 and result.nearer is None
    assert [(one.width, one.height) for one in result.sizes] == list(SIZES)
    assert all(abs(one.scale[axis] - 1) < 0.03 for one in result.sizes for axis in (0, 1))


MISTAKES = {
    "axes swapped": ({"order": Order.YXYX}, "list-1000", "swapped"),
    "x, y, width, height": ({"order": Order.XYWH}, "list-1000", "order"),
    "centre, width, height": ({"order": Order.CXCYWH}, "list-1000", "order"),
    "mirrored left to right": ({"across": True}, "list-1000", "mirrored_across"),
    "mirrored top to bottom": ({"down": True}, "list-1000", "mirrored_down"),
    "turned": ({"across": True, "down": True}, "list-1000", "turned"),
    "resized to a square": ({"frame": Frame(Kind.STRETCHED, 448)}, "list-pixels", "stretched"),
    "resized by the longest side": ({"frame": Frame(Kind.LONGEST, 512)}, "list-pixels", "longest"),
    "resized by the shortest side": ({"frame": Frame(Kind.SHORTEST, 336)}, "list-pixels", "shortest"),
    "made smaller where large": ({"frame": Frame(Kind.AT_MOST, 336)}, "list-pixels", "at_most"),
    "cropped in the middle": ({"frame": Frame(Kind.CROPPED, 336)}, "list-pixels", "cropped"),
    "width and height exchanged": ({"frame": Frame(Kind.EXCHANGED)}, "list-pixels", "exchanged"),
    "Qwen's resize": ({"frame": Frame(Kind.SMART, 28, 16384 * 28 * 28)}, "list-1000", "smart"),
    "letterboxed pixels": ({"frame": Frame(Kind.LETTERBOXED, 448)}, "list-pixels", "letterboxed"),
    "letterboxed range": ({"frame": Frame(Kind.LETTERBOXED, 1000)}, "list-1000", "letterboxed"),
    "padded at the right": ({"frame": Frame(Kind.LONGEST, 1000)}, "list-1000", "padded"),
    "pixels instead of 0..1000": ({"frame": PIXELS}, "list-1000", "pixels"),
    "0..1000 instead of pixels": ({}, "list-pixels", "range"),
    "fractions instead of 0..1000": ({"frame": Frame(Kind.STRETCHED, 1), "digits": 3}, "list-1000", "range"),
    "0..1024 instead of 0..1000": ({"frame": Frame(Kind.STRETCHED, 1024)}, "list-1000", "range"),
    "boxes of steps": ({}, "list-1000", "coarse"),
}


@pytest.mark.parametrize("name", MISTAKES)
def test_each_mistake_is_named(name):
    habits, dialect, code = MISTAKES[name]
    if code == "coarse":
        result = measured(lambda size, shares, _: str([20 * round(number / 20) for number in written(shares, size)]))
        assert codes(result) == ["sound", "coarse"] and result.step == 20
        return
    result = measured(listing(**habits), dialect)
    assert codes(result)[:2] == [code, "evidence"] and len(codes(result)) <= 3
    assert result.nearer > 4 and result.iou_explained.value > 0.94
    if (share := result.verdict[0].params.get("share")) is not None:
        assert share == 1
    if habits.get("frame", PIXELS).side and code not in ("smart", "padded"):
        assert float(result.verdict[0].params["side"]) == habits["frame"].side


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("name", [name for name, (habits, *_) in MISTAKES.items() if habits])
def test_each_mistake_is_named_of_a_model_that_is_a_little_off(name, seed):
    habits, dialect, code = MISTAKES[name]
    rng = np.random.default_rng(seed)
    result = measured(lambda size, shares, _: str(written(shares + rng.normal(0, 0.02, 4), size, **habits)), dialect)
    subtle = {"range": "0..1024 instead of 0..1000"}  # a shift of 1 % on average, less than the scatter
    assert codes(result)[0] == code or name == subtle.get(code)


def test_a_shift_in_pixels_is_told_from_one_in_shares():
    moved = (9, -6, 9, -6)
    by_pixels = measured(
        lambda size, shares, _: str([int(n) for n in np.add(written(shares, size, frame=PIXELS), moved)]), "list-pixels"
    )
    assert codes(by_pixels) == ["shifted_by_pixels", "evidence"]
    assert by_pixels.verdict[0].params == pytest.approx({"x": 9, "y": -6}, abs=0.3)
    by_share = measured(lambda size, shares, _: str(written(shares + np.array([0.03, 0, 0.03, 0]), size)))
    assert codes(by_share) == ["shifted_by_share", "evidence"]
    assert by_share.verdict[0].params == pytest.approx({"x": 3, "y": 0}, abs=0.1)
    assert by_share.grows and not by_pixels.grows


def test_a_scale_of_each_axis_is_measured():
    result = measured(lambda size, shares, _: str(written(shares * np.array([0.9, 1, 0.9, 1]), size)))
    assert codes(result) == ["scaled", "evidence"]
    assert result.verdict[0].params == pytest.approx({"across": 0.9, "down": 1.0}, abs=0.003)


def test_two_mistakes_at_once():
    result = measured(listing(order=Order.YXYX, frame=Frame(Kind.STRETCHED, 448)), "list-pixels")
    assert codes(result)[:3] == ["swapped", "stretched", "evidence"]


# ---- a model that sees badly makes no mistake of these ----


def arrays(numbers):
    shares = np.array([np.array(one.box) / np.tile((one.width, one.height), 2) for one in PHANTOMS])
    return Answers(np.array(numbers, float), np.array([(one.width, one.height) for one in PHANTOMS], float), shares)


TRUTH = arrays(np.zeros((25, 4))).truth


@pytest.mark.parametrize("seed", [0, *(pytest.param(seed, marks=pytest.mark.slow) for seed in range(1, 60))])
@pytest.mark.parametrize(("frame", "scale"), [(THOUSAND, 1000), (PIXELS, None)])
def test_scatter_is_not_taken_for_a_mistake(seed, frame, scale):
    rng = np.random.default_rng(seed)
    sides = np.tile(arrays(np.zeros((25, 4))).sizes, 2) if scale is None else scale
    noisy = TRUTH + rng.normal(0, rng.uniform(0.01, 0.1), TRUTH.shape)
    wild = noisy.copy()
    lost = rng.uniform(size=25) < 0.3
    wild[lost] = np.sort(rng.uniform(0, 1, (lost.sum(), 2, 2)), axis=1).reshape(-1, 4)
    blind = np.sort(rng.uniform(0, 1, (25, 2, 2)), axis=1).reshape(25, 4)
    for shares in (noisy, wild, blind, np.tile([0.4, 0.4, 0.6, 0.6], (25, 1))):
        assert not diagnose(arrays(np.round(shares * sides)), Order.XYXY, frame).is_wrong
    assert not diagnose(arrays(np.round(blind * sides)), Order.XYXY, frame).follows
    assert not diagnose(arrays(np.tile([100.0, 100, 200, 200], (25, 1))), Order.XYXY, frame).follows  # always the same box


def test_the_words_of_a_bad_and_of_a_blind_model():
    rng = np.random.default_rng(3)
    bad = measured(lambda size, shares, _: str(written(shares + rng.normal(0, 0.08, 4), size)))
    assert codes(bad) == ["scattered", "sound"]
    assert codes(measured(lambda *_: "[400, 400, 600, 600]")) == ["blind"]


# ---- parsers ----

READ = {
    "medrega": (Reply("", ({"label": "liver", "box": [64.0, 48.0, 320.0, 240.0]},)), [64, 48, 320, 240]),
    "qwen3-vl": (Reply('```json\n[{"bbox_2d": [100, 100, 500, 500], "label": "liver"}]\n```'), [64, 48, 320, 240]),
    "qwen2.5-vl": (Reply('{"bbox_2d": [322, 238, 644, 476], "label": "x"}'), [320, 240, 640, 480]),  # of 644 x 476
    "list-1000": (Reply("It is at [100, 100, 500, 500]."), [64, 48, 320, 240]),
    "list-999": (Reply("(0, 0, 999, 333)"), [0, 0, 640, 160]),
    "list-pixels": (Reply("[64, 48, 320, 240]"), [64, 48, 320, 240]),
    "list-fractions": (Reply("[0.1, 0.1, 0.5, 0.5]"), [64, 48, 320, 240]),
    "internvl": (Reply("<ref>liver</ref><box>[[100, 100, 500, 500]]</box>"), [64, 48, 320, 240]),
    "medrega-markup": (Reply("<box>[[0, 0, 999, 333], [1, 2, 3, 4]]</box>"), [0, 0, 640, 160]),
    "qwen2-vl": (Reply("<|box_start|>(100,100),(500,500)<|box_end|>"), [64, 48, 320, 240]),
    "gemini": (Reply('<think>[1]</think>[{"box_2d": [100, 200, 500, 600], "label": "x"}]'), [128, 48, 384, 240]),
    "paligemma": (Reply("<loc0512><loc0256><loc1024><loc0512> liver"), [160, 240, 320, 480]),
    "florence": (Reply("liver<loc_100><loc_100><loc_500><loc_500>"), [64, 48, 320, 240]),
}


@pytest.mark.parametrize("name", DIALECTS)
def test_each_dialect_is_read(name):
    reply, box = READ[name]
    status, numbers = DIALECTS[name].read(reply)
    assert status is Status.PARSED
    assert list(pixel_box(DIALECTS[name], numbers[0], 640, 480)) == pytest.approx(box)


@pytest.mark.parametrize(
    ("text", "status"),
    [
        ("", Status.NO_BOX),
        ("[]", Status.NO_BOX),
        ("There is no such thing in the picture.", Status.NO_BOX),
        ("I'm sorry, but I cannot see images.", Status.REFUSED),
        ("抱歉，无法查看图像。", Status.REFUSED),
        ("[100, 100, 500]", Status.MALFORMED),
        ("[100, 100, 500, 5e2]", Status.MALFORMED),
        ("[a, b, c, d]", Status.MALFORMED),
        ("x1 = 100, y1 = 100", Status.MALFORMED),
        ("blob " * 100 + "sorry", Status.MALFORMED),
    ],
)
def test_what_is_no_box(text, status):
    assert DIALECTS["list-1000"].read(Reply(text)) == (status, ())


@pytest.mark.parametrize(
    "text",
    [
        '{"bbox_2d": [1, 2, 3]}',
        '{"bbox_2d": ["1", 2, 3, 4]}',
        '{"bbox_2d": [NaN, 2, 3, 4]}',
        '{"bbox_2d": [1, 2, 3, 1e99]}',
        '{"bbox_2d": [1, 2, 3, true]}',
        '{"bbox_2d": [1, 2, 3, %s]}' % ("9" * 400),
        '{"box": 1}',
        '{"bbox_2d": [1,',
        "[" * 9999,
    ],
)
def test_json_that_is_no_box(text):
    assert DIALECTS["qwen3-vl"].read(Reply(text))[0] is Status.MALFORMED


def test_a_server_says_itself_that_it_refuses_or_fails():
    assert DIALECTS["list-1000"].read(Reply("No.", refusal=True))[0] is Status.REFUSED
    assert DIALECTS["list-1000"].read(Reply("", failure="500"))[0] is Status.FAILED
    assert DIALECTS["medrega"].read(Reply("Not found.", ()))[0] is Status.NO_BOX
    assert DIALECTS["medrega"].read(Reply("liver", ({"box": [1, 2]},)))[0] is Status.MALFORMED


def test_answers_without_boxes_are_counted():
    said = iter(["malformed", "I cannot see it.", "[]", *["[1, 2]"] * 22])
    result = measured(lambda *_: next(said))
    assert codes(result) == ["unread", "too_few"]
    overall = result.overall
    assert (overall.parsed, overall.malformed, overall.refused, overall.no_box) == (0, 23, 1, 1)
    assert overall.error_px is None and overall.iou.value == overall.accuracy == 0


# ---- the dialect is found ----


def speaking(name):
    """A server that answers the question of one dialect in it, and all others with words."""
    dialect = DIALECTS[name]
    pattern = re.compile(re.escape(dialect.prompt).replace(r"\{label\}", ".*"))

    def answer(size, shares, question):
        if not pattern.fullmatch(question):
            return "What a nice picture."
        a, b, c, d = written(shares, size, dialect.order, dialect.frame, digits=3 if name == "list-fractions" else 0)
        if name == "medrega":
            box = {"label": "x", "box": [a, b, c, d]}
            return completion("Found.", medrega={"answers": [{"regions": [box]}]})
        key = "box_2d" if name == "gemini" else "bbox_2d"
        return {
            "internvl": f"<box>[[{a}, {b}, {c}, {d}]]</box>",
            "medrega-markup": f"<box>[[{a}, {b}, {c}, {d}]]</box>",
            "qwen2-vl": f"<|box_start|>({a},{b}),({c},{d})<|box_end|>",
            "paligemma": f"<loc{a:04.0f}><loc{b:04.0f}><loc{c:04.0f}><loc{d:04.0f}>",
            "florence": f"<loc_{a}><loc_{b}><loc_{c}><loc_{d}>",
            "gemini": json.dumps([{key: [a, b, c, d]}]),
            "qwen3-vl": json.dumps([{key: [a, b, c, d]}]),
            "qwen2.5-vl": json.dumps([{key: [a, b, c, d]}]),
        }.get(name, f"[{a}, {b}, {c}, {d}]")

    return answer


@pytest.mark.parametrize("name", DIALECTS)
def test_auto_finds_the_dialect(name):
    result = measured(speaking(name), None)
    same = {"medrega-markup": {"internvl", "medrega-markup"}}  # 0..999 and 0..1000 differ by a thousandth
    assert result.dialect in same.get(name, {name}) and result.chosen
    assert codes(result) == ["sound"]


def test_auto_without_any_box_says_so():
    assert codes(measured(lambda *_: "What a nice picture.", None)) == ["unread", "too_few"]


def test_auto_prefers_an_answer_that_there_is_nothing_to_boxes_that_are_nowhere():
    nothing = completion("Not found.", medrega={"answers": [{"regions": []}]})
    result = measured(lambda size, _, question: nothing if question.startswith("locate") else "[1, 1, 2, 2]", None)
    assert result.dialect == "medrega" and result.overall.no_box == 25


def test_auto_names_a_mistake_of_the_nearest_dialect():
    result = measured(listing(order=Order.XYWH), None)
    assert result.dialect == "list-1000" and "order" in codes(result)


# ---- phantoms ----


def test_phantoms_are_true_and_always_the_same():
    for one in PHANTOMS:
        image = Image.open(io.BytesIO(one.data)).convert("RGB")
        assert image.size == (one.width, one.height)
        ground = Image.new("RGB", image.size, image.getpixel((0, 0)))
        assert ImageChops.difference(image, ground).getbbox() == tuple(one.box)
    assert [one.data for one in drawn("shapes", SIZES[:2], 5)] == [one.data for one in PHANTOMS[:10]]
    assert {(one.width, one.height) for one in probes(PHANTOMS)} == {(640, 160), (160, 640), (480, 360)}
    assert probes(PHANTOMS[:5]) == PHANTOMS[:3] and probes(PHANTOMS[:1]) == PHANTOMS[:1]


def test_medical_phantoms_lie_in_their_images():
    for one in drawn("medical", ((224, 224), (400, 100)), 4):
        assert 0 <= one.box.x1 < one.box.x2 <= one.width and 0 <= one.box.y1 < one.box.y2 <= one.height
        assert Image.open(io.BytesIO(one.data)).size == (one.width, one.height) and one.mime == "image/jpeg"


def test_options_name_what_there_is():
    assert {name.value for name in DialectName} == {"auto", *DIALECTS}
    assert {name.value for name in PhantomName} == set(SETS)


# ---- by hand ----


def test_frames_by_hand():
    assert Frame(Kind.LETTERBOXED, 400).axes(800, 400) == (400, 0, 200, 100)
    assert Frame(Kind.CROPPED, 400).axes(800, 400) == (800, -200, 400, 0)
    assert Frame(Kind.AT_MOST, 400).axes(800, 400) == (400, 0, 200, 0)
    assert Frame(Kind.AT_MOST, 400).axes(300, 200) == (300, 0, 200, 0)
    assert Frame(Kind.EXCHANGED).axes(800, 400) == (400, 0, 800, 0)
    assert smart_size(640, 480, 28, 16384 * 784) == (644, 476)
    assert smart_size(2048, 2048, 28, 1280 * 784) == (980, 980)


def test_lines_and_steps_by_hand():
    x = np.array([[0.0, 0.2], [0.4, 0.6], [0.8, 1.0]])
    assert line(x, 2 * x + 1) == pytest.approx((2, 1))
    wrong = 2 * x + 1
    wrong[2, 1] = 99
    assert line(x, wrong)[0] == pytest.approx(2)
    assert steps(np.arange(0, 200, 10, dtype=float).reshape(-1, 4)) == 10
    assert steps(np.random.default_rng(0).uniform(size=(8, 4))) == 0


# ---- servers that misbehave ----


def refused(answer, **options):
    """The error of asking a server as often as a fault of its own is borne."""
    with serving(answer) as url:
        return given_up(url, **options)


def given_up(url, **options):
    server = Server(url, "fake", **{"key": None, "timeout": 10, **options})
    with pytest.raises(MedregaError) as caught:
        for number in range(MOST_FAILED):
            assert server.ask(PHANTOMS[number], "?").failure
    assert isinstance(caught.value, UsageError) or number == MOST_FAILED - 1
    return caught.value


def status(number, message="no", **headers):
    return lambda handler, _: handler.reply(number, {"error": {"message": message}}, **headers)


@pytest.mark.parametrize(
    ("answer", "kind", "code"),
    [
        (status(401), UsageError, "bench.server_key"),
        (status(403), UsageError, "bench.server_key"),
        (status(404, "no such model"), UsageError, "bench.server_no_model"),
        (status(307, Location="http://127.0.0.1:1/"), UsageError, "bench.server_redirects"),
        (status(500, "image input is not supported - hint: mmproj"), UsageError, "bench.server_no_images"),
        (status(500, "broken"), ResourceError, "bench.server_error"),
        (lambda handler, _: handler.reply(200, b"<html>"), UsageError, "bench.server_not_json"),
        (lambda handler, _: handler.reply(200, b"[" * 99999), UsageError, "bench.server_not_json"),
        (lambda *_: {"choices": []}, UsageError, "bench.server_no_completion"),
        (lambda *_: {"choices": [{"message": {"content": 5}}]}, UsageError, "bench.server_no_completion"),
        (lambda handler, _: handler.reply(200, b" " * 9_000_000), ResourceError, "bench.server_too_much"),
        (lambda handler, _: handler.wfile.write(b"SSH-2.0\r\n") and None, ResourceError, "bench.no_http"),
    ],
)
def test_a_sentence_for_each_fault_of_a_server(answer, kind, code):
    error = refused(answer)
    assert (type(error), error.code) == (kind, code)
    assert "127.0.0.1:" not in str(error).replace("127.0.0.1:8080", "")


def test_a_server_that_is_busy_is_asked_again_after_the_time_it_names():
    waits, answers = [], iter([status(429, Retry_After="2"), status(503), lambda *_: completion("[1, 2, 3, 4]")])
    with serving(lambda handler, body: next(answers)(handler, body)) as url:
        reply = Server(url, "fake", None, 10, sleep=waits.append).ask(PHANTOMS[0], "?")
    assert reply.text == "[1, 2, 3, 4]" and waits == [2.0, 2.0]
    error = refused(status(503, "loading", Retry_After="9999"), sleep=waits.append)
    assert error.code == "bench.server_busy" and waits[2:] == [30.0] * (TRIES - 1) * MOST_FAILED
    assert _seconds("Wed, 21 Oct 2015 07:28:00 GMT", 5) == 0 and _seconds("soon", 5) == 5


def test_a_slow_server_and_none_at_all():
    gate = threading.Event()
    error = refused(lambda *_: gate.wait(5) and None, timeout=0.2)
    gate.set()
    assert error.code == "bench.server_slow"
    with serving(lambda *_: completion("")) as url:
        pass
    assert given_up(url).code == "bench.no_server"


@pytest.mark.skipif(shutil.which("openssl") is None, reason="needs openssl to make a certificate")
def test_a_certificate_that_nobody_trusts_is_refused(tmp_path):
    made = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2"]
    files = ["-keyout", tmp_path / "key.pem", "-out", tmp_path / "cert.pem", "-subj", "/CN=127.0.0.1"]
    subprocess.run([*made, *files, "-addext", "subjectAltName=IP:127.0.0.1"], check=True, capture_output=True)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(tmp_path / "cert.pem", tmp_path / "key.pem")
    asked = []
    with serving(lambda *request: asked.append(request), context) as url:
        error = given_up(url.replace("http:", "https:"), key="s3cret")
    assert error.code == "bench.server_certificate" and asked == []


def test_https_is_not_spoken_to_a_server_without_it():
    with serving(lambda *_: completion("")) as url:
        error = given_up(url.replace("http:", "https:"), timeout=0.5)
    assert error.code in ("bench.server_tls", "bench.no_server")


@pytest.mark.parametrize(
    "url", ["", "127.0.0.1:80", "ftp://x", "http://", "http://u:p@x", "http://x/?q=1", "http://x:99999"]
)
def test_addresses_that_are_none(url):
    with pytest.raises(UsageError) as caught:
        Server(url, "fake", None, 5)
    assert caught.value.code == "bench.server_url"


def test_one_image_that_fails_does_not_end_the_measurement():
    def answer(handler, body):
        size, shares, _ = seen(body)
        if size == (640, 160):
            handler.reply(400, {"error": "image too wide"})
            return None
        return completion(str(written(shares, size)))

    with serving(answer) as url:
        client = Server(url, "fake", None, 10)
        asked = list(measure.asked_all(client.ask, DIALECTS["list-1000"], PHANTOMS))
    result = measure.result_of(asked, DIALECTS["list-1000"], True, ServerIdentity("fake", "", ""), "shapes", 5, "")
    assert [one.failed for one in result.sizes] == [0, 0, 5, 0, 0]
    assert codes(result) == ["unread", "sound"]


@pytest.mark.parametrize("late", [1, 4, 24])
def test_an_answer_that_comes_too_late_is_counted_and_the_next_question_asked(late):
    asked, gate = [], threading.Event()

    def answer(handler, body):
        asked.append(body)
        if len(asked) == late:
            gate.wait(5)
            return None
        size, shares, _ = seen(body)
        return completion(str(written(shares, size)))

    with serving(answer) as url:
        client = Server(url, "fake", None, 0.5)
        replies = list(measure.asked_all(client.ask, DIALECTS["list-1000"], PHANTOMS))
        gate.set()
    result = measure.result_of(replies, DIALECTS["list-1000"], True, ServerIdentity("fake", "", ""), "shapes", 5, "")
    assert (result.overall.failed, result.overall.parsed) == (1, len(PHANTOMS) - 1) and codes(result) == ["unread", "sound"]
    assert "127.0.0.1" not in json.dumps(result_files.to_json_values(result))


# ---- the command ----


def test_the_command_writes_result_and_pages_and_no_address(medrega, tmp_path, monkeypatch):
    keys = []

    def answer(handler, body):
        keys.append(handler.headers["Authorization"])
        size, shares, _ = seen(body)
        return completion(str(written(shares, size, Order.YXYX)), refusal=None) | {"system_fingerprint": "b1234"}

    monkeypatch.setenv("BOXES_KEY", "s3cret")
    common = ["--model", "/models/of/me/fake.gguf", "--dialect", "list-1000", "--size", "320x240", "--size", "200x400"]
    with serving(answer) as url:
        out, page = tmp_path / "boxes.json", tmp_path / "boxes.html"
        ran = medrega(
            "bench", "boxes", "--server", url, *common, "--api-key-env", "BOXES_KEY", "--out", out, "--report", page
        )
        chinese = medrega(
            "bench", "boxes", "--server", url + "/v1", *common, "--each", 4, "--lang", "zh", "--report", tmp_path / "zh.md"
        )
    assert (ran.code, chinese.code) == (0, 0), ran.err + chinese.err
    assert "x and y are swapped in 100% of the answers." in ran.out
    assert set(keys) == {"Bearer s3cret", None}
    texts = [path.read_text("utf-8") for path in (out, page, tmp_path / "zh.md")] + [ran.out]
    for text in texts:
        assert not re.search(r"s3cret|/models/of/me|127\.0\.0\.1|" + re.escape(str(tmp_path)), text)
    assert NOTICE in texts[1] and "data:image/jpeg;base64," in texts[1] and "b1234" in texts[1]
    assert NOTICE_ZH in texts[2] and "结论" in texts[2]
    result = result_files.parse(BoxesResult, json.loads(texts[0]), "boxes.json")
    assert result.schema_version == 1 and result.verdict[0].as_message().code == "bench.boxes_swapped"
    assert len(result.answers) == 12 and result.answers[0].true_box != result.answers[0].box

    document = tmp_path / "page.md"
    document.write_text("<!-- bench:boxes boxes.json -->\n<!-- /bench -->\n", "utf-8")
    assert update_blocks(document, check=False)
    assert "| 320 x 240 | 6 | 6 |" in document.read_text("utf-8") and "swapped" in document.read_text("utf-8")


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--size", "320"], "is no size of an image"),
        (["--size", "8x8"], "is no size of an image"),
        (["--api-key-env", "NOT_SET_ANYWHERE"], "is not set"),
        (["--report", "page.pdf"], ".html or .md"),
    ],
)
def test_options_that_make_no_sense(medrega, options, words, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with serving(lambda *_: completion("")) as url:
        ran = medrega("bench", "boxes", "--server", url, "--model", "fake", *options)
    assert ran.code == 2 and words in ran.err


def test_words_of_a_server_cannot_write_into_a_page():
    evil = "<script>alert(1)</script>|![x](http://x) [100, 100, 500, 500]"
    result = measured(lambda *_: evil)
    for language in Language:
        document = report.page(result, language, PHANTOMS)
        assert "<script" not in render.html(document)
        assert not re.search(r"(?<!\\)(?:<script|!\[x)", render.markdown(document))
