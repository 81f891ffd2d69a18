"""`field` and `honesty`: figures that other publications have, and what a package says where it should say nothing."""

from __future__ import annotations

from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from medrega_bench.cli.console import with_progress
from medrega_bench.cli.options import (
    AnswersOption,
    DataOption,
    ModelOption,
    ResultOption,
    ThreadsOption,
    check_answers_folder,
)
from medrega_edge.cli.console import print_result, print_status
from medrega_edge.errors import UsageError
from medrega_edge.i18n.message import Message

if TYPE_CHECKING:
    from collections.abc import Sequence

    from medrega_bench.evaluation.asker import Asker
    from medrega_bench.result_files import DataIdentity
    from medrega_edge.evaluation.records import Record

NO_IMAGE_QUESTIONS = 100  # asked at every door


def field(
    data: DataOption,
    out: ResultOption,
    vqa_rad_split: Annotated[
        Path | None, typer.Option(help="JSON file with another split of VQA-RAD by image; its test part is reported, too.")
    ] = None,
    model: ModelOption = None,
    threads: ThreadsOption = None,
    answers: AnswersOption = None,
) -> None:
    """Measure what other publications report.

    Boxes and questions of SLAKE, VQA-RAD by another split, left and right confused, and the share that can be answered at
    20 and 10 % error. Thresholds are chosen on val. All else is of test.

    medrega bench field --data DATA --answers ANSWERS --out field.json
    """
    from medrega_bench import result_files
    from medrega_bench.datasets.evaluation_set import items_of
    from medrega_bench.evaluation import field_rows
    from medrega_bench.evaluation.field_result import FieldResult
    from medrega_bench.performance.environment import ModelIdentity, command, environment
    from medrega_edge.evaluation.records import read_records

    asker = _asker(out, model, threads, answers)
    split = field_rows.read_split(vqa_rad_split) if vqa_rad_split else None
    asked = {}
    for name in ("val", "test"):
        records = list(read_records(data, name))
        print_status(Message("bench.asking_split", split=name, images=len(records)))
        asked[name] = field_rows.answers(asker, records, list(items_of(records)))
    val, test = (field_rows.cases(each) for each in asked.values())
    regions, free = asked["test"].regions, asked["test"].free
    slake = [region for region in regions if region.record.dataset == "slake"]
    if not slake:
        raise UsageError("bench.no_question_of_kind", data=data.name)
    unseen = field_rows.free_of(free, "vqa_en", "vqa_rad", split.images["test"]) if split else []
    result = FieldResult(
        date=date.today().isoformat(),
        command=command(),
        environment=environment(),
        model=ModelIdentity.of(asker.engine.package),
        data=_identity(data, "test", records),
        slake_boxes=field_rows.box_figures(slake),
        slake_all_boxes=field_rows.all_box_figures(slake),
        slake={
            setting: field_rows.free_figures(field_rows.free_of(free, setting, "slake")) for setting in ("vqa_en", "vqa_zh")
        },
        vqa_rad_images=field_rows.image_split(split, list(read_records(data))) if split else None,
        vqa_rad_unseen=field_rows.free_figures(unseen) if unseen else None,
        sides=tuple(field_rows.side_figures(regions)),
        selective=tuple(field_rows.selective(*of, val[of], test[of]) for of in test if val.get(of) and test[of]),
    )
    result_files.write(out, result)
    print_result(Message("bench.field_measured", file=out.name, images=result.data.images))


def honesty(
    data: DataOption,
    out: ResultOption,
    most: Annotated[
        int | None, typer.Option(min=2, help="Use at most this many questions of each kind, spread evenly; default: all.")
    ] = None,
    model: ModelOption = None,
    threads: ThreadsOption = None,
    answers: AnswersOption = None,
) -> None:
    """Measure what is said without an image, with wrong options, in other words.

    The test split is asked. Free questions are asked about a blank picture and another patient's, and at every way into the
    program without an image. Options are offered without the right one. Questions are asked in five wordings and two
    languages. Boxes are named, and the names are located again.

    medrega bench honesty --data DATA --most 300 --answers ANSWERS --out honesty.json
    """
    from medrega_bench import result_files
    from medrega_bench.datasets.evaluation_set import items_of
    from medrega_bench.evaluation import blind_answers, box_cycle, hidden_option, no_image, rewordings
    from medrega_bench.evaluation.honesty import HonestyResult
    from medrega_bench.evaluation.intervals import patients_of
    from medrega_bench.evaluation.question_only_baseline import QuestionOnlyBaseline
    from medrega_bench.performance.environment import ModelIdentity, command, environment
    from medrega_edge.domain import Task
    from medrega_edge.evaluation.questions import spread
    from medrega_edge.evaluation.records import read_records

    asker = _asker(out, model, threads, answers)
    records = list(read_records(data, "test"))
    items = [item for item in items_of(records) if item.question.task is Task.VQA]
    baseline = QuestionOnlyBaseline(read_records(data, "train"))
    print_status(Message("bench.honesty_part", part=Message("bench.honesty_free")))
    free = list(with_progress(blind_answers.free_answers(asker, items, patients_of(records), baseline), len(items)))
    print_status(Message("bench.honesty_part", part=Message("bench.honesty_no_image")))
    questions = [item.question.question for item in spread(items, NO_IMAGE_QUESTIONS)]
    with no_image.chat(model) as chat:
        doors = {
            "ask": no_image.command_line(),
            "library": no_image.library(asker.engine),
            "batch": no_image.batch(asker.engine),
            "chat": chat,
        }
        refused = tuple(no_image.door_figures(doors, questions))
    print_status(Message("bench.honesty_part", part=Message("bench.honesty_hidden")))
    hidden = list(hidden_option.hidden_rows(asker, records, most))
    print_status(Message("bench.honesty_part", part=Message("bench.honesty_rewordings")))
    reworded = list(rewordings.reworded(records, most))
    consistent = list(with_progress(rewordings.consistency_rows(asker, reworded), len(reworded)))
    print_status(Message("bench.honesty_part", part=Message("bench.honesty_cycle")))
    result = HonestyResult(
        date=date.today().isoformat(),
        command=command(),
        environment=environment(),
        model=ModelIdentity.of(asker.engine.package),
        data=_identity(data, "test", records),
        most=most,
        mirage=tuple(blind_answers.mirage_scores(free)),
        clean=tuple(blind_answers.clean_figures(free)),
        stated=tuple(blind_answers.stated_figures(free)),
        no_image=refused,
        hidden=tuple(hidden_option.hidden_figures(hidden)),
        consistency=tuple(rewordings.consistency_figures(consistent)),
        cycle=box_cycle.cycle_figures(list(box_cycle.cycle_rows(asker, records, most))),
    )
    result_files.write(out, result)
    least = min(door.refused.value for door in result.no_image)
    print_result(Message("bench.honesty_measured", file=out.name, refused=100 * least))


def _asker(out: Path, model: str | None, threads: int | None, answers: Path | None) -> Asker:
    from medrega_bench.evaluation.asker import Asker
    from medrega_edge.engine import load
    from medrega_edge.io.atomic import check_output_path

    check_output_path(out)
    check_answers_folder(answers)
    return Asker(load(model, threads=threads), answers)


def _identity(data: Path, split: str, records: Sequence[Record]) -> DataIdentity:
    import hashlib

    from medrega_bench.result_files import DataIdentity

    told = "\n".join(f"{record.id} {record.regions} {record.labels} {record.qa}" for record in records)
    questions = sum(len(record.qa) for record in records)
    return DataIdentity(data.name, split, questions, len(records), hashlib.sha256(told.encode()).hexdigest()[:16])
