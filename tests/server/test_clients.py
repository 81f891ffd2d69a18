"""Clients that people have: the official `openai` package, curl, and simonw's `llm`, against a server of its own."""

import base64
import io
import json
import shutil
import subprocess
import sys

import pytest
from PIL import Image

pytest.importorskip("starlette")

from medrega_edge import load
from medrega_edge.prompts.region_markup import parse
from tests.server.running import SCAN, running

pytestmark = pytest.mark.slow
URI = "data:application/dicom;base64," + base64.b64encode(SCAN.read_bytes()).decode()


@pytest.fixture(scope="module")
def server():
    with running("--processes", "1") as started:
        yield started


@pytest.fixture(scope="module")
def client(server):
    openai = pytest.importorskip("openai")
    with openai.OpenAI(base_url=f"{server.url}/v1", api_key="none", max_retries=0) as made:
        yield made


def message(*parts):
    contents = [{"type": "text", "text": part} if part is not URI else image() for part in parts]
    return {"role": "user", "content": contents}


def image(uri=URI):
    return {"type": "image_url", "image_url": {"url": uri}}


def test_the_openai_package_gets_text_regions_and_usage(client):
    model = client.models.list().data[0].id
    done = client.chat.completions.create(model=model, messages=[message(URI, "locate the liver")], temperature=0.7)
    engine = load()
    expected = engine.ask(engine.open(SCAN), "locate the liver")
    (answer,) = done.choices[0].message.medrega["answers"]
    assert answer["regions"] == expected.to_dict()["regions"]
    text, markup, notice = done.choices[0].message.content.split("\n\n")
    assert (text, notice) == (expected.text, "Research use only - not a medical device")
    (region,) = parse(markup).regions
    grid = [value * side / 999 for value, side in zip(region.boxes[0].as_list(), (484, 300) * 2, strict=True)]
    assert grid == pytest.approx(list(expected.regions[0].box), abs=0.5)
    assert done.choices[0].finish_reason == "stop"
    assert done.usage.total_tokens == done.usage.prompt_tokens + done.usage.completion_tokens > 0


def test_a_stream_adds_up_to_the_same(client):
    conversation = [message(URI, "describe this image"), {"role": "assistant", "content": "x"}, message("locate the spleen")]
    for messages in (conversation[:1], conversation):
        done = client.chat.completions.create(model="medrega", messages=messages)
        stream = client.chat.completions.create(
            model="medrega", messages=messages, stream=True, stream_options={"include_usage": True}
        )
        chunks = list(stream)
        written = "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)
        assert written == done.choices[0].message.content
        ends = [chunk for chunk in chunks if chunk.choices and chunk.choices[0].finish_reason]
        assert [end.choices[0].finish_reason for end in ends] == ["stop"]
        regions = ends[0].choices[0].delta.medrega["answers"][0]["regions"]
        assert regions == done.choices[0].message.medrega["answers"][0]["regions"]
        assert chunks[-1].usage == done.usage


def test_several_images_and_a_follow_up(client):
    both = client.chat.completions.create(model="medrega", messages=[message(URI, URI, "where is the liver?")])
    assert len(both.choices[0].message.medrega["answers"]) == 2
    assert both.choices[0].message.content.startswith("[1] ") and "\n\n[2] " in both.choices[0].message.content
    talk = [message(URI, "请定位脾脏"), {"role": "assistant", "content": "..."}, message("它有多大？")]
    answer = client.chat.completions.create(model="medrega", messages=talk).choices[0].message.medrega["answers"][0]
    assert answer["language"] == "zh" and [region["label"] for region in answer["regions"]] == ["脾脏"]


def test_masks_and_windows_by_the_extension(client):
    def ask(**extension):
        done = client.chat.completions.create(
            model="medrega", messages=[message(URI, "locate the liver")], extra_body={"medrega": extension}
        )
        return done.choices[0].message.medrega["answers"][0]

    assert ask(masks=True)["regions"][0]["mask"]["area"] > 1000
    assert ask(window="300,200")["image"]["window"] == [300, 200]
    assert ask(language="zh")["language"] == "zh"


def test_a_refusal_is_an_answer_in_the_language_of_the_question(client):
    for question, words in (("how old is the patient?", "age"), ("患者多大年纪？", "年龄")):
        for stream in (False, True):
            done = client.chat.completions.create(model="medrega", messages=[message(URI, question)], stream=stream)
            if stream:
                chunks = list(done)
                text, medrega = chunks[0].choices[0].delta.content, chunks[-1].choices[0].delta.medrega
            else:
                text, medrega = done.choices[0].message.content, done.choices[0].message.medrega
            assert words in text and medrega["answers"] == [] and medrega["error"]["code"]
            assert text.endswith("非医疗器械" if "年龄" in words else "not a medical device")


def test_what_a_client_shows_has_the_warnings(client):
    png = io.BytesIO()
    Image.new("RGB", (300, 200), (90, 90, 90)).save(png, format="PNG")
    plain = "data:image/png;base64," + base64.b64encode(png.getvalue()).decode()
    talk = [{"role": "user", "content": [image(plain), {"type": "text", "text": "请定位肝脏"}]}]
    done = client.chat.completions.create(model="medrega", messages=talk)
    warnings = done.choices[0].message.medrega["answers"][0]["warning_details"]
    assert warnings and all(f"- {warning['message_zh']}" in done.choices[0].message.content for warning in warnings)


@pytest.mark.parametrize(
    ("change", "status", "code"),
    [
        ({"messages": [message("hello")]}, 400, "server.no_image"),
        ({"messages": [{"role": "user", "content": [image("https://example.com/scan.png")]}]}, 400, "server.no_data_uri"),
        ({"messages": [{"role": "user", "content": [image("file:///etc/passwd")]}]}, 400, "server.no_data_uri"),
        ({"messages": [{"role": "user", "content": [image("data:image/png;base64,????")]}]}, 400, "server.bad_base64"),
        ({"messages": [message(URI)]}, 400, "server.no_question"),
        ({"model": "gpt-4o"}, 404, "server.no_such_model"),
        ({"n": 2}, 400, "server.unsupported"),
        ({"messages": [message(*[URI] * 17, "x")]}, 400, "server.too_many_images"),
        ({"extra_body": {"medrega": {"windw": "300,200"}}}, 400, "server.bad_json"),
        ({"tools": [{"type": "function", "function": {"name": "x", "parameters": {}}}]}, 400, "server.unsupported"),
    ],
)
def test_errors_have_the_shape_that_the_package_knows(client, change, status, code):
    import openai

    body = {"model": "medrega", "messages": [message(URI, "locate the liver")]} | change
    for stream in (False, True):
        with pytest.raises(openai.APIStatusError) as error:
            client.chat.completions.create(**body, stream=stream)
        assert (error.value.status_code, error.value.code) == (status, code)


def test_curl(server):
    if shutil.which("curl") is None:
        pytest.skip("curl is not there")
    words = ["curl", "-sS", "-F", f"image=@{SCAN}", "-F", "question=请定位肝脏", f"{server.url}/v1/regions"]
    answer = json.loads(subprocess.run(words, capture_output=True, text=True, check=True).stdout)
    assert answer["regions"][0]["label"] == "肝脏"


def test_llm(server, tmp_path):
    pytest.importorskip("llm")
    from medrega_edge.images.reader import read_image

    Image.fromarray(read_image(SCAN).pixels).save(tmp_path / "scan.png")
    (tmp_path / "extra-openai-models.yaml").write_text(
        f"- model_id: medrega\n  model_name: medrega-edge-lite\n  api_base: {server.url}/v1\n  vision: true\n"
    )
    words = [sys.executable, "-m", "llm", "-m", "medrega", "locate the liver", "-a", str(tmp_path / "scan.png")]
    for more in ([], ["--no-stream"]):
        run = subprocess.run(
            [*words, *more, "--key", "none"],
            capture_output=True,
            text=True,
            env={"LLM_USER_PATH": str(tmp_path), "PATH": ""},
        )
        assert "The liver is here." in run.stdout and "<ref>liver</ref>" in run.stdout, run.stderr
