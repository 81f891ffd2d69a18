import json
import time

import numpy as np
import pytest

pytestmark = pytest.mark.train


def test_sample_numbers_do_not_depend_on_where_a_run_resumes():
    from medrega_train.loop import SampleNumbers

    whole = list(SampleNumbers(0, 6, 4, rank=0, world=1))
    assert list(SampleNumbers(3, 6, 4, rank=0, world=1)) == whole[3:]
    shared = [list(SampleNumbers(0, 6, 2, rank=rank, world=2)) for rank in (0, 1)]
    assert [a + b for a, b in zip(*shared, strict=True)] == whole


def test_coordinate_targets_spell_the_distribution_of_the_coordinate():
    from medrega_train.language import STOP, coordinate_targets

    spread = 8.0
    table = coordinate_targets(spread)
    for v in (0, 7, 98, 299, 999):
        weights = np.exp(-np.abs(np.arange(1000) - v) / spread)
        weights /= weights.sum()
        first = np.array([sum(weights[u] for u in range(1000) if str(u)[0] == str(d)) for d in range(10)])
        np.testing.assert_allclose(table[v, 0, :10], first, atol=1e-5)
        np.testing.assert_allclose(table[v, : len(str(v)) + 1].sum(axis=1), 1.0, atol=1e-5)
    assert table[299, 3, STOP] == pytest.approx(1.0)


def test_questions_of_one_image_do_not_see_each_other():
    """The loss of a question is the same alone and beside others: packing is an arrangement, not another model."""
    import torch

    from medrega_edge.domain import Language, Task
    from medrega_edge.prompts.templates import DEFAULT_PROMPTS
    from medrega_train.language import attention_mask
    from medrega_train.language_samples import Encoder
    from medrega_train.model import build_model
    from medrega_train.presets import PRESETS
    from medrega_train.questions import QuestionAnswer, all_texts
    from medrega_train.tokens import END, PAD, train_tokenizer

    from .test_questions import RECORDS

    preset = PRESETS["smoke"]
    tokenizer = train_tokenizer(all_texts(RECORDS), preset.vocabulary)
    encoder = Encoder(tokenizer, DEFAULT_PROMPTS, 4)
    ids = {"image": encoder.image_id, "end": tokenizer.token_to_id(END), "pad": tokenizer.token_to_id(PAD)}
    model = build_model(preset, ids, tokenizer.get_vocab_size()).eval()
    asked = [
        encoder.question(
            QuestionAnswer(Task.DETECT, Language.EN, f"locate the {x}", f"<ref>{x}</ref><box>[[1, 2, 30, 444]]</box>")
        )
        for x in ("left kidney", "skin lesion")
    ]
    n = len(encoder.prefix)

    def states(questions):
        row = list(encoder.prefix)
        position, segment = list(range(n)), [0] * n
        for number, q in enumerate(questions, 1):
            row += q.ids
            position += range(n, n + len(q.ids))
            segment += [number] * len(q.ids)
        segments = torch.tensor([segment])
        with torch.no_grad():
            return model.model.language_model(
                input_ids=torch.tensor([row]),
                attention_mask=attention_mask(segments, torch.float32),
                position_ids=torch.tensor([position]),
            ).last_hidden_state[0]

    alone, packed = states(asked[1:]), states(asked)
    torch.testing.assert_close(packed[n + len(asked[0].ids) :], alone[n:], atol=1e-5, rtol=1e-4)
    assert 444 in asked[0].value  # the coordinates were found in the answer


def test_a_run_that_was_cut_goes_on_where_it_was(tmp_path):
    import torch
    from accelerate import Accelerator
    from torch import nn

    from medrega_train.loop import Stage, run_stage
    from medrega_train.presets import StagePlan

    class Numbers(torch.utils.data.Dataset):
        def __getitem__(self, number):
            time.sleep(0.01)
            return np.random.default_rng(number).normal(size=3).astype(np.float32)

    class Batch:
        def __init__(self, rows):
            self.x = torch.from_numpy(np.stack(rows))

        def to(self, device):
            return self

    class Line(nn.Module):
        def __init__(self):
            super().__init__()
            torch.manual_seed(0)
            self.line = nn.Linear(3, 1)

        def forward(self, batch):
            return {"square": ((self.line(batch.x) - 1) ** 2).mean()}

    def run(folder, *deadlines):
        for deadline in deadlines:
            stage = Stage("line", Line(), Numbers(), Batch, StagePlan(12, 4, 0.05, warmup=2), dict, 100)
            done = run_stage(stage, folder, Accelerator(cpu=True), time.monotonic() + deadline, workers=0)
        assert done
        return torch.load(folder / "final.pt", weights_only=True)

    whole = run(tmp_path / "whole", 60)
    cut = run(tmp_path / "cut", 0.0, 0.0, 0.0, 60)
    for name, tensor in whole.items():
        torch.testing.assert_close(cut[name], tensor, rtol=0, atol=0)
    steps = [json.loads(line)["step"] for line in (tmp_path / "cut" / "log.jsonl").read_text().splitlines()]
    assert steps == list(range(1, 13))
