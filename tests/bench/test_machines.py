"""Headlines, what a submission holds and what it does not, and results of many machines beside each other."""

import json
import re
from dataclasses import fields, is_dataclass, replace
from pathlib import Path

import pytest
from typer.testing import CliRunner

from medrega_bench import result_files
from medrega_bench.cli.main import bench_app
from medrega_bench.evaluation import measure, submission
from medrega_bench.evaluation.headline import headlines
from medrega_bench.evaluation.results import read_run
from medrega_bench.performance.energy import NoEnergy, Part, PartEnergy
from medrega_bench.performance.throughput import Throughput
from medrega_bench.reports import headlines as reports
from medrega_bench.reports import render
from medrega_bench.reports.document import document
from medrega_bench.reports.history import history_table
from medrega_bench.reports.phrases import words
from medrega_bench.reports.readme_blocks import update_blocks
from medrega_bench.result_files import parse, to_json_values
from medrega_edge.domain import NOTICE, Language
from medrega_edge.errors import UsageError

from .handmade import HALF, many, package, result, row, speed, spread
from .test_cli_speed import BUSY

COMMITTED = Path(__file__).parents[2] / "bench" / "results"
WATTS = PartEnergy(Part.PROCESSOR, 60.0, 10.0)
NO_WATTS = PartEnergy(Part.PROCESSOR, missing=NoEnergy.NO_PERMISSION)
EVIL = ("Jane-Doe", "jane.doe", "/home/jane/scans", "ward7.hospital.example", "PID-4711", "MRN0815")


def timed(*energy, questions=120, device="cpu", card=None):
    stage = replace(speed(), device=device, card=card, first_answer_ms=spread(50.0))
    return replace(stage, throughput=Throughput(questions, 30.0, energy or (WATTS,)))


def run(*stages, rows=None, **more):
    one = replace(package(rows or many(HALF)), speed=stages or (timed(),))
    return replace(result(one), commit="0123abcd4", **more)


def saved(folder, name, made):
    path = folder / f"{name}.json"
    path.write_text(measure.to_json(made), encoding="utf-8")
    return path


def bench(*words):
    return CliRunner().invoke(bench_app, [str(word) for word in words])


# ---- the headline ----------------------------------------------------------------------------------------------------


def test_a_headline_by_hand():
    (first,) = headlines(run().package)
    assert (first.questions_per_minute, first.joules_per_question, first.idle_watts) == (240.0, 0.5, 10.0)
    assert (first.accuracy.value, first.accuracy_is) == (0.5, "iou")
    (words_only,) = headlines(run(rows=[row(n, "region_to_text", "spleen", "liver") for n in range(8)]).package)
    assert (words_only.accuracy.value, words_only.accuracy_is) == (0.0, "right")


def test_only_the_device_that_answered_has_the_accuracy():
    card = PartEnergy(Part.GPU, 30.0, 40.0)
    cpu, cuda = headlines(run(timed(), timed(NO_WATTS, card, device="cuda", card="NVIDIA X")).package)
    assert cpu.accuracy is not None and cuda.accuracy is None
    assert (cuda.card, cuda.joules_per_question, cuda.parts) == ("NVIDIA X", 0.25, (Part.GPU,))


def test_the_headline_stands_in_the_result_and_in_one_line_of_every_report():
    made = measure.result_of(run().packages, "quick", None, 10.0)
    assert to_json_values(made)["headline"]["questions_per_minute"] == 240.0
    energy = "0.5 J a question (processor; 10.0 W idle before)"
    line = f"240 questions a minute; {energy}; mean IoU 50.0 (50.0 to 50.0) %, quick set"
    assert reports.line(made.package, made.data, words(Language.EN)) == line
    shown = document(made, Language.EN)
    assert line in render.html(shown)
    assert "questions a minute" in render.markdown(shown)
    assert "每分钟 240 个问题" in render.html(document(made, Language.ZH))


def test_a_speed_that_was_disturbed_is_marked_in_report_history_and_table():
    made = measure.result_of(run().packages, "quick", None, 10.0, BUSY)
    shown = render.markdown(document(made, Language.EN))
    assert "disturbed: other processes used up to 40% of the processors" in shown
    assert "questions/s" in (told := history_table(made)) and "threads), disturbed |" in told
    (row,) = reports.rows_of([submission.submission(made)], words(Language.EN))
    assert "240, disturbed" in row
    quiet = measure.result_of(run().packages, "quick", None, 10.0, replace(BUSY, disturbed=()))
    assert "quiet" in render.markdown(document(quiet, Language.EN)) and "disturbed" not in history_table(quiet)


def test_energy_that_was_not_read_is_said_in_words_and_is_no_zero():
    made = run(timed(NO_WATTS))
    line = reports.line(made.package, made.data, words(Language.EN))
    assert "energy: not known (processor: only root may read the counter)" in line
    assert " 0 J" not in line and " J a question" not in line
    assert to_json_values(headlines(made.package)[0])["joules_per_question"] is None
    for reason in NoEnergy:
        assert words(Language.EN)[reason] and words(Language.ZH)[reason]


@pytest.mark.parametrize("path", sorted(COMMITTED.glob("quick-*.json")), ids=lambda path: path.stem)
def test_older_results_are_read_and_what_they_lack_stays_empty(path):
    (one,) = submission.read_machines(path)
    assert one.headlines[0].accuracy is not None
    assert all(each.questions_per_minute is None or each.questions_per_minute > 0 for each in one.headlines)
    assert reports.rows_of([one], words(Language.EN))


# ---- submit ----------------------------------------------------------------------------------------------------------


KEEP = {
    "schema_version", "kind", "role", "device", "setting", "task", "language", "versions", "measured", "part",
    "sha256", "missing", "parts", "accuracy_is",
}  # fmt: skip


def planted(value, evil, path=()):
    """The value with `evil` as every text in it, but for what says what kind of thing it is."""
    if is_dataclass(value):
        members = {each.name: planted(getattr(value, each.name), evil, (*path, each.name)) for each in fields(value)}
        return replace(value, **members)
    if isinstance(value, str) and not KEEP & set(path):
        return evil
    return tuple(planted(each, evil, path) for each in value) if isinstance(value, tuple) else value


@pytest.mark.parametrize("evil", EVIL)
def test_a_submission_holds_no_name_path_host_or_patient(evil, tmp_path):
    made = planted(run(timed(card="NVIDIA X")), evil)
    assert made.environment.processor == made.package.speed[0].card == evil
    versions = {"numpy": "2.2.6+jane.ward7", "janes-own": "1.0", "pillow": evil}
    made = replace(made, environment=replace(made.environment, versions=versions, int8_flags=("avx2", evil)))
    (tmp_path / "jane.json").write_text(measure.to_json(made), encoding="utf-8")
    assert (tmp_path / "jane.json").read_text().count(evil) > 20
    ran = bench("submit", tmp_path / "jane.json", "--to", tmp_path / "mine.json")
    assert ran.exit_code == 0, ran.output
    sent = (tmp_path / "mine.json").read_text()
    assert not re.search(r"jane|doe|home|scans|ward|hospital|4711|0815|liver|locate|image1|q1", sent, re.IGNORECASE)
    kept = json.loads(sent)
    assert (kept["package"]["name"], kept["package"]["version"], kept["questions"]["data"]) == ("other", None, "own")
    assert (kept["machine"]["processor"], kept["machine"]["system"], kept["commit"]) == ("other", "other", None)
    assert kept["headlines"][0]["card"] == "other"
    assert kept["machine"]["versions"] == {"numpy": "2.2.6", "pillow": None}
    assert kept["machine"]["int8_flags"] == ["avx2"]
    assert kept["headlines"][0]["joules_per_question"] == 0.5


def test_what_a_stranger_needs_stays(tmp_path):
    ran = bench("submit", saved(tmp_path, "result", run()), "--to", tmp_path / "mine.json")
    text = (tmp_path / "mine.json").read_text()
    assert text.rstrip() in ran.stdout  # all of it is shown
    assert NOTICE in text
    kept = json.loads(text)
    assert kept["machine"]["versions"] == {"onnxruntime": "1"} and kept["commit"] == "0123abcd4"
    assert kept["questions"]["data"] == "quick"
    (again,) = submission.read_machines(tmp_path / "mine.json")
    assert again == submission.submission(measure.read_result(tmp_path / "result.json"))


@pytest.mark.parametrize(
    "model",
    [
        "Intel(R) Xeon(R) Platinum 8480C", "Intel(R) Core(TM) i7-8650U CPU @ 1.90GHz", "AMD EPYC 7763 64-Core Processor",
        "12th Gen Intel(R) Core(TM) i7-1260P", "Apple M2 Pro", "Intel Xeon Processor (Skylake, IBRS)", "Neoverse-N1",
        "Intel64 Family 6 Model 142 Stepping 10, GenuineIntel", "ARMv8 Processor rev 1 (v8l)", "x86_64", "aarch64", "arm64",
        "QEMU Virtual CPU version 2.5+", "NVIDIA H200", "NVIDIA GeForce RTX 4090 Laptop GPU", "Tesla V100-SXM2-16GB",
        "Quadro RTX 6000/8000", "AMD64 Family 25 Model 33 Stepping 0, AuthenticAMD",
    ],
)  # fmt: skip
def test_models_of_processors_and_cards_stay(model):
    made = run(timed(card=model))
    sent = submission.submission(replace(made, environment=replace(made.environment, processor=model)))
    assert sent.machine.processor == sent.headlines[0].card == model


@pytest.mark.parametrize(
    "text",
    ["Intel CPU of ward7.hospital.example", "jane@ward7 CPU", "CPU 10.0.0.1", "/opt/intel/cpu", "Intel \u5f20\u4f1f", ""],
)
def test_what_names_a_person_or_a_host_beside_a_model_goes(text):
    made = run()
    sent = submission.submission(replace(made, environment=replace(made.environment, processor=text)))
    assert sent.machine.processor == "other"


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("measured", "2026-11-30T10:00:00 ward7"),
        ("commit", "jane"),
        ("machine", {"processor": "/home/jane"}),
        ("machine", {"processor": "ward7.hospital.example"}),
    ],
)
def test_a_file_with_other_text_than_a_submission_has_is_refused(field, value, tmp_path):
    content = to_json_values(submission.submission(run()))
    content[field] = content[field] | value if isinstance(value, dict) else value
    with pytest.raises(UsageError):
        parse(submission.Submission, content, "mine.json")


def test_questions_are_the_same_though_pictures_were_compressed_otherwise():
    first = submission.submission(run())
    rows = [replace(each, image=f"other-{each.image}") for each in many(HALF)]
    assert submission.submission(run(rows=rows)).questions.sha256 == first.questions.sha256
    assert submission.submission(run(rows=many(HALF)[1:])).questions.sha256 != first.questions.sha256


# ---- many machines ---------------------------------------------------------------------------------------------------


def test_three_machines_become_a_table_a_chart_and_one_file_that_is_read_again(tmp_path):
    card = PartEnergy(Part.GPU, 30.0, 40.0)
    both = run(timed(), timed(NO_WATTS, card, device="cuda", card="NVIDIA X", questions=600))
    results = [saved(tmp_path, "a", run()), saved(tmp_path, "b", run(timed(NO_WATTS))), saved(tmp_path, "c", both)]
    bench("submit", results[1], "--to", tmp_path / "submitted.json")
    ran = bench("compare", results[0], tmp_path / "submitted.json", results[2], "--out", tmp_path / "merged.json")
    assert ran.exit_code == 0, ran.output
    assert len(re.findall(r"^\d  processor", ran.output, re.MULTILINE)) == 4  # the third on two devices
    assert "questions a minute: 1200" in ran.output and "only root may read the counter" in ran.output
    page = tmp_path / "machines.html"
    again = bench("compare", "--machines", tmp_path / "merged.json", "--out", page, "--lang", "zh")
    assert again.exit_code == 0, again.output
    assert again.output == ran.output
    assert page.read_text().count('class="mark"') == 4 and "各台机器" in page.read_text()
    bench("compare", "--machines", tmp_path / "merged.json", "--out", tmp_path / "machines.md")
    assert (tmp_path / "machines.md").read_text().count("| cpu |") == 4


def test_accuracy_of_other_questions_or_packages_is_marked(tmp_path):
    same, other = run(), run(rows=many(HALF)[:10])
    assert reports.letters([submission.submission(each) for each in (same, run(timed(NO_WATTS)))]) == ["", ""]
    kinds = [submission.submission(each) for each in (same, other, same)]
    assert reports.letters(kinds) == ["A", "B", "A"]
    packages = [replace(kinds[0].package, sha256=f"{number:08x}") for number in range(703)]
    many_kinds = reports.letters([replace(kinds[0], package=package) for package in packages])
    assert [many_kinds[place] for place in (25, 26, 51, 52, 701, 702)] == ["Z", "AA", "AZ", "BA", "ZZ", "AAA"]
    assert len(set(many_kinds)) == 703
    say = words(Language.EN)
    column = reports.HEADS.index("accuracy_of")
    assert [cells[column][:3] for cells in reports.rows_of(kinds, say)] == ["A: ", "B: ", "A: "]
    paths = [saved(tmp_path, name, made) for name, made in (("a", same), ("b", other), ("c", same))]
    ran = bench("compare", *paths, "--out", tmp_path / "machines.md")
    assert "different packages or questions" in ran.stderr
    assert "compare it within a letter only" in (tmp_path / "machines.md").read_text()
    assert "different packages" not in bench("compare", paths[0], paths[2], paths[2]).stderr


def test_a_document_shows_the_machines_of_a_file(tmp_path):
    results = tuple(submission.submission(each) for each in (run(), run(timed(NO_WATTS))))
    result_files.write(tmp_path / "machines.json", submission.Machines(results=results))
    page = tmp_path / "page.md"
    page.write_text("<!-- bench:machines machines.json -->\n<!-- /bench -->\n")
    assert update_blocks(page, check=False) and not update_blocks(page, check=True)
    text = page.read_text()
    assert "![machines](machines-machines.svg)" in text
    assert "| 2 | cpu | cpu | 2 | 240 | 50.0 | not known (processor: only root may read the counter) |" in text
    assert "same package and questions on every machine" in text
    slow = tuple(submission.submission(replace(run(), packages=(replace(package(many()), speed=()),))) for _ in range(2))
    result_files.write(tmp_path / "machines.json", submission.Machines(results=slow))
    with pytest.raises(UsageError) as error:
        update_blocks(page, check=True)
    assert error.value.code == "bench.no_speed_to_draw"


def test_two_results_are_compared_by_their_answers_as_before(tmp_path):
    before, after = saved(tmp_path, "a", run()), saved(tmp_path, "b", run(rows=many()))
    ran = bench("compare", before, after)
    assert "20 questions, 0 answers flipped" in ran.output
    assert "questions a minute" not in ran.output
    assert "questions a minute" in bench("compare", before, after, "--machines").output


def test_one_result_and_what_is_none_are_refused(tmp_path):
    (tmp_path / "list.json").write_text("[1]")
    good = saved(tmp_path, "a", run())
    for given, code in (([good], "bench.one_result"), ([good, good, tmp_path / "list.json"], "bench.not_of_a_machine")):
        assert bench("compare", *given).exception.code == code
    assert bench("compare", good, good, tmp_path / "nowhere.json").exception.code == "bench.result_file_unreadable"


def test_the_result_of_a_run_is_read_with_its_headline_and_its_throughput():
    made = measure.result_of(run().packages, "quick", None, 10.0)
    assert read_run(json.loads(measure.to_json(made)), "result.json") == made
