"""On real kernels, guesses change no bit of an answer: packages of random weights, in both sizes of groups."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest

pytestmark = pytest.mark.export
pytest.importorskip("onnx")

from medrega_bench.performance import random_packages
from medrega_edge.boxes import Geometry
from medrega_edge.errors import PackageError
from medrega_edge.inference.decoder import Decoder
from medrega_edge.inference.grammars import Prose, RegionGrammar
from medrega_edge.inference.language_model import LanguageModel
from medrega_edge.inference.prompt_lookup import TextMemory
from medrega_edge.package.manifest import MANIFEST
from medrega_edge.package.package import Package
from medrega_edge.prompts.templates import Prompt


@dataclasses.dataclass(frozen=True, eq=False)
class Image:
    embeds: np.ndarray
    maps: None = None
    geometry: Geometry = Geometry(1, 1)


@pytest.fixture(scope="module", params=[(32, 8), (64, 8), (32, 4)], ids=str)
def package(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Package:
    group, head_bits = request.param
    text = random_packages.TextShape(layers=2, hidden=128, heads=4, kv_heads=2, head_dim=32, mlp=192, vocabulary=8192)
    shape = random_packages.PackageShape(text, random_packages.SMALLEST_TOWER, head_bits, group)
    return random_packages.write_package(shape, tmp_path_factory.mktemp("random") / "package")


class Forgetful(TextMemory):
    """Guesses nothing, so every pass has one token and a filler."""

    def guess(self, count: int) -> list[int]:
        return []


class Wild(TextMemory):
    """Guesses at random."""

    def guess(self, count: int) -> list[int]:
        return [int(token) for token in np.random.default_rng(len(self._tokens)).integers(300, 8000, count)]


@pytest.mark.parametrize("threads", [1, 2])
def test_an_answer_is_the_same_with_any_guesses(package: Package, threads: int) -> None:
    contents, spec = package.read_all(), package.manifest.decoder
    model = LanguageModel(contents, Decoder(contents, threads, "cpu"))
    tokens = package.manifest.vision.tokens
    for seed in range(3):
        image = Image(np.random.default_rng(seed).standard_normal((tokens, spec.hidden), np.float32))
        for make in (Prose, RegionGrammar):
            answers, passes = [], []
            remembered = TextMemory()
            for memory in (remembered, Forgetful(), Wild(), remembered):
                model._memory, before = memory, model.forward_passes
                prompt = Prompt("", "", f"Write report {seed} of this image.")
                answers.append(model.generate(image, prompt, make(model.vocabulary), 120))
                passes.append(model.forward_passes - before)
            texts = [(answer.raw_text, answer.steps, answer.finish) for answer in answers]
            assert texts[1:] == texts[:-1]
            assert passes[3] < passes[1] / 2  # the fourth knows the whole answer from the first
    assert model._rows_are_equal


def test_every_row_is_that_of_its_position(package: Package) -> None:
    decoder = Decoder(package.read_all(), 1, "cpu")
    embeds = np.random.default_rng(0).standard_normal((9, package.manifest.decoder.hidden), np.float32)
    rows = decoder.extend_rows(embeds, 4).copy()
    for count, row in zip(range(6, 10), rows, strict=True):
        decoder.rewind(0)
        assert np.allclose(decoder.extend(embeds[:count]), row, atol=0.01 * np.abs(row).max())
    assert not np.allclose(rows[0], rows[1], atol=0.01 * np.abs(rows).max())


def test_without_lookup_the_text_is_read_token_by_token(package: Package) -> None:
    contents, spec = package.read_all(), package.manifest.decoder
    model = LanguageModel(contents, Decoder(contents, 1, "cpu"))
    model.prompt_lookup = False
    image = Image(np.random.default_rng(0).standard_normal((package.manifest.vision.tokens, spec.hidden), np.float32))
    answer = model.generate(image, Prompt("", "", "Write."), Prose(model.vocabulary), 10)
    assert model.forward_passes == 2 + len(answer.steps) - (len(answer.steps) == 10)


def test_a_manifest_that_differs_from_the_graph_is_refused(package: Package, tmp_path: Path) -> None:
    for file in package.folder.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    decoder = dataclasses.replace(package.manifest.decoder, wanted_positions="")
    (tmp_path / MANIFEST).write_text(dataclasses.replace(package.manifest, decoder=decoder).to_json(), encoding="utf-8")
    with pytest.raises(PackageError) as error:
        Decoder(Package.open(tmp_path).read_all(), 1, "cpu")
    assert error.value.code == "inference.graph_not_as_in_manifest"
