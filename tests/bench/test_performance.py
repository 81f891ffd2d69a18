"""Measurements of speed, memory and determinism, run small."""

from __future__ import annotations

import re
from types import SimpleNamespace

import numpy as np
import pytest

from medrega_bench.performance import batch_scale, cold_start, determinism, latency, random_packages, vision_precision
from medrega_bench.performance.cold_start import ColdStart
from medrega_bench.performance.determinism import Run
from medrega_bench.performance.environment import command, environment, int8_flags, without_folder
from medrega_bench.performance.spread import Spread, quotients
from medrega_edge.errors import ResourceError
from medrega_edge.images.samples import sample_path
from medrega_edge.inference.machine_speed import MemoryReader
from medrega_edge.package.package import Package
from medrega_edge.package.registry import default_folder

from .test_quietness import quiet_watch

pytestmark = pytest.mark.slow  # seconds: the fast tests have a minute


@pytest.fixture(scope="module")
def package():
    return Package.open(default_folder())


def test_a_spread_sums_up():
    assert Spread.of([3.0, 1.0, 2.0]) == Spread(median=2.0, p90=pytest.approx(2.8), min=1.0, max=3.0, n=3)
    assert quotients([4.0, 9.0], [2.0, 3.0]) == [2.0, 3.0]
    with pytest.raises(ValueError):
        quotients([1.0], [])


def test_a_machine_is_described_without_its_name(monkeypatch):
    machine = environment()
    assert machine.threads >= 1 and machine.versions["onnxruntime"] is not None
    assert set(int8_flags()) <= {"avx2", "avx_vnni", "avx512f", "avx512_vnni", "amx_int8"}
    assert machine.commit is None or re.fullmatch(r"[0-9a-f]{9,}\+?", machine.commit)
    monkeypatch.setattr("sys.argv", ["medrega", "bench", "speed", "--model", "/home/jane/model", "../out.json"])
    assert command() == "medrega bench speed --model model out.json"


@pytest.mark.parametrize(
    ("typed", "kept"),
    [
        ("--data=/home/jane/patients/data", "--data=data"),
        ("models/jane/m.gguf", "m.gguf"),
        ("~/pkg/", "pkg"),
        (r"C:\Users\jane\m.gguf", "m.gguf"),
        (r"--out=..\jane\out.json", "--out=out.json"),
        ("http://ward7.hospital.example:8080/v1", "URL"),
        ("--server=http://jane/?a=b", "--server=URL"),
        ("qwen2.5vl:7b", "qwen2.5vl:7b"),
        ("--limit=5", "--limit=5"),
        ("/", "/"),
    ],
)
def test_folders_and_addresses_are_left_out(typed, kept):
    assert without_folder(typed) == kept


def test_memory_is_read(monkeypatch):
    monkeypatch.setattr("medrega_bench.performance.environment._BLOCK_BYTES", 2**20)
    assert MemoryReader(2).gigabytes_per_second(repeats=1) > 0


@pytest.mark.slow
def test_stages_of_an_answer_are_timed_in_a_process_of_their_own(package):
    times = latency.measure(package, 1, "cpu", 1)
    assert (times.threads, times.device, times.load_ms.n, times.vision_ms.n) == (1, "cpu", 1, 1)
    assert times.first_answer_ms.median > times.first_start_ms.median > times.vision_ms.median > 0
    assert times.passes_of_next_question.median < times.passes_without_jump_forward.median
    assert times.ratios.keys() == {
        "tokens_per_pass", "jump_forward_fewer_passes", "jump_forward_gain", "kept_image_gain",
    }  # fmt: skip


def test_an_error_of_the_measuring_process_arrives(package):
    with pytest.raises(ResourceError) as error:
        latency.measure(package, 1, "abacus", 1)
    assert error.value.code == "resource.unknown_device"


def killed(sender, *_):
    sender.close()


@pytest.mark.slow
def test_a_measuring_process_that_is_killed_says_so(package, monkeypatch):
    monkeypatch.setattr(latency, "_worker", killed)
    with pytest.raises(ResourceError) as error:
        latency.measure(package, 1, "cpu", 1)
    assert error.value.code == "bench.measurement_failed"
    assert error.value.message.params["problem"].code == "bench.worker_killed"


@pytest.mark.slow
def test_a_cold_start_is_measured(package):
    cold = cold_start.measure(package, 1)
    assert cold.wall_ms.median > 100 and cold.peak_mib.median > 50
    assert cold.help_ms.median < cold.png_ms.median  # whose process answers, too


@pytest.mark.slow
def test_a_batch_is_timed_on_one_core_and_on_all(package, monkeypatch):
    monkeypatch.setattr(batch_scale, "FEW", 2)
    monkeypatch.setattr(batch_scale, "MANY", 6)
    scale = batch_scale.measure(package, rounds=1)
    if scale is None:
        pytest.skip("needs two cores and a system that holds a process to one")
    assert scale.cores >= 2 and scale.images == 6
    assert scale.ratio.median == pytest.approx(scale.all_cores.median / scale.one_core.median)


def test_a_second_process_finds_its_image_in_the_cache(package, monkeypatch):
    monkeypatch.setenv("MEDREGA_CACHE", "/nowhere/to/write")  # a user's own cache takes no part
    second = cold_start.measure_second(package, 1)
    assert min(second.without_ms.median, second.filling_ms.median, second.cached_ms.median) > 100
    assert second.time.median == pytest.approx(second.cached_ms.median / second.without_ms.median)
    assert second.cache_mib > 0.1


def test_a_cold_start_that_fails_says_with_which_code(tmp_path):
    with pytest.raises(ResourceError) as error:
        cold_start.measure(SimpleNamespace(folder=tmp_path), 1)
    assert error.value.message.params["problem"].code == "bench.cold_start_failed"
    assert error.value.message.params["problem"].params["exit_code"] == 4


def test_peak_memory_at_a_shape_is_compared_with_the_prediction(package, monkeypatch):
    written = []
    monkeypatch.setattr(random_packages, "write_package", lambda shape, *_: written.append(shape) or package)
    monkeypatch.setattr(cold_start, "measure", lambda *_: ColdStart(Spread.of([900.0]), Spread.of([300.0, 200.0])))
    peak = cold_start.measure_shape("1b", 2)
    assert written == [random_packages.SHAPES["1b"]]
    assert peak.over_package == pytest.approx(300 / peak.package_mib)
    assert peak.prediction_off == pytest.approx(abs(peak.predicted_mib - 300) / 300)


@pytest.fixture
def three_questions(monkeypatch):
    asked = [SimpleNamespace(image=sample_path(latency.SAMPLE), text=text) for text in latency.QUESTIONS[:3]]
    monkeypatch.setattr(determinism, "choose", lambda *_: ([SimpleNamespace(question=one) for one in asked], None))


@pytest.mark.usefixtures("three_questions")
def test_answers_depend_on_nothing_but_the_question(package, monkeypatch):
    monkeypatch.setattr(determinism, "ask", lambda engine, image, question: engine.ask(image, question.text))
    result = determinism.measure(package, [1, 2])
    assert (result.questions, result.different) == (3, 0)
    assert result.runs == tuple(Run(threads, cache, 0) for threads in (1, 2) for cache in ("cold", "warm"))


@pytest.mark.usefixtures("three_questions")
def test_every_answer_of_other_bytes_counts_and_a_refusal_is_an_answer(package, monkeypatch):
    numbers = iter(range(100))
    answered = SimpleNamespace(to_dict=lambda: {"text": next(numbers), "timings_ms": 1})
    monkeypatch.setattr(determinism, "ask", lambda _, __, question: None if "spleen" in question.text else answered)
    result = determinism.measure(package, [1])
    assert (result.questions, result.different) == (3, 2)
    assert [run.different for run in result.runs] == [0, 2]


def test_vision_towers_are_measured_in_turn(package, monkeypatch):
    tower, path = random_packages.TowerShape(1, 1, 1, package.manifest.vision.image_size, 16), package.path("vision")
    names = (vision_precision.FULL, vision_precision.SHIPPED)
    monkeypatch.setattr(vision_precision, "write_variants", lambda *_: ((name, path) for name in names))
    messages = []
    result = vision_precision.measure(tower, 1, 1, 5, messages.append, quiet_watch())
    assert [variant.name for variant in result.variants if variant.shipped] == [vision_precision.SHIPPED]
    assert all(variant.seconds.n == variant.gain.n == 5 and variant.relative_error == 0 for variant in result.variants)
    assert result.profiles.keys() == set(names)
    assert [message.code for message in messages] == ["bench.writing_variants", "bench.measuring", "bench.profiling"]


@pytest.mark.export
def test_every_precision_of_a_tower_is_written_and_runs():
    pytest.importorskip("onnx")
    result = vision_precision.measure(random_packages.SMALLEST_TOWER, 64, 1, 5, lambda message: None, quiet_watch())
    assert len(result.variants) == 5
    assert all(0 < variant.relative_error < 0.2 for variant in result.variants if variant.name != vision_precision.FULL)


def test_the_error_is_relative():
    expected = np.array([3.0, 4.0], np.float32)
    assert vision_precision.relative_error(expected * np.float32(1.1), expected) == pytest.approx(0.1)
