"""Results as `medrega bench run` writes them, made of hand-made rows: no engine."""

from medrega_bench.evaluation import measure, tables

BOX = "<ref>liver</ref><box>[[0, 0, 500, 500]]</box>"
HALF = "<ref>liver</ref><box>[[0, 0, 500, 250]]</box>"


def row(number, setting="single_object_single_region", answer=BOX, truth=BOX, **more):
    boxes = [[0.0, 0.0, 50.0, 50.0 if answer == BOX else 25.0]] if answer in (BOX, HALF) else []
    return {
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
    } | more


def many(answer=BOX, count=20):
    return [row(number, answer=answer) for number in range(count)]


def speed(gain=2.0, swing=0.0, rate=5.0):
    around = lambda x, by: {"median": x, "p90": x * (1 + by), "min": x * (1 - by), "max": x * (1 + by), "n": 5}  # noqa: E731
    return {
        "threads": 2,
        "device": "cpu",
        "questions_per_second": around(rate, 0.1),
        "vision_ms": around(20.0, 0.1),
        "ratios": {"jump_forward_gain": around(gain, swing)},
        "peak_mib": 100.0,
    }


def package(rows, role="package", precision="int4", **of_speed):
    return {
        "role": role,
        "model": {"name": "model", "version": "1", "precision": precision, "sha256": "0" * 64},
        "mib": 8.0,
        "tables": tables.tables(rows),
        "overall": measure.overall(rows),
        "left_out": 0,
        "speed": [speed(**of_speed)],
        "loss": None,
        "rows": rows,
    }


def result(*packages, name="quick"):
    environment = {
        "processor": "cpu", "threads": 2, "memory_gib": 4.0, "system": "Linux", "python": "3.11",
        "versions": {"onnxruntime": "1"},
    }  # fmt: skip
    header = {"command": "medrega bench run", "environment": environment}
    return measure.result_of(header, packages, name, None, 10.0)
