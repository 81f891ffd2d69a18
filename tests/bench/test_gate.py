import json
from dataclasses import replace
from pathlib import Path

import pytest

from medrega_bench.evaluation import gate, measure
from medrega_bench.performance.spread import Spread
from medrega_bench.reports.document import document
from medrega_edge.domain import Language
from medrega_edge.errors import UsageError
from medrega_edge.evaluation.gates import read_gates

from .handmade import HALF, many, of, package, result

WORSE = many(HALF)


def missed(one, baseline, gates=""):
    return [str(message) for message in gate.check(one, baseline, read_gates(gates) if gates else ())[0]]


def test_a_loss_beyond_its_noise_is_refused_and_the_same_result_passes():
    good = result(package(many()))
    assert missed(good, good) == []
    assert missed(result(package(WORSE)), good)[0] == "mean_iou of 'detect' in 'en' fell by 0.5 (0.5 to 0.5)"
    assert missed(good, result(package(WORSE))) == []  # a gain is no loss


def test_what_calls_itself_the_same_package_answers_the_same():
    before = result(package(many()[:10] + many("")[10:]))
    after = result(package(many("")[:10] + many()[10:]))  # another half of them is right: nothing is lost
    (phrase,) = missed(after, before)
    assert phrase.startswith("20 of 20 answers turned right or wrong, though the package calls itself model 1")
    assert missed(after, before, "iou_drop<=0.01") == []
    after = of(after, version="2")
    assert missed(after, before) == []
    nearly = result(package(many("")[:1] + many()[1:]))
    assert missed(nearly, result(package(many()))) == []  # 1 of 20


def test_gates_hold_against_a_baseline_or_the_reference_in_the_result():
    one = result(package(WORSE), package(many(), "reference", "fp32"))
    assert missed(one, None, "iou_drop<=0.6,accuracy_drop<=0,flips<=0") == []
    phrases = missed(one, None, "iou_drop<=0.01,changed<=0")
    assert phrases[0] == "iou_drop of 'detect' in 'en' is 0.5, more than 0.01" and phrases[1].startswith("changed of")
    with pytest.raises(UsageError) as error:
        gate.check(result(package(WORSE)), None, ())
    assert error.value.code == "bench.no_reference"


def test_what_nothing_measures_is_missed():
    of_names = [replace(one, setting="region_to_text", answer="liver", truth="liver") for one in many()]
    one = result(package(of_names), package(of_names, "reference", "fp32"))
    assert missed(one, None, "iou_drop<=0.01") == ["nothing measures 'iou_drop'"]


def test_ratios_of_speeds_are_held_only_where_they_are_steady():
    before = result(package(many(), gain=2.0))
    assert missed(result(package(many(), gain=1.6)), before) == ["jump_forward_gain on cpu, 2 threads, fell from 2 to 1.6"]
    assert gate.check(result(package(many(), gain=1.8)), before, ()) == ([], [])
    missing, unsteady = gate.check(result(package(many(), gain=1.5, swing=0.2)), before, ())
    assert (missing, list(map(str, unsteady))) == ([], ["jump_forward_gain on cpu, 2 threads, is not steady"])
    # Unsteady, and yet beyond all that either run has seen.
    (phrase,) = missed(result(package(many(), gain=1.0, swing=0.2)), before)
    assert "fell from 2 to 1" in phrase


def test_ratios_of_times_are_held_on_the_same_processor_only():
    before = result(package(many(), gain=3.0))
    after = result(package(many(), gain=2.4))
    after = replace(after, environment=replace(after.environment, processor="another"))
    fallen, (unheld,) = gate.check(after, before, ())
    assert (fallen, str(unheld)) == ([], "jump_forward_gain on cpu, 2 threads, was measured on another processor")


def test_ratios_of_counts_are_held_on_every_processor():
    def counted(passes, processor):
        made = result(package(many()))
        (speed,) = made.package.speed
        speed = replace(speed, ratios={"tokens_per_pass": Spread.of([passes] * 3)})
        environment = replace(made.environment, processor=processor)
        return replace(made, packages=(replace(made.package, speed=(speed,)),), environment=environment)

    assert missed(counted(2.0, "another"), counted(3.0, "cpu")) == ["tokens_per_pass on cpu, 2 threads, fell from 3 to 2"]


def test_the_command_lists_what_is_missed_and_exits_with_5(tmp_path, monkeypatch, medrega):
    monkeypatch.setenv("LC_ALL", "C")
    for name, one in (("good", result(package(many()))), ("worse", result(package(WORSE, gain=1.0)))):
        (tmp_path / f"{name}.json").write_text(measure.to_json(one), encoding="utf-8")
    ran = medrega("bench", "gate", tmp_path / "worse.json", "--baseline", tmp_path / "good.json")
    assert (ran.code, ran.out) == (5, "")
    assert ran.err.splitlines() == [
        "missed: mean_iou of 'detect' in 'en' fell by 0.5 (0.5 to 0.5)",
        "missed: jump_forward_gain on cpu, 2 threads, fell from 2 to 1",
        "error: The result does not pass; what it misses is listed.",
    ]


def test_results_are_kept_by_date_and_commit_and_the_newest_is_found(tmp_path):
    old, new = result(package(many())), result(package(WORSE))
    old = replace(old, measured="2026-11-22T10:00:00+00:00", commit="abc")
    new = replace(new, measured="2026-11-23T10:00:00+00:00", commit="abd")
    for one in (old, new):
        (tmp_path / measure.history_name(one)).write_text(measure.to_json(one), encoding="utf-8")
    (tmp_path / "other.json").write_text(json.dumps({"schema_version": 1}))
    assert sorted(path.name for path in tmp_path.glob("quick-*")) == [
        "quick-2026-11-22-abc.json",
        "quick-2026-11-23-abd.json",
    ]
    assert measure.read_result(tmp_path) == new


@pytest.mark.parametrize(
    "text", ["", "[]", "{}", '{"schema_version": 2, "kind": "run"}', '{"schema_version": 1, "kind": "run"}']
)
def test_other_files_are_no_results(tmp_path, text):
    path = tmp_path / "result.json"
    path.write_text(text)
    for place, code in (
        (path, "not_a_result"),
        (tmp_path / "gone.json", "result_file_unreadable"),
        (tmp_path, "no_result_on_data"),
    ):
        with pytest.raises(UsageError) as error:
            measure.read_result(place)
        assert error.value.code == f"bench.{code}"


RESULTS = Path(__file__).parents[2] / "bench" / "results"


@pytest.mark.parametrize("path", sorted(RESULTS.glob("quick-*.json")), ids=lambda path: path.stem)
def test_committed_results_of_every_version_are_read_and_pass_beside_themselves(path):
    read = measure.read_result(path)
    assert gate.check(read, read, ())[0] == []
    assert document(read, Language.EN).sections
    again, committed = json.loads(measure.to_json(read)), json.loads(path.read_text("utf-8"))
    assert again["packages"][0]["rows"] == committed["packages"][0]["rows"]
