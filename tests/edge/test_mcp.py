"""`medrega mcp`: the protocol and the tools in this process, and the command as the official client sees it."""

import base64
import io
import json
import os
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from medrega_edge import __version__
from medrega_edge.domain import NOTICE, NOTICE_ZH, Language
from medrega_edge.errors import ImageError, PackageError, UsageError
from medrega_edge.images.samples import sample_path
from medrega_edge.mcp.folders import Folders
from medrega_edge.mcp.protocol import MAX_LINE, VERSIONS, Server, serve
from medrega_edge.mcp.tools import MAX_IMAGES, MAX_SIDE, Toolbox
from tests.codes import raises_code
from tests.edge.dicoms import dicom
from tests.edge.stub import StubEngine, medrega
from tools.traced import available, traced

pytestmark = pytest.mark.slow  # seconds: the fast tests have a minute

STATELESS = {"io.modelcontextprotocol/protocolVersion": "2026-07-28", "io.modelcontextprotocol/clientCapabilities": {}}


class CountingEngine(StubEngine):
    """The stub, which counts the images that it opens."""

    opened = 0

    def open(self, path, view=None):
        self.opened += 1
        return super().open(path, view)


@pytest.fixture
def place(tmp_path):
    """Folders `in`, which is allowed, and `out`, which is not, with a picture in each and links between them."""
    for name in ("in", "out"):
        (tmp_path / name).mkdir()
        Image.fromarray(np.random.default_rng(0).integers(0, 255, (64, 48), dtype=np.uint8)).save(tmp_path / name / "a.png")
    (tmp_path / "in" / "link.png").symlink_to(tmp_path / "out" / "a.png")
    (tmp_path / "in" / "folder").symlink_to(tmp_path / "out")
    (tmp_path / "in" / "own.png").symlink_to("a.png")
    (tmp_path / "in" / "loop").symlink_to("loop")
    (tmp_path / "in" / "letter.png").write_text("no image")
    return tmp_path


@pytest.fixture
def stub():
    return CountingEngine()


@pytest.fixture
def toolbox(place, stub):
    return Toolbox(Folders([place / "in"]), lambda: stub, Language.EN)


@pytest.fixture
def server(toolbox):
    return Server(toolbox, __version__, Language.EN)


def line(method, params=None, number=1, **more):
    message = {"jsonrpc": "2.0", "id": number, "method": method} | ({} if params is None else {"params": params})
    return json.dumps(message | more).encode() + b"\n"


def ask(server, method, params=None):
    response = server.answer(line(method, params, "x"))
    assert (response["jsonrpc"], response["id"]) == ("2.0", "x")
    return response.get("result", response.get("error"))


def call(server, name, **arguments):
    return ask(server, "tools/call", {"name": name, "arguments": arguments})


def code_of(result):
    """The code of an error of a tool; the text says the same as the structure."""
    assert result["isError"] is True
    error = result["structuredContent"]["error"]
    assert result["content"][0]["text"]
    assert "Traceback" not in json.dumps(result)
    return error["code"]


# ---- the protocol


@pytest.mark.parametrize("wanted", [*VERSIONS, "1999-01-01", None, 7, ["2025-06-18"]])
def test_initialize_gives_the_version_that_was_asked_for_or_the_newest(server, wanted):
    result = ask(server, "initialize", {"protocolVersion": wanted, "capabilities": {}, "clientInfo": {}})
    assert result["protocolVersion"] == (wanted if wanted in VERSIONS else VERSIONS[0])
    assert result["capabilities"] == {"tools": {}}
    assert result["serverInfo"]["version"] == __version__
    assert "research" in result["instructions"]


def test_ping_and_what_gets_no_response(server):
    assert ask(server, "ping") == {}
    assert ask(server, "ping", {"_meta": {"progressToken": 1}}) == {}
    for nothing in (
        b'{"jsonrpc":"2.0","method":"notifications/initialized"}\n',
        b'{"jsonrpc":"2.0","method":"notifications/unknown","params":[1]}\n',
        b'{"jsonrpc":"2.0","id":4,"result":{}}\n',
        b'{"jsonrpc":"2.0","id":4,"error":{"code":1,"message":"x"}}\n',
        b"\r\n",
        b" \n",
    ):
        assert server.answer(nothing) is None


def test_a_version_in_every_request(server):
    found = ask(server, "server/discover", {"_meta": STATELESS})
    assert found["supportedVersions"] == ["2026-07-28"]
    for method in ("server/discover", "tools/list"):
        result = ask(server, method, {"_meta": STATELESS})
        assert (result["resultType"], result["ttlMs"], result["cacheScope"]) == ("complete", 0, "private")
        assert result["_meta"]["io.modelcontextprotocol/serverInfo"]["name"] == "medrega"
    assert ask(server, "tools/call", {"_meta": STATELESS, "name": "report", "arguments": {}})["resultType"] == "complete"
    assert ask(server, "server/discover")["code"] == -32601  # as older versions answer what they do not have
    other = ask(server, "tools/list", {"_meta": STATELESS | {"io.modelcontextprotocol/protocolVersion": "2099-01-01"}})
    assert (other["code"], other["data"]["supported"]) == (-32022, ["2026-07-28"])


@pytest.mark.parametrize(
    ("sent", "code", "identifier"),
    [
        (b"nothing\n", -32700, None),
        (b'{"jsonrpc":"2.0","id":1,"method":"ping"', -32700, None),
        (b"\xff\xfe\x00\x01\n", -32700, None),
        (bytes(range(1, 10)) + bytes(range(11, 256)) + b"\n", -32700, None),
        (b"[" * 100_000 + b"\n", -32700, None),
        (b'{"a":' * 100_000 + b"\n", -32700, None),
        (b'{"jsonrpc":"2.0","id":NaN,"method":"ping"}\n', -32700, None),
        (b'{"jsonrpc":"2.0","id":1,"id":2,"method":"ping"}\n', -32700, None),
        (b'{"jsonrpc":"2.0","id":' + b"9" * 5000 + b',"method":"ping"}\n', -32700, None),
        (b"[]\n", -32600, None),
        (b'"ping"\n', -32600, None),
        (b"7\n", -32600, None),
        (b"{}\n", -32600, None),
        (b'{"jsonrpc":"2.0","id":null,"method":"ping"}\n', -32600, None),
        (b'{"jsonrpc":"2.0","id":true,"method":"ping"}\n', -32600, None),
        (b'{"jsonrpc":"2.0","id":[1],"method":"ping"}\n', -32600, None),
        (b'{"jsonrpc":"1.0","id":1,"method":"ping"}\n', -32600, 1),
        (b'{"jsonrpc":"2.0","id":1,"method":["ping"]}\n', -32600, 1),
        (b'{"jsonrpc":"2.0","id":1}\n', -32600, 1),
        (b'{"jsonrpc":"2.0","id":1,"method":"ping","params":[]}\n', -32602, 1),
        (line("resources/list"), -32601, 1),
        (line("tools/call"), -32602, 1),
        (line("tools/call", {"name": 1}), -32602, 1),
        (line("tools/call", {"name": "locate", "arguments": ["a"]}), -32602, 1),
        (line("tools/call", {"name": "delete"}), -32602, 1),
        (line("ping", {"x": "y" * MAX_LINE}), -32600, None),
        (line("ping\ud800"), -32601, 1),
    ],
    ids=range(27),
)
def test_what_cannot_be_read_gets_an_error_and_the_next_line_an_answer(server, sent, code, identifier):
    written = io.BytesIO()
    serve(io.BytesIO(sent.removesuffix(b"\n") + b"\n" + line("ping", number=99)), written, server.answer)
    error, pong = map(json.loads, written.getvalue().splitlines())
    assert (error["error"]["code"], error["id"]) == (code, identifier)
    assert error["error"]["message"]
    assert pong == {"jsonrpc": "2.0", "id": 99, "result": {}}


def test_a_line_without_an_end_takes_no_memory(server):
    class Endless(io.RawIOBase):
        sent = 0

        def readable(self):
            return True

        def readinto(self, buffer):
            self.sent += len(buffer)
            size = 0 if self.sent > 64 * MAX_LINE else len(buffer)
            buffer[:size] = b"x" * size
            return size

    written, longest = io.BytesIO(), []
    serve(io.BufferedReader(Endless()), written, lambda each: longest.append(len(each)) or server.answer(each))
    assert longest == [MAX_LINE + 1]
    assert json.loads(written.getvalue())["error"]["code"] == -32600


def test_a_client_that_is_gone_ends_the_server(server):
    class Gone(io.BytesIO):
        def write(self, _):
            raise BrokenPipeError

    serve(io.BytesIO(line("ping") * 3), Gone(), server.answer)


def test_a_response_is_one_line_of_ascii_whatever_it_holds(server):
    written = io.BytesIO()
    serve(io.BytesIO(line("ping", number="肝\u2028\ud800")), written, server.answer)
    assert written.getvalue().count(b"\n") == 1
    assert json.loads(written.getvalue().decode("ascii"))["id"] == "肝\u2028\ud800"


# ---- the tools


def test_the_list_of_tools_is_made_of_json_schemas(server):
    tools = {tool["name"]: tool for tool in ask(server, "tools/list")["tools"]}
    assert list(tools) == ["locate", "segment", "identify", "ask", "report", "labels"]
    jsonschema = pytest.importorskip("jsonschema")
    for tool in tools.values():
        jsonschema.Draft202012Validator.check_schema(tool["inputSchema"])
        assert tool["description"].endswith(f"{NOTICE}.")
        assert tool["annotations"]["readOnlyHint"] is True
        assert all(each["description"] for each in tool["inputSchema"]["properties"].values())
    jsonschema.validate({"image": "a.png", "names": ["liver"], "frame": 0}, tools["locate"]["inputSchema"])
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate({"image": "a.png", "names": [], "frame": -1}, tools["locate"]["inputSchema"])


def test_the_list_is_chinese_for_a_chinese_server(toolbox):
    toolbox._language = Language.ZH
    described = json.dumps(toolbox.listed(), ensure_ascii=False)
    assert NOTICE_ZH in described
    assert "医学图像" in described


def test_the_engine_waits_for_the_first_question(place):
    loaded = []
    server = Server(Toolbox(Folders([]), lambda: loaded.append(1) or StubEngine(), Language.EN), "0", Language.EN)
    ask(server, "initialize", {})
    ask(server, "tools/list")
    call(server, "locate", image="a.png", names=["liver"])
    assert loaded == []
    for _ in range(2):
        assert not call(server, "locate", image="sample:abdomen-mri", names=["liver"])["isError"]
    assert loaded == [1]


def test_a_package_that_cannot_be_loaded_is_tried_again(place):
    def load():
        raise PackageError("package.not_json", file="manifest.json")

    server = Server(Toolbox(Folders([place]), load, Language.EN), "0", Language.EN)
    for _ in range(2):
        assert code_of(call(server, "report", image="in/a.png")) == "package.not_json"


@pytest.mark.parametrize(
    ("name", "arguments", "words"),
    [
        ("locate", {"names": ["liver", "脾脏"]}, "liver, 脾脏"),
        ("segment", {"names": ["liver"]}, "liver"),
        ("segment", {"box": [1, 2, 30, 40]}, ""),
        ("identify", {"box": [1, 2.5, 30, 40]}, ""),
        ("ask", {"question": "locate the liver", "guess": True}, "locate the liver"),
        ("report", {"grounded": True, "language": "zh"}, ""),
        ("report", {"grounded": None, "frame": None}, ""),
    ],
)
def test_each_tool_asks_the_engine_and_gives_its_answer(server, place, name, arguments, words):
    result = call(server, name, image="a.png", **arguments)
    assert result["isError"] is False
    answer = result["structuredContent"]
    assert answer["text"].startswith(f"{words}: ")
    assert answer["image"]["path"] is None
    assert (answer["image"]["width"], answer["image"]["height"]) == (48, 64)
    (text,) = (part["text"] for part in result["content"])
    first, *regions, notice = text.splitlines()
    assert first == answer["text"]
    assert [each[:4] for each in regions[:2]] == ["[1] ", "[2] "]
    assert notice == (NOTICE_ZH if answer["language"] == "zh" else NOTICE)
    assert str(place) not in json.dumps(result)


def test_a_picture_comes_when_it_is_asked_for(server, place):
    Image.new("L", (4000, 100), 90).save(place / "in" / "wide.png")
    result = call(server, "locate", image="wide.png", names=["liver"], picture=True)
    text, picture = result["content"]
    assert (text["type"], picture["type"], picture["mimeType"]) == ("text", "image", "image/png")
    shown = Image.open(io.BytesIO(base64.b64decode(picture["data"])))
    assert max(shown.size) == MAX_SIDE


def test_labels(engine):
    server = Server(Toolbox(Folders([]), lambda: engine, Language.EN), "0", Language.EN)
    found = call(server, "labels", word="kidney")
    rows = found["structuredContent"]["labels"]
    assert {row["en"] for row in rows} >= {"left kidney", "right kidney"}
    assert "右肾" in found["content"][0]["text"]
    every = call(server, "labels")["structuredContent"]["labels"]
    usual = call(server, "labels", image="sample:abdomen-mri")["structuredContent"]["labels"]
    assert len(every) == len(engine.terminology.labels) > len(usual) > 5
    assert code_of(call(server, "labels", word="qqq")) == "task.unknown_name_only"
    assert call(server, "labels", word="spleeen")["structuredContent"]["labels"][0]["en"] == "spleen"


def test_labels_are_those_of_the_command(engine, medrega):
    server = Server(Toolbox(Folders([]), lambda: engine, Language.EN), "0", Language.EN)
    for word in ("kidney", "肝", "tumour"):
        assert call(server, "labels", word=word)["structuredContent"] == json.loads(medrega("labels", word, "--json").out)


def test_an_image_is_encoded_once_until_it_changes(server, stub, place):
    for _ in range(3):
        call(server, "locate", image="a.png", names=["liver"])
        call(server, "locate", image=str(place / "in" / "own.png"), names=["liver"])
    assert stub.opened == 1
    Image.new("L", (32, 32), 90).save(place / "in" / "a.png")
    assert call(server, "locate", image="a.png", names=["liver"])["structuredContent"]["image"]["width"] == 32
    assert stub.opened == 2
    for number in range(MAX_IMAGES):
        Image.new("L", (32, 32), 90).save(place / "in" / f"{number}.png")
        call(server, "locate", image=f"{number}.png", names=["liver"])
    assert stub.opened == 2 + MAX_IMAGES
    call(server, "locate", image="a.png", names=["liver"])
    assert stub.opened == 3 + MAX_IMAGES
    assert len(server._tools._images) == MAX_IMAGES


def test_frames_slices_and_windows(server, stub, place):
    values = np.arange(3 * 400, dtype="u2").reshape(3, 20, 20)
    (place / "in" / "three.dcm").write_bytes(dicom(values))
    assert code_of(call(server, "report", image="three.dcm")) == "image.several_pictures"
    assert call(server, "report", image="three.dcm", frame=2)["structuredContent"]["image"]["frame"] == 2
    assert code_of(call(server, "report", image="three.dcm", frame=3)) == "image.no_such_picture"
    result = call(server, "report", image="three.dcm", frame=0, window="200,100")
    assert result["structuredContent"]["image"]["window"] == [200, 100]
    assert code_of(call(server, "report", image="three.dcm", frame=0, window="x")) == "image.unknown_window"
    (place / "in" / "series").mkdir()
    for number in range(3):
        (place / "in" / "series" / f"{number}.dcm").write_bytes(
            dicom(values[number] ** (number + 1), SeriesInstanceUID="1.2")
        )
    (place / "in" / "series" / "link.dcm").symlink_to(place / "out" / "a.png")
    shown = {call(server, "report", image="series", slice=number)["structuredContent"]["text"] for number in range(3)}
    assert len(shown) == 3
    call(server, "report", image="series", slice=1, series=0)
    opened = stub.opened
    call(server, "report", image="series", slice=1, series=0)
    assert stub.opened == opened
    (place / "in" / "series" / "3.dcm").write_bytes(dicom(values[0] + 5, SeriesInstanceUID="1.2"))
    call(server, "report", image="series", slice=1, series=0)
    assert stub.opened == opened + 1


BAD = [
    ("locate", {}, "mcp.missing_argument"),
    ("locate", {"names": None}, "mcp.missing_argument"),
    ("locate", {"names": "liver"}, "mcp.wrong_argument"),
    ("locate", {"names": []}, "mcp.wrong_argument"),
    ("locate", {"names": [""]}, "mcp.wrong_argument"),
    ("locate", {"names": [["liver"]]}, "mcp.wrong_argument"),
    ("locate", {"names": ["liver"] * 51}, "mcp.wrong_argument"),
    ("locate", {"names": ["liver"], "language": "de"}, "mcp.wrong_argument"),
    ("locate", {"names": ["liver"], "language": ["en"]}, "mcp.wrong_argument"),
    ("locate", {"names": ["liver"], "frame": -1}, "mcp.wrong_argument"),
    ("locate", {"names": ["liver"], "frame": True}, "mcp.wrong_argument"),
    ("locate", {"names": ["liver"], "frame": 1.5}, "mcp.wrong_argument"),
    ("locate", {"names": ["liver"], "frame": 10**400}, "mcp.wrong_argument"),
    ("locate", {"names": ["liver"], "picture": "yes"}, "mcp.wrong_argument"),
    ("locate", {"names": ["liver"], "window": {"a": 1}}, "mcp.wrong_argument"),
    ("locate", {"names": ["liver"], "plane": "axial "}, "mcp.wrong_argument"),
    ("locate", {"names": ["liver"], "Mustermann": 1}, "mcp.unknown_argument"),
    ("locate", {"names": ["\ud800"]}, "task.undecodable_question"),
    ("segment", {}, "mcp.names_or_box"),
    ("segment", {"names": ["liver"], "box": [1, 2, 3, 4]}, "mcp.names_or_box"),
    ("identify", {}, "mcp.missing_argument"),
    ("identify", {"box": [1, 2, 3]}, "mcp.wrong_argument"),
    ("identify", {"box": [1, 2, 3, "4"]}, "mcp.wrong_argument"),
    ("identify", {"box": [1, 2, 3, 10**400]}, "mcp.wrong_argument"),
    ("identify", {"box": [1, 2, 3, 1e300]}, "mcp.wrong_argument"),
    ("identify", {"box": [30, 2, 3, 4]}, "task.box_corners"),
    ("ask", {"question": ""}, "mcp.wrong_argument"),
    ("ask", {"question": "x" * 501}, "mcp.wrong_argument"),
    ("ask", {"question": {"a": "b"}}, "mcp.wrong_argument"),
    ("report", {"grounded": 1}, "mcp.wrong_argument"),
    ("labels", {"word": 3}, "mcp.wrong_argument"),
]


@pytest.mark.parametrize(("name", "arguments", "code"), BAD, ids=range(len(BAD)))
def test_bad_arguments_are_results_that_say_so(server, name, arguments, code):
    result = call(server, name, image="a.png", **arguments)
    assert code_of(result) == code
    assert "Mustermann" not in json.dumps(result)
    assert not call(server, "locate", image="a.png", names=["liver"])["isError"]


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=9) | st.just("a.png"),
    lambda inner: st.lists(inner, max_size=5) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)
KNOWN = ["image", "names", "box", "question", "guess", "grounded", "word", "language", "frame", "slice", "window", "picture"]
FIT = st.sampled_from(["a.png", "liver", ["liver"], [1, 2, 30, 40], 0, True, "zh", "40,400"])


@settings(max_examples=300, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(st.sampled_from(Toolbox.names[:-1]), st.dictionaries(st.sampled_from(KNOWN), FIT | JSON))
def test_no_arguments_make_the_program_fail(toolbox, name, arguments):
    result = toolbox.call(name, arguments)
    assert not result["isError"] or code_of(result) != "internal.fault"


@settings(max_examples=300, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(
    JSON
    | st.fixed_dictionaries(
        {"jsonrpc": st.just("2.0"), "method": JSON | st.just("tools/call")}, optional={"id": JSON, "params": JSON}
    )
)
def test_no_message_makes_the_program_fail(server, message):
    response = server.answer(json.dumps(message).encode())
    assert response is None or json.dumps(response, allow_nan=False)


def test_an_infinite_number_is_no_number(server):
    sent = line("tools/call", {"name": "identify", "arguments": {"image": "a.png", "box": [1, 2, 3, 0]}})
    assert code_of(server.answer(sent.replace(b"3, 0]", b"3, 1e999]"))["result"]) == "mcp.wrong_argument"


def test_an_error_is_in_the_language_of_the_question(server):
    result = call(server, "ask", image="letter.png", question="肝脏在哪里？")
    assert any("\u4e00" < letter < "\u9fff" for letter in result["content"][0]["text"])
    assert result["structuredContent"]["error"]["message"].isascii()


def test_a_fault_of_the_program_tells_nothing_and_does_not_end_it(server, stub, monkeypatch):
    def fail(*_, **__):
        raise RuntimeError("Mustermann^Max")

    with monkeypatch.context() as patch:
        patch.setattr(stub, "run", fail)
        result = call(server, "report", image="a.png")
        assert code_of(result) == "internal.fault"
        assert "Mustermann" not in json.dumps(result)
        patch.setattr(stub, "run", lambda *_, **__: (_ for _ in ()).throw(MemoryError))
        assert code_of(call(server, "report", image="a.png")) == "cli.no_memory"
    assert not call(server, "report", image="a.png")["isError"]


# ---- the folders


def refused(folders, image):
    with pytest.raises((ImageError, UsageError)) as caught:
        folders.find(image)
    assert "in/" not in str(caught.value)
    return caught.value.code


def test_an_image_is_found_by_its_path_in_an_allowed_folder(place):
    folders = Folders([place / "in"])
    real = (place / "in" / "a.png").resolve()
    for image in ("a.png", str(place / "in" / "a.png"), "own.png", "./a.png", "../in/a.png", f"{place}/out/../in/a.png"):
        assert folders.find(image).path == real
    assert Folders([place / "out", place / "in"]).find("own.png").path == real
    assert folders.find(str(place / "in")).path == (place / "in").resolve()
    linked = place / "linked"
    linked.symlink_to(place / "in")
    assert Folders([linked]).find("a.png").path == real


@pytest.mark.parametrize(
    ("image", "code"),
    [
        ("{place}/out/a.png", "mcp.folder_not_allowed"),
        ("{place}/out/nothing.png", "mcp.folder_not_allowed"),
        ("{place}/in2/a.png", "mcp.folder_not_allowed"),
        ("{place}", "mcp.folder_not_allowed"),
        ("../out/a.png", "mcp.folder_not_allowed"),
        ("folder/a.png", "mcp.folder_not_allowed"),
        ("link.png", "mcp.folder_not_allowed"),
        ("/etc/passwd", "mcp.folder_not_allowed"),
        ("/proc/self/environ", "mcp.folder_not_allowed"),
        ("~/a.png", "image.no_file"),
        ("nothing.png", "image.no_file"),
        ("a.png/b", "image.cannot_open"),
        ("loop", "image.cannot_open"),
        ("a\0.png", "image.invalid_path"),
        ("\ud800.png", "image.invalid_path"),
        ("x" * 4000, "image.cannot_open"),
        ("sample:nothing", "image.no_sample"),
        ("sample:../../a", "image.no_sample"),
        ("file:///etc/passwd", "image.no_file"),
    ],
)
def test_what_lies_elsewhere_is_refused(place, image, code):
    assert refused(Folders([place / "in"]), image.format(place=place)) == code


@pytest.mark.parametrize("image", ["loop/../folder/a.png", "loop/../loop/../link.png"])
def test_a_way_through_a_loop_of_links_is_refused(place, image):
    """Versions of Python differ in where they give up: at the loop, or outside the folder that it leads to."""
    assert refused(Folders([place / "in"]), image) in ("image.cannot_open", "mcp.folder_not_allowed")


def test_without_a_folder_only_samples_are_read(place):
    folders = Folders([])
    for image in (str(place / "in" / "a.png"), "a.png", "/"):
        assert refused(folders, image) == "mcp.no_folder_allowed"
    assert folders.find("sample:abdomen-mri").path == sample_path("abdomen-mri")
    assert folders.find("sample:heart-ultrasound").frame == 0


def test_a_folder_that_is_not_there_ends_the_command(place):
    with raises_code(UsageError, "mcp.no_such_folder"):
        medrega("mcp", "--folder", place / "nothing")
    with raises_code(UsageError, "mcp.no_such_folder"):
        medrega("mcp", "--folder", place / "in" / "a.png")


def test_a_pipe_in_a_folder_is_no_image(server, place):
    os.mkfifo(place / "in" / "pipe.png")
    assert code_of(call(server, "report", image="pipe.png")) == "image.not_a_file"


# ---- the command

ENVIRONMENT = {name: value for name, value in os.environ.items() if name != "MEDREGA_MODEL"}


def run(*arguments, sent=b"", module="medrega_edge"):
    command = [sys.executable, "-m", module, "mcp", *map(str, arguments)]
    return subprocess.run(command, input=sent, capture_output=True, env=ENVIRONMENT, timeout=60, check=False)


PRINTS = """
import os, sys
from tests.edge import stub
from medrega_edge import engine
class Loud(stub.StubEngine):
    def open(self, *arguments):
        print("printed"); os.write(1, b"written\\n"); sys.stdout.flush()
        return super().open(*arguments)
engine.load = lambda *_, **__: Loud()
sys.argv = ["medrega", "mcp"]
stub.cli.main()
"""


def test_what_is_printed_elsewhere_stays_out_of_the_channel():
    asked = line("tools/call", {"name": "locate", "arguments": {"image": "sample:abdomen-mri", "names": ["liver"]}})
    ran = subprocess.run(
        [sys.executable, "-c", PRINTS],
        input=asked + line("ping", number=2),
        capture_output=True,
        env=ENVIRONMENT,
        check=False,
    )
    assert ran.returncode == 0, ran.stderr
    first, second = map(json.loads, ran.stdout.splitlines())
    assert first["result"]["isError"] is False
    assert second["result"] == {}
    assert b"printed" in ran.stderr
    assert b"written" in ran.stderr


@pytest.mark.slow
@pytest.mark.skipif(not available(), reason="needs strace, and leave to trace")
def test_no_socket_is_opened_and_nothing_is_written(tmp_path):
    asked = {"image": "sample:abdomen-mri", "names": ["liver"], "picture": True}
    sent = line("initialize", {}) + line("tools/call", {"name": "segment", "arguments": asked})
    ran, sockets, written = traced(tmp_path, "mcp", "--folder", tmp_path, stdin=sent)
    assert ran.returncode == 0
    assert [json.loads(each)["result"].get("isError", False) for each in ran.stdout.splitlines()] == [False, False]
    assert (sockets, set(written)) == ([], set())


@pytest.mark.slow
def test_hostile_bytes_get_errors_and_no_traceback(place):
    generator = np.random.default_rng(3)
    noise = b"\n".join(generator.bytes(int(size)).replace(b"\n", b" ") for size in generator.integers(1, 4000, 300))
    nested = json.dumps({"image": "a.png", "names": ["liver"]}).encode().replace(b'"liver"', b"[" * 500 + b"]" * 500)
    deep = b'{"jsonrpc":"2.0","id":5,"method":"tools/call","params":{"name":"locate","arguments":' + nested + b"}}\n"
    sent = noise + b"\n" + b"x" * (3 << 20) + b"\n" + deep + b"[" * 900_000 + b"\n" + line("ping", number=99)
    ran = run("--folder", place / "in", sent=sent)
    assert ran.returncode == 0
    responses = [json.loads(each) for each in ran.stdout.splitlines()]
    assert responses[-1] == {"jsonrpc": "2.0", "id": 99, "result": {}}
    assert len(responses) == 300 + 4
    assert all("error" in each for each in responses[:301])
    assert b"Traceback" not in ran.stdout + ran.stderr
    assert str(place).encode() not in ran.stdout + ran.stderr


@pytest.mark.slow
@pytest.mark.parametrize("mode", ["legacy", "auto"])
def test_the_official_client_gets_the_answers_of_the_engine(engine, scan, place, mode):
    pytest.importorskip("mcp", reason="the official client, package mcp, is not installed")
    import anyio
    from mcp import StdioServerParameters
    from mcp.client.client import Client
    from mcp.client.stdio import stdio_client

    async def talk():
        command = ["-m", "medrega_edge", "mcp", "--folder", str(place / "in")]
        with open(os.devnull, "w") as nowhere:
            transport = stdio_client(StdioServerParameters(command=sys.executable, args=command, env=ENVIRONMENT), nowhere)
            async with Client(transport, mode=mode) as client:
                versions = {"legacy": VERSIONS[0], "auto": "2026-07-28"}
                assert client.protocol_version == versions[mode]
                assert client.server_info.name == "medrega"
                assert client.server_info.version == __version__
                tools = (await client.list_tools()).tools
                assert [tool.name for tool in tools] == ["locate", "segment", "identify", "ask", "report", "labels"]
                sample = {"image": "sample:abdomen-mri"}
                located = await client.call_tool("locate", sample | {"names": ["liver", "spleen"], "picture": True})
                assert located.is_error is False
                assert regions(located) == json.loads(
                    json.dumps(engine.detect(scan, ["liver", "spleen"]).to_dict()["regions"])
                )
                assert [part.type for part in located.content] == ["text", "image"]
                assert located.content[0].text.endswith(NOTICE)
                outlined = await client.call_tool("segment", sample | {"names": ["liver"]})
                assert regions(outlined)[0]["mask"] == engine.segment(scan, ["liver"]).to_dict()["regions"][0]["mask"]
                asked = await client.call_tool("ask", sample | {"question": "肝脏有多大？"})
                assert asked.structured_content["text"] == engine.ask(scan, "肝脏有多大？").text
                for arguments, code in (
                    ({"image": str(place / "out" / "a.png")}, "mcp.folder_not_allowed"),
                    ({"image": "link.png"}, "mcp.folder_not_allowed"),
                    ({"image": "../out/a.png"}, "mcp.folder_not_allowed"),
                    ({"image": "letter.png"}, "image.unknown_format"),
                    ({"image": "nothing.png"}, "image.no_file"),
                    ({"image": 7}, "mcp.wrong_argument"),
                    ({}, "mcp.missing_argument"),
                ):
                    failed = await client.call_tool("locate", arguments | {"names": ["liver"]})
                    assert failed.is_error is True
                    assert failed.structured_content["error"]["code"] == code
                again = await client.call_tool("locate", sample | {"names": ["liver", "spleen"]})
                assert regions(again) == regions(located)

    def regions(result):
        return result.structured_content["regions"]

    anyio.run(talk)
