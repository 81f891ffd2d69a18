"""`--device cuda`: answers as on the CPU within a tolerance, `bench run` and `serve`. Runs only where a card is.

    pytest -m gpu -rs

Bytes may differ: a card adds in another order, and it does not round the inputs of products to 8 bits as the CPU does.
"""

import json
from types import SimpleNamespace

import pytest

from medrega_edge.boxes import PixelBox, iou
from medrega_edge.engine import load
from medrega_edge.images.samples import sample_path
from medrega_edge.inference.devices import choose_device

DEVICE = "cuda"
QUESTIONS = 60  # of the quick set
SAME_BOX = 0.9  # IoU from which on two boxes are the same
SAME_CONFIDENCE = 0.1
SHARE = 0.9  # of the questions that have to be answered alike


@pytest.fixture(scope="module")
def card():
    device, reason = choose_device("auto")
    if device != DEVICE:
        pytest.skip(f"no card: {reason}")
    return device


def alike(one, other):
    """Whether two answers say the same: the same words, and each region at the same place about as sure."""
    if one is None or other is None:
        return one is other
    if one.text != other.text or [r.label for r in one.regions] != [r.label for r in other.regions]:
        return False
    pairs = zip(one.regions, other.regions, strict=True)
    return all(
        iou(a.box, b.box) >= SAME_BOX and abs((a.confidence or 0) - (b.confidence or 0)) <= SAME_CONFIDENCE for a, b in pairs
    )


def answer(text="liver", box=(10, 10, 60, 60), confidence=0.8):
    return SimpleNamespace(text=text, regions=[SimpleNamespace(label=text, box=PixelBox(*box), confidence=confidence)])


@pytest.mark.parametrize(
    ("other", "same"),
    [
        (answer(), True),
        (answer(box=(10, 10, 61, 60)), True),
        (answer(confidence=0.75), True),
        (answer("spleen"), False),
        (answer(box=(40, 10, 90, 60)), False),
        (answer(confidence=0.5), False),
        (None, False),
    ],
)
def test_what_counts_as_the_same_answer(other, same):
    assert alike(answer(), other) is same


@pytest.mark.gpu
def test_answers_are_those_of_the_cpu_within_the_tolerance(card, tmp_path):
    selection = pytest.importorskip("medrega_bench.datasets.dataset_selection")
    from medrega_edge.evaluation.runner import run_questions

    items, _ = selection.choose(None, "test", QUESTIONS, tmp_path)
    questions = [item.question for item in items]
    engines = [load(), load(device=card)]
    assert engines[1].device == card
    on_cpu, on_card = ([one.answer for one in run_questions(engine, questions)] for engine in engines)
    same = [alike(one, other) for one, other in zip(on_cpu, on_card, strict=True)]
    assert sum(same) >= SHARE * len(same), [q.question for q, one in zip(questions, same, strict=True) if not one]


@pytest.mark.gpu
def test_one_device_answers_in_the_same_bytes_each_time(card):
    engines = [load(device=card) for _ in range(2)]
    answers = [engine.ask(engine.open(sample_path("abdomen-mri")), "locate the liver").to_dict() for engine in engines]
    for one in answers:
        one.pop("timings_ms")
    assert answers[0] == answers[1]


@pytest.mark.gpu
def test_a_run_of_the_benchmark_measures_the_card_beside_the_cpu(card, tmp_path):
    pytest.importorskip("medrega_bench.reports.render")
    from typer.testing import CliRunner

    from medrega_bench.cli.main import bench_app

    words = ["run", "--device", card, "--device", "cpu", "--limit", "24", "--out", str(tmp_path / "report")]
    ran = CliRunner().invoke(bench_app, words, catch_exceptions=False)
    assert ran.exit_code == 0, ran.output
    result = json.loads((tmp_path / "report" / "result.json").read_text())
    headline, (on_card, on_cpu) = result["headline"], result["packages"][0]["speed"]
    assert (headline["device"], on_card["device"], on_cpu["device"]) == (card, card, "cpu")
    assert headline["questions_per_minute"] > 0
    energy = {part["part"]: part for part in on_card["throughput"]["energy"]}
    assert energy.keys() == {"processor", "gpu"}
    assert all(part.get("joules", 0) > 0 or part["missing"] for part in energy.values())


@pytest.mark.gpu
def test_the_server_answers_from_the_card(card):
    pytest.importorskip("starlette")
    from tests.server.running import running

    with running("--device", card) as server:
        found = server.json("/v1/regions", {"image": {"id": server.send()}, "question": "locate the liver"})
    assert found["device"] == card
    assert found["regions"][0]["label"] == "liver"
