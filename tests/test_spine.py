"""From pictures to an answer: a training run of seconds, an export of it, and a question to the exported package."""

import json
from collections import Counter

import numpy as np
import pytest
from PIL import Image

pytestmark = [pytest.mark.train, pytest.mark.export, pytest.mark.slow]


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """A data folder like the real one, drawn by us: a bright square, the lesion, in each picture."""
    folder = tmp_path_factory.mktemp("data")
    (folder / "images").mkdir()
    rng = np.random.default_rng(0)
    with (folder / "records.jsonl").open("w", encoding="utf-8") as lines:
        for number in range(24):
            x, y = (int(v) for v in rng.integers(4, 60, 2))
            pixels = rng.integers(0, 60, (96, 100), dtype=np.uint8)
            pixels[y : y + 24, x : x + 30] = 230
            Image.fromarray(pixels).save(folder / "images" / f"{number}.png")
            area = {"dataset": "ph2", "modality": "dermoscopy"} if number % 2 else {"dataset": "chaos_mr", "modality": "mri"}
            name = ("skin lesion", "皮肤病变", "lesion") if number % 2 else ("liver", "肝脏", "organ")
            region = dict(zip(("label_en", "label_zh", "kind"), name, strict=True), boxes=[[x, y, x + 30, y + 24]])
            row = area | {
                "id": f"r{number}", "image": f"images/{number}.png", "patient": f"p{number}", "plane": None,
                "width": 100, "height": 96, "regions": [region], "qa": [], "labels": ["square"], "labels_zh": [],
                "report": None, "split": ("train", "train", "train", "val", "val", "test")[number % 6],
                "dup_of_eval": False, "terms": "open",
            }  # fmt: skip
            lines.write(json.dumps(row, ensure_ascii=False) + "\n")
    return folder


def medrega(*arguments):
    import subprocess
    import sys

    command = [sys.executable, "-m", "medrega_edge", *map(str, arguments)]
    run = subprocess.run(command, capture_output=True, timeout=1200, check=False)
    assert run.returncode == 0, run.stderr.decode()[-3000:]
    return run.stdout.decode()


@pytest.mark.parametrize("preset", ["smoke", "lite-smoke"])
def test_train_export_ask_measure(data, tmp_path, preset):
    run = tmp_path / "run"
    train = ("train", "--data", data, "--out", run, "--preset", preset, "--workers", "0")
    medrega(*train, "--minutes", "0.0001")  # a slice that ends at once
    assert not (run / "checkpoint").exists()
    assert "checkpoint" in medrega(*train)
    from transformers import InternVLForConditionalGeneration

    import medrega_train.lite_vision  # noqa: F401 registers its tower

    InternVLForConditionalGeneration.from_pretrained(run / "checkpoint")
    for split in ("train", "val"):
        medrega("bench", "questions", "--data", data, "--split", split, "--out", tmp_path / f"{split}.jsonl")
    package = tmp_path / "package"
    medrega(
        "export", run / "checkpoint", "--out", package, "--calibration", tmp_path / "train.jsonl",
        "--calibration-items", "8", "--certify", tmp_path / "val.jsonl",
    )  # fmt: skip
    medrega("model", "verify", package)
    certificate = json.loads(medrega("model", "info", package, "--json"))["certificate"]
    assert certificate["accuracy"]
    for question, language in (("locate the skin lesion", "en"), ("请定位皮肤病变", "zh")):
        answer = json.loads(medrega("ask", data / "images" / "1.png", question, "--model", package, "--json"))
        assert answer["task"] == "detect"
        assert answer["language"] == language
        assert answer["model"]["precision"].startswith("gptq-int4")
    out = tmp_path / "report"
    medrega("bench", "run", "--data", data, "--split", "test", "--out", out, "--model", package, "--no-speed")
    (measured,) = json.loads((out / "result.json").read_text("utf-8"))["packages"]
    settings = Counter(row["setting"] for row in measured["rows"])
    assert settings["single_object_single_region"] == 8  # four images, two languages
