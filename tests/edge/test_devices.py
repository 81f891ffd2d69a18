"""Which device and how many threads are taken, and the decoder's cache, on the default package."""

import json
from types import SimpleNamespace

import numpy as np
import pytest

from medrega_edge.errors import ResourceError
from medrega_edge.i18n.message import Message
from medrega_edge.inference import devices
from medrega_edge.inference.decoder import Decoder
from medrega_edge.inference.devices import choose_device, decoder_threads
from medrega_edge.package.manifest import FileEntry
from medrega_edge.package.registry import find_package
from tests.codes import raises_code
from tests.edge.stub import medrega


def runtime(*providers, works=True):
    """An onnxruntime with these providers, whose GPU works or not."""

    def value(shape, kind, device, number):
        if not works:
            raise RuntimeError("CUDA failure 35: driver too old")

    return SimpleNamespace(
        get_available_providers=lambda: ["CPUExecutionProvider", *providers],
        preload_dlls=lambda: print("Failed to load libcudnn"),  # noqa: T201 - as onnxruntime does
        OrtValue=SimpleNamespace(ortvalue_from_shape_and_type=value),
    )


@pytest.mark.parametrize(
    ("there", "installed", "wanted", "device", "why"),
    [
        (runtime(), ["onnxruntime"], "cpu", "cpu", "device_asked_for"),
        (runtime(), ["onnxruntime"], "auto", "cpu", "onnxruntime_without_cuda"),
        (runtime(), ["onnxruntime", "onnxruntime-gpu"], "auto", "cpu", "two_onnxruntimes"),
        (runtime("CUDAExecutionProvider"), ["onnxruntime-gpu"], "auto", "cuda", "cuda_available"),
        (runtime("CUDAExecutionProvider"), ["onnxruntime-gpu"], "cuda", "cuda", "device_asked_for"),
        (runtime("CUDAExecutionProvider", works=False), ["onnxruntime-gpu"], "auto", "cpu", "no_working_cuda_device"),
    ],
)
def test_a_device_is_taken_and_the_reason_said(there, installed, wanted, device, why, monkeypatch, capsys):
    monkeypatch.setattr(devices, "load_onnxruntime", lambda: there)
    monkeypatch.setattr(devices, "_distributions", lambda: installed)
    taken, reason = choose_device(wanted)
    assert taken == device
    assert reason.code == f"resource.{why}"
    assert capsys.readouterr().out == ""  # standard output is for answers


@pytest.mark.parametrize(
    ("there", "wanted", "code", "params"),
    [
        (runtime(), "cuda", "no_cuda", {"problem": Message("resource.onnxruntime_without_cuda")}),
        (
            runtime("CUDAExecutionProvider", works=False),
            "cuda",
            "no_cuda",
            {"problem": Message("resource.no_working_cuda_device", error="RuntimeError")},
        ),
        (runtime(), "tpu", "unknown_device", {"name": "tpu"}),
    ],
)
def test_a_device_that_is_not_there_is_refused_in_one_sentence(there, wanted, code, params, monkeypatch):
    monkeypatch.setattr(devices, "load_onnxruntime", lambda: there)
    monkeypatch.setattr(devices, "_distributions", lambda: ["onnxruntime"])
    with raises_code(ResourceError, f"resource.{code}", **params) as refused:
        choose_device(wanted)
    assert refused.value.exit_code == 6
    assert str(refused.value).count(". ") == 0


def test_auto_says_on_standard_error_what_it_took(capsys):
    assert medrega("ask", "--sample", "abdomen-mri", "locate the liver", "--json", "--device", "auto") == 0
    said = capsys.readouterr()
    device = json.loads(said.out)["device"]
    assert said.err.startswith(f"device: {device} (")


@pytest.mark.parametrize(("quota", "threads"), [("150000 100000", 2), ("max 100000", 8), ("10000 100000", 1), (None, 8)])
def test_a_container_that_pays_for_few_processors_gets_few_threads(quota, threads, tmp_path, monkeypatch):
    if quota is not None:
        (tmp_path / "cpu.max").write_text(f"{quota}\n")
    monkeypatch.setattr(devices, "CPU_QUOTA", tmp_path / "cpu.max")
    monkeypatch.setattr(devices.os, "sched_getaffinity", lambda _: range(8), raising=False)
    assert devices.available_threads() == threads


@pytest.mark.parametrize(("megabytes", "available", "threads"), [(3, 8, 1), (400, 8, 8), (400, 1, 1), (400, 2, 2)])
def test_a_small_decoder_runs_on_one_thread(megabytes, available, threads):
    one = FileEntry("decoder.onnx", "", 100_000, "")
    manifest = SimpleNamespace(files={"decoder": one, "decoder_data": FileEntry("d", "", megabytes * 1_000_000, "")})
    assert decoder_threads(manifest, available) == threads


@pytest.fixture(scope="module")
def decoder():
    return Decoder(find_package().read_all(), 1, "cpu")


def test_a_prefix_that_was_rewound_to_gives_the_same_bytes(decoder):
    rng = np.random.default_rng(0)
    prefix, question, other = (rng.normal(0, 1, (n, decoder.spec.hidden)).astype(np.float32) for n in (20, 5, 9))
    decoder.rewind(0)
    decoder.extend(prefix)
    cold = decoder.extend(question).copy()
    decoder.extend(other)
    decoder.rewind(20)
    assert np.array_equal(decoder.extend(question), cold)


def test_one_by_one_and_together_are_the_same_positions(decoder):
    rng = np.random.default_rng(1)
    tokens = rng.normal(0, 1, (6, decoder.spec.hidden)).astype(np.float32)
    decoder.rewind(0)
    together = decoder.extend(tokens).copy()
    decoder.rewind(0)
    passes = decoder.forward_passes
    for token in tokens:
        one_by_one = decoder.extend(token[None])
    assert decoder.forward_passes == passes + 6
    assert decoder.length == 6
    assert np.allclose(one_by_one, together, atol=0.05 * np.abs(together).max())  # int8 activations are rounded per pass


def test_the_context_has_an_end(decoder):
    decoder.rewind(0)
    with raises_code(ResourceError, "resource.context_full"):
        decoder.extend(np.zeros((decoder.spec.context + 1, decoder.spec.hidden), np.float32))
