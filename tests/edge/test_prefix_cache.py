"""The cache of images on the disk: the same bytes with and without it, whatever has happened to the folder."""

import errno
import hashlib
import io
import json
import os
import re
import stat
import subprocess
import sys
import time
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from medrega_edge import engine as home
from medrega_edge import load
from medrega_edge.cli import settings
from medrega_edge.engine import Engine, EngineOptions
from medrega_edge.errors import ResourceError, UsageError
from medrega_edge.i18n.message import Message
from medrega_edge.images.samples import sample_path
from medrega_edge.inference import prefix_cache
from medrega_edge.inference.prefix_cache import ALIGNMENT, DIGEST, MAGIC, PrefixCache, own_folder, usage
from medrega_edge.inference.vision_encoder import VisualFeatures
from medrega_edge.package.package import Package
from medrega_edge.package.registry import default_folder, find_package
from tests.codes import raises_code
from tests.edge.toy_package import build, picture

ENTRY = re.compile("[0-9a-f]{64}")
posix = pytest.mark.skipif(os.name != "posix", reason="owners and rights of POSIX")


@pytest.fixture(scope="module")
def toy(tmp_path_factory):
    return build(tmp_path_factory.mktemp("packages") / "toy")


def png(pixels):
    held = io.BytesIO()
    Image.fromarray(pixels).save(held, "png")
    return held.getvalue()


SCAN = png(picture(480, 240, liver=(80, 40, 240, 160)))
OTHER = png(picture(480, 240, spleen=(80, 40, 240, 160)))


def answered(engine, source=SCAN, question="locate the liver"):
    answer = engine.ask(engine.open(source), question).to_dict()
    del answer["timings_ms"]
    return json.dumps(answer, ensure_ascii=False)


def computed(engine):
    """Whether the tower saw an image, and the passes of the decoder."""
    counts = []
    encode = engine._vision.encode
    engine._vision.encode = lambda pixels: (counts.append(1), encode(pixels))[1]
    return lambda: (bool(counts), engine.language_model.forward_passes)


def entries(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_a_second_process_starts_at_the_question(toy, tmp_path):
    alone = load(toy)
    of_alone = computed(alone)
    plain = answered(alone)
    first = load(toy, cache=tmp_path / "cache")
    of_first = computed(first)
    assert answered(first) == plain
    second = load(toy, cache=tmp_path / "cache")
    of_second = computed(second)
    assert answered(second) == plain
    assert of_alone() == of_first() and of_first()[0]
    assert of_second() == (False, of_first()[1] - 1)
    assert answered(second, OTHER) == answered(alone, OTHER) != plain
    assert of_second()[0]


def test_the_default_package_answers_the_same_from_the_cache(engine, tmp_path):
    questions = ("locate the liver", "请定位脾脏", "is the spleen enlarged?", "what kind of image is this?")
    for _ in range(2):
        cached = load(cache=tmp_path / "cache")
        of_cached = computed(cached)
        for question in questions:
            source = sample_path("abdomen-mri")
            assert answered(cached, source, question) == answered(engine, source, question)
    assert not of_cached()[0]


def test_features_and_prefixes_are_those_that_were_computed(engine, tmp_path):
    images = []
    for _ in range(2):
        cached = load(cache=tmp_path / "cache")
        images.append(cached.open(sample_path("abdomen-mri")))
        cached.detect(images[-1], ["liver"])
    ours, theirs = images
    assert ours.embeds.tobytes() == theirs.embeds.tobytes()
    assert all(one.tobytes() == other.tobytes() for one, other in zip(ours.maps, theirs.maps, strict=True))


def test_without_a_folder_nothing_is_written(medrega, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    medrega("ask", "--sample", "abdomen-mri", "locate the liver")
    ran = medrega("ask", "--sample", "abdomen-mri", "locate the liver", "--cache", "c", "--cache-size", "0")
    assert ran.code == 0 and not list(tmp_path.iterdir())


@posix
def test_folder_and_entries_are_the_users_own_and_named_by_hashes(toy, tmp_path):
    folder = tmp_path / "new" / "cache"
    mask = os.umask(0)
    try:
        answered(load(toy, cache=folder))
    finally:
        os.umask(mask)
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert len(entries(folder)) == 2
    for path in folder.iterdir():
        assert ENTRY.fullmatch(path.name) and stat.S_IMODE(path.stat().st_mode) == 0o600


def test_an_entry_holds_numbers_and_hashes_and_nothing_else(toy, tmp_path):
    answered(load(toy, cache=tmp_path))
    for name, data in entries(tmp_path).items():
        start = len(MAGIC) + DIGEST + 4
        length = int.from_bytes(data[start - 4 : start], "little")
        header = json.loads(data[start : start + length])
        assert data.startswith(MAGIC) and set(header) == {"entry", "shapes"} and header["entry"] == name
        numbers = sum(int(np.prod(shape)) for shape in header["shapes"])
        assert (start + length) % ALIGNMENT == 0 and len(data) == start + length + 4 * numbers


def test_the_name_of_an_entry_depends_on_all_that_its_numbers_depend_on(toy, tmp_path, monkeypatch):
    def name(package=None, mapped=False):
        return PrefixCache(tmp_path, 1, package or Package.open(toy), mapped)._name("features", b"pixels")

    names = [name(), name(mapped=True), name(find_package(default_folder()))]
    monkeypatch.setattr(prefix_cache, "__version__", "another")
    names.append(name())
    monkeypatch.setattr(prefix_cache, "processor", lambda: "another")
    names.append(name())
    runtime = prefix_cache.load_onnxruntime()
    monkeypatch.setattr(runtime, "get_build_info", lambda: "another")
    names.append(name())
    assert len(set(names)) == len(names)
    assert name() == names[-1]
    assert PrefixCache(tmp_path, 1, Package.open(toy), False)._name("prefix", b"pixels") != names[-1]


def small(folder, toy, features=None, most=1 << 20):
    """What a cache gives for a small entry, and whether it had to be encoded."""
    package = Package.open(toy)
    cache = PrefixCache(folder, most, package, False)
    tokens, hidden = package.manifest.vision.tokens, package.manifest.decoder.hidden
    asked = []

    def encode():
        asked.append(1)
        return features or VisualFeatures(np.arange(tokens * hidden, dtype=np.float32).reshape(tokens, hidden), None)

    given = cache.features(b"pixels", encode)
    return given.embeds.tolist(), bool(asked), cache.take_problems()


@pytest.fixture
def bare(tmp_path_factory):
    return build(tmp_path_factory.mktemp("packages") / "bare", with_head=False, tasks=("detect",))


def test_an_entry_cut_anywhere_or_with_any_byte_changed_is_not_used(bare, tmp_path):
    embeds, asked, _ = small(tmp_path, bare)
    assert asked and small(tmp_path, bare) == (embeds, False, [])
    ((name, whole),) = entries(tmp_path).items()
    step = max(1, len(whole) // 400)
    damaged = [whole[:length] for length in range(0, len(whole), step)]
    for place in [*range(200), *range(200, len(whole), step)]:
        damaged.append(whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :])
    damaged += [whole + b"\0", whole * 2, os.urandom(len(whole))]
    for data in damaged:
        assert prefix_cache._arrays(np.frombuffer(data, np.uint8), name, lambda shapes: True) is None
    for data in (b"", whole[:-1], damaged[-1]):
        (tmp_path / name).write_bytes(data)
        assert small(tmp_path, bare) == (embeds, True, [])
        assert entries(tmp_path) == {name: whole}


def forged(name, header, numbers=b""):
    """An entry whose hash is right."""
    text = header.encode()
    text += b" " * (-(len(MAGIC) + DIGEST + 4 + len(text)) % ALIGNMENT)
    rest = len(text).to_bytes(4, "little") + text + numbers
    return MAGIC + hashlib.sha256(rest).digest() + rest


@pytest.mark.parametrize(
    "header",
    [
        "[]", "null", "{", "[" * 3000, "{}", '{"entry": 1, "shapes": 1}', '{"entry": NAME}', '{"entry": NAME, "shapes": []}',
        '{"entry": NAME, "shapes": [[]]}', '{"entry": NAME, "shapes": [[4]]}', '{"entry": NAME, "shapes": [[-1, -1]]}',
        '{"entry": NAME, "shapes": [[1e999]]}', '{"entry": NAME, "shapes": ["x"]}', '{"entry": NAME, "shapes": [[999999]]}',
        '{"entry": "other", "shapes": [[TOKENS, HIDDEN]]}', '{"entry": NAME, "shapes": [[HIDDEN, TOKENS]]}',
        '{"entry": NAME, "shapes": [[TOKENS, HIDDEN], [1]]}',
    ],
)  # fmt: skip
def test_an_entry_with_a_right_hash_and_a_wrong_header_is_not_used(bare, tmp_path, header):
    embeds, _, _ = small(tmp_path, bare)
    ((name, whole),) = entries(tmp_path).items()
    tokens, hidden = len(embeds), len(embeds[0])
    for word, value in (("NAME", f'"{name}"'), ("TOKENS", str(tokens)), ("HIDDEN", str(hidden))):
        header = header.replace(word, value)
    for numbers in (b"", b"\0" * (4 * tokens * hidden), b"\0" * (4 * tokens * hidden + 4)):
        (tmp_path / name).write_bytes(forged(name, header, numbers))
        assert small(tmp_path, bare) == (embeds, True, [])
        assert entries(tmp_path) == {name: whole}


def test_an_entry_under_the_name_of_another_image_is_not_used(toy, tmp_path):
    plain = answered(load(toy))
    answered(load(toy, cache=tmp_path))
    own = set(entries(tmp_path))
    answered(load(toy, cache=tmp_path), OTHER)
    found = entries(tmp_path)
    (theirs,) = set(found) - own  # the features: the toy's tower makes the same embeddings of both
    (ours,) = (name for name in own if len(found[name]) == len(found[theirs]))
    (tmp_path / ours).write_bytes(found[theirs])
    assert answered(load(toy, cache=tmp_path)) == plain


@posix
@pytest.mark.parametrize("kind", ["link", "folder", "pipe", "unreadable link"])
def test_what_is_no_plain_file_is_never_opened_and_the_answer_comes(bare, tmp_path, kind):
    folder = tmp_path / "cache"
    embeds, _, _ = small(folder, bare)
    ((name, whole),) = entries(folder).items()
    (folder / name).unlink()
    (tmp_path / "elsewhere").write_bytes(whole)
    if kind == "folder":
        (folder / name).mkdir()
    elif kind == "pipe":
        os.mkfifo(folder / name)
    else:
        (folder / name).symlink_to(tmp_path / ("elsewhere" if kind == "link" else "nowhere"))
    given, asked, problems = small(folder, bare)
    assert (given, asked) == (embeds, True)
    if kind in ("folder", "pipe"):
        assert [problem.code for problem in problems] == ["cache.not_written"]
    else:
        assert not problems and not (folder / name).is_symlink() and (folder / name).read_bytes() == whole
    assert (tmp_path / "elsewhere").read_bytes() == whole


@posix
def test_an_entry_of_another_user_is_not_used(bare, tmp_path, monkeypatch):
    embeds, _, _ = small(tmp_path, bare)
    cache = PrefixCache(tmp_path, 1 << 20, Package.open(bare), False)
    (name,) = entries(tmp_path)
    assert cache._read(name, lambda shapes: True)
    monkeypatch.setattr(os, "geteuid", lambda: 12345)
    assert cache._read(name, lambda shapes: True) is None


def test_those_used_longest_ago_are_deleted_and_no_other_file(bare, tmp_path):
    package = Package.open(bare)
    (tmp_path / "notes.txt").write_text("mine" * 10_000)
    (tmp_path / ("A" * 64)).write_text("no hash" * 10_000)
    for name, age in ((".medrega-old.tmp", 7200), (".medrega-new.tmp", 0)):
        (tmp_path / name).write_text("unfinished")
        os.utime(tmp_path / name, (time.time() - age,) * 2)
    tokens, hidden = package.manifest.vision.tokens, package.manifest.decoder.hidden

    def fill(cache, number):
        asked = []

        def encode():
            asked.append(1)
            return VisualFeatures(np.full((tokens, hidden), number, np.float32), None)

        given = cache.features(bytes([number]), encode)
        assert (given.embeds == number).all() and not cache.take_problems()
        for name in entries(tmp_path):  # so that the clock is finer than the times between uses
            status = os.stat(tmp_path / name)
            os.utime(tmp_path / name, ns=(status.st_mtime_ns - 10**9,) * 2)
        return bool(asked)

    fill(PrefixCache(tmp_path, 1 << 30, package, False), 0)
    size = usage(tmp_path)[1]
    cache = PrefixCache(tmp_path, 3 * size, package, False)
    assert fill(cache, 1) and fill(cache, 2)
    assert not fill(cache, 0)  # used now, so 1 is the oldest
    assert fill(cache, 3) and usage(tmp_path) == (3, 3 * size)
    assert not fill(cache, 0) and not fill(cache, 2)
    assert fill(cache, 1)
    assert usage(tmp_path) == (3, 3 * size)
    others = {path.name for path in tmp_path.iterdir() if not ENTRY.fullmatch(path.name)}
    assert others == {"notes.txt", "A" * 64, ".medrega-new.tmp"}


def told(engine):
    answer = engine.ask(engine.open(SCAN), "locate the liver")
    codes = [warning.code for warning in answer.warnings if warning.code.startswith("cache.")]
    return replace(answer, warnings=(), timings=replace(answer.timings, load=0, image=0, vision=0, total=0)).text, codes


def test_an_entry_larger_than_the_cache_is_told_and_the_answer_is_the_same(toy, tmp_path):
    plain, none = told(load(toy))
    engine = load(toy, cache=tmp_path, cache_bytes=100)
    assert told(engine) == (plain, ["cache.too_small"] * 2) and not none
    assert not entries(tmp_path)


def test_a_full_disk_is_told_and_the_answer_is_the_same(toy, tmp_path, monkeypatch):
    plain, _ = told(load(toy))
    engine = load(toy, cache=tmp_path)

    def full(path):
        raise ResourceError("io.no_space", reason="No space left on device")

    monkeypatch.setattr(prefix_cache, "atomic_write", full)
    text, codes = told(engine)
    assert (text, codes) == (plain, ["cache.not_written"])
    assert told(engine) == (plain, ["cache.not_written"])  # of a new image's prefix; its features are in memory
    monkeypatch.undo()
    assert told(load(toy, cache=tmp_path)) == (plain, [])


def test_a_folder_that_is_gone_is_told(toy, tmp_path):
    engine = load(toy, cache=tmp_path / "cache")
    (tmp_path / "cache").rmdir()
    assert told(engine) == (told(load(toy))[0], ["cache.not_written"])


@posix
def test_a_folder_that_others_may_change_is_refused(tmp_path, monkeypatch):
    for mode in (0o777, 0o1777, 0o770, 0o720):
        folder = tmp_path / oct(mode)
        folder.mkdir()
        folder.chmod(mode)
        with raises_code(UsageError, "cache.others_may_write"):
            own_folder(folder)
    (tmp_path / "file").write_text("")
    with raises_code(UsageError, "cache.unusable"):
        own_folder(tmp_path / "file")
    with raises_code(UsageError, "io.unwritable"):
        own_folder(tmp_path / ("x" * 300))
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    with raises_code(UsageError, "cache.unusable"):
        own_folder(tmp_path / "loop")
    (tmp_path / "link").symlink_to(tmp_path / "target")
    with raises_code(UsageError, "cache.unusable"):  # to what is not there
        own_folder(tmp_path / "link")
    (tmp_path / "target").mkdir(mode=0o755)
    assert own_folder(tmp_path / "link") == tmp_path / "link"
    monkeypatch.setattr(os, "geteuid", lambda: 12345)
    for name in ("target", "link"):
        with raises_code(UsageError, "cache.of_another_user"):
            own_folder(tmp_path / name)


def test_another_device_than_the_cpu_is_refused(toy, tmp_path, monkeypatch):
    monkeypatch.setattr(home, "choose_device", lambda wanted: ("cuda", Message("resource.device_asked_for")))
    with raises_code(UsageError, "cache.cpu_only"):
        Engine(Package.open(toy), EngineOptions(cache=tmp_path / "cache"))
    assert not (tmp_path / "cache").exists()


def test_option_environment_and_settings_name_the_folder(medrega, tmp_path, monkeypatch):
    asked = ("ask", "--sample", "abdomen-mri", "locate the liver")
    assert medrega(*asked, "--cache", tmp_path / "option").code == 0
    monkeypatch.setenv("MEDREGA_CACHE", str(tmp_path / "environment"))
    assert medrega(*asked).code == 0
    monkeypatch.delenv("MEDREGA_CACHE")
    (tmp_path / "config.toml").write_text(f"cache = '{tmp_path / 'settings'}'\n", "utf-8")
    monkeypatch.setattr(settings, "settings_path", lambda: tmp_path / "config.toml")
    settings.settings.cache_clear()
    monkeypatch.setenv("MEDREGA_CACHE", "")  # restored afterwards, with what the command sets
    monkeypatch.delenv("MEDREGA_CACHE")
    ran = medrega("doctor")
    assert "cache: none" in ran.out
    assert medrega(*asked).code == 0
    for place in ("option", "environment", "settings"):
        assert usage(tmp_path / place)[0] == 2
    ran = medrega("doctor")
    assert f"{tmp_path / 'settings'}, 2 entries" in ran.out
    (tmp_path / "config.toml").write_text("cache = 'relative'\n", "utf-8")
    settings.settings.cache_clear()
    assert medrega(*asked).code == UsageError.exit_code


def test_two_engines_write_the_same_entries_and_read_each_others(toy, tmp_path):
    engines = [load(toy, cache=tmp_path) for _ in range(2)]
    plain = {source: answered(load(toy), source) for source in (SCAN, OTHER)}
    for engine in (*engines, *engines):
        for source, wanted in plain.items():
            assert answered(engine, source) == wanted
    assert len(entries(tmp_path)) == 3  # the toy's tower makes the same embeddings of both


@pytest.mark.slow
def test_processes_at_once_share_a_folder_that_is_too_small_for_them(tmp_path):
    command = [sys.executable, "-m", "medrega_edge", "ask", "--sample", "abdomen-mri", "--json"]
    questions = ["locate the liver", "what kind of image is this?", "请定位肝脏"]
    environment = {name: value for name, value in os.environ.items() if name != "MEDREGA_CACHE"}

    def run(*options):
        started = [
            subprocess.Popen([*command, question, *options], stdout=subprocess.PIPE, env=environment)
            for question in questions
        ]
        answers = [json.loads(process.communicate()[0]) for process in started]
        assert not any(process.returncode for process in started)
        for answer in answers:
            del answer["timings_ms"]
        return answers

    plain = run()
    for size in ("64", "2"):
        for _ in range(2):
            assert run("--cache", str(tmp_path), "--cache-size", size) == plain
            assert usage(tmp_path)[1] <= int(size) << 20


@pytest.mark.slow
def test_a_batch_in_two_processes_has_the_rows_of_one_without_a_cache(tmp_path):
    (tmp_path / "in").mkdir()
    for number in range(40):
        (tmp_path / "in" / f"{number % 20}-{number}.png").write_bytes(
            png(picture(200, 100 + number % 20, liver=(20, 20, 90, 70)))
        )
    command = [sys.executable, "-m", "medrega_edge", "batch", str(tmp_path / "in"), "--question", "locate the liver"]

    def rows(name, *options):
        subprocess.run([*command, "--out", str(tmp_path / name), *options], check=True, capture_output=True)
        found = [json.loads(line) for line in (tmp_path / name).read_text("utf-8").splitlines()]
        for row in found:
            row.pop("timings_ms", None)
        return found

    plain = rows("plain.jsonl")
    for name in ("first.jsonl", "second.jsonl"):
        assert rows(name, "--cache", str(tmp_path / "cache"), "--threads", "2") == plain
    assert usage(tmp_path / "cache")[0] == 40  # features and a prefix of twenty pictures


@pytest.mark.slow
def test_a_package_of_a_large_models_layout_answers_the_same(tmp_path):
    pytest.importorskip("onnx")
    from medrega_bench.performance import random_packages

    package = random_packages.write_package(random_packages.named("tiny"), tmp_path / "package").folder
    folder, source = tmp_path / "cache", sample_path("abdomen-mri")
    question = "locate the liver"
    plain = answered(load(package, threads=1), source, question)
    for threads in (1, 2, 1):
        assert answered(load(package, threads=threads, cache=folder), source, question) == plain
    for name, data in entries(folder).items():
        (folder / name).write_bytes(data[: len(data) // 2] + b"\1" + data[len(data) // 2 + 1 :])
    assert answered(load(package, threads=2, cache=folder), source, question) == plain
    (folder / min(entries(folder))).unlink()
    assert answered(load(package, threads=1, cache=folder), source, question) == plain


def test_a_read_error_counts_as_missing(bare, tmp_path, monkeypatch):
    embeds, _, _ = small(tmp_path, bare)

    def broken(path, most):
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(prefix_cache, "_read_own_file", broken)
    assert small(tmp_path, bare) == (embeds, True, [])
