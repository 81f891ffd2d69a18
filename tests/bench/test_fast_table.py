"""The README's goals of speed, from results: every goal has its figure, and a miss is shown as one."""

from __future__ import annotations

from medrega_bench.performance.latency import spread
from medrega_bench.reports import fast_table

HEADER = {
    "date": "2026-01-01",
    "command": "medrega bench",
    "environment": {"processor": "P", "versions": {"onnxruntime": "1"}},
}


def peer(name, decode, prefill, precision="p"):
    row = {"name": name, "version": "1", "precision": precision, "peak_mib": 10.0}
    row["rounds"] = [
        {"decode_seconds": decode + extra, "prefill_seconds": prefill} for extra in (0, 0.15 if name == "llama.cpp" else 0)
    ]
    row |= {f"{what}_tokens_per_second": spread([10.0]) for what in ("decode", "prefill")}
    row |= {"decode_ratio": spread([decode, decode + 0.1]), "prefill_ratio": spread([prefill])}
    return row | ({"share_of_limit": spread([0.7])} if name.startswith("medrega") else {})


def results():
    own = {32: peer("medrega", 1.0, 1.0, "int4-g32"), 128: peer("medrega, other groups", 1.0, 0.8, "int4-g128")}
    shapes = [
        {"shape": shape, "head_bits": bits, "peers": [*own.values(), peer("llama.cpp", 1.5, 1.1)], "missing": []}
        for shape, bits in (("tiny", 4), ("0.5b", 4), ("0.5b", 8))
    ]
    gains = {"decode_gain": spread([1.5]), "whole_gain": spread([1.4]), "fewer_passes": spread([1.64])}
    for shape in shapes:
        shape |= {"profiles": {}, "one_box": {"medrega": gains}}
    shapes[0]["profiles"] = {"medrega": {"decode": {"groups": {"products": 0.9, "rest": 0.1}}}}
    shapes[0]["missing"].append({"name": "OpenVINO", "reason": "could not be installed: no"})
    peers = HEADER | {"shapes": shapes, "plan": {"rounds": 7, "threads": 2, "prompt": 300}}
    full = {"name": "float32", "shipped": False, "seconds": spread([2.0]), "gain": spread([1.0])}
    rest = {"relative_error": 0.0, "bytes": 2**20}
    tower = HEADER | {
        "variants": [full | rest, full | rest | {"name": "int8", "shipped": True, "gain": spread([1.9])}],
        "profiles": {"int8": {"groups": {"attention": 0.25, "rest": 0.75}}},
        "processor_flags": ["avx2"],
        "threads": 2,
    }
    ratios = {"jump_forward_gain": spread([1.3]), "jump_forward_fewer_passes": spread([1.64])}
    stage = {"threads": 2, "ratios": ratios, "next_start_share": spread([0.05])}
    same = {"questions": 200, "runs": [{"threads": 1}, {"threads": 2}], "different": 0}
    speed = HEADER | {
        "stages": [stage],
        "cold": {"wall_ms": spread([700.0]), "peak_mib": spread([310.0])},
        "memory": [{"shape": "1b", "over_package": 1.2, "prediction_off": 0.02}],
        "repeatability": same,
    }
    return peers, tower, speed


def test_every_goal_has_a_line_and_a_miss_is_bold():
    lines = fast_table.table(*results()).splitlines()
    goals = {line.split("|")[1].strip(): line for line in lines[2:] if line.startswith("|")}
    assert len(goals) == 19
    missed = {what for what, line in goals.items() if "**no**" in line}
    assert missed == {
        "decode, 0.5 B shape, groups of 32, share of what the memory allows",
        "decode, 0.5 B shape, groups of 128 (default), share of what the memory allows",
        "prefill, 0.5 B shape, groups of 32, against llama.cpp Q4_0",
        "one-box question, default package, against the same loop without jump-forward: time",
        "one-box question, 0.5 B shape, against the same loop without jump-forward: time of decoding",
        "one-box question, 0.5 B shape, against the same loop without jump-forward: time with the question",
        "cold process to answer, peak MiB",
    }
    line = goals["decode, 0.5 B shape, groups of 32, against llama.cpp Q4_0"]
    assert ">= 1.30 | 1.57 (1.50 to 1.65) | yes" in line


def test_goals_without_a_measurement_have_no_line():
    peers, tower, speed = results()
    speed |= {"memory": [], "repeatability": None}
    peers["shapes"][1]["peers"].pop()  # no llama.cpp at 0.5 B
    text = fast_table.table(peers, tower, speed)
    assert "200 questions" not in text and "decode, 0.5 B" not in text


def test_of_a_shape_measured_twice_the_last_counts():
    peers, tower, speed = results()
    again = HEADER | {
        "plan": peers["plan"],
        "shapes": [{**peers["shapes"][1], "peers": [peer("medrega", 1.0, 1.0, "int4-g32")]}],
    }
    text = fast_table.table(peers, tower, speed, again)
    assert "decode, 0.5 B" not in text and "tiny shape" in text  # llama.cpp was not measured the second time


def test_a_missing_peer_is_named_with_its_reason():
    assert "| OpenVINO | not measured: could not be installed: no |" in fast_table.peers_table(results()[0])


def test_profiles_of_ours_stand_below_the_table():
    assert "- tiny, head of 4 bits, medrega, decode: products 90%, rest 10%." in fast_table.peers_table(results()[0])


def test_the_shipped_tower_is_marked_and_its_profile_shown():
    text = fast_table.tower_table(results()[1])
    assert "**int8**, shipped" in text and "attention 25%" in text


def test_the_short_table_has_what_a_user_waits_for():
    peers, _, speed = results()
    speed["stages"][0] |= {"first_answer_ms": spread([45.0, 47.0]), "with_jump_forward_ms": spread([5.4])}
    lines = fast_table.summary(peers, speed).splitlines()
    assert "| first answer of a new process, ms | 700 (700 to 700) |" in lines
    assert "| next answer about the same image, ms | 5.4 (5.4 to 5.4) |" in lines
    against = [line for line in lines if "llama.cpp" in line]
    assert len(against) == 3  # of the default groups alone: decode and prefill at 0.5 B, decode at the tiny shape
    assert all("(default)" in line for line in against)
