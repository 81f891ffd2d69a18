"""Results as `medrega bench run` writes them, made of hand-made rows: no engine."""

from dataclasses import fields, replace

from medrega_bench.evaluation import measure, tables
from medrega_bench.evaluation.results import AnswerRow, PackageResult
from medrega_bench.performance.environment import Environment, ModelIdentity
from medrega_bench.performance.latency import StageTimes
from medrega_bench.performance.spread import Spread
from medrega_bench.result_files import parse

BOX = "<ref>liver</ref><box>[[0, 0, 500, 500]]</box>"
HALF = "<ref>liver</ref><box>[[0, 0, 500, 250]]</box>"


def row(number, setting="single_object_single_region", answer=BOX, truth=BOX, **more):
    boxes = [[0.0, 0.0, 50.0, 50.0 if answer == BOX else 25.0]] if answer in (BOX, HALF) else []
    values = {
        "id": f"q{number}-{setting}",
        "image": f"image{number}",
        "dataset": "set",
        "kind": "structure",
        "modality": "mri",
        "object": "liver",
        "language": "en",
        "setting": setting,
        "question": "locate the liver",
        "truth": truth,
        "absent": setting == "absent",
        "classes": [],
        "answer": answer,
        "confidence": None,
        "confidences": [0.8] * len(boxes),
        "boxes": boxes,
        "true_boxes": [[0.0, 0.0, 50.0, 50.0]] if truth == BOX else [],
        "recognised": "mri",
    }
    return parse(AnswerRow, values | more, "row")


def many(answer=BOX, count=20):
    return [row(number, answer=answer) for number in range(count)]


def spread(middle, by=0.1):
    return Spread(middle, middle * (1 + by), middle * (1 - by), middle * (1 + by), 5)


def speed(gain=2.0, swing=0.0, rate=5.0):
    stages = {name: spread(20.0) for name in (each.name for each in fields(StageTimes)) if name.endswith("_ms")}
    passes = ("passes_of_first_question", "passes_of_next_question", "decode_tokens_per_second")
    return StageTimes(
        threads=2,
        device="cpu",
        questions_per_second=spread(rate),
        ratios={"jump_forward_gain": spread(gain, swing)},
        peak_mib=100.0,
        seconds=1.0,
        **stages,
        **{name: spread(1.0) for name in passes},
    )


def package(rows, role="package", precision="int4", name="model", **of_speed):
    return PackageResult(
        role=role,
        model=ModelIdentity(name, "1", precision, "0" * 64),
        mib=8.0,
        tables=tables.tables(rows),
        overall=measure.overall(rows),
        left_out=0,
        speed=(speed(**of_speed),),
        loss=None,
        rows=tuple(rows),
    )


def result(*packages, name="quick"):
    made = measure.result_of(packages, name, None, 10.0)
    environment = Environment("cpu", 2, 4.0, "Linux", "3.11", {"onnxruntime": "1"})
    return replace(made, command="medrega bench run", environment=environment)


def of(result, **changes):
    """The same result about a package that is called otherwise."""
    (one, *others) = result.packages
    return replace(result, packages=(replace(one, model=replace(one.model, **changes)), *others))


def without_none(value):
    """A result without what it lacks: older results lack what newer ones measure."""
    if isinstance(value, dict):
        return {key: without_none(one) for key, one in value.items() if one is not None}
    return [without_none(one) for one in value] if isinstance(value, list) else value
