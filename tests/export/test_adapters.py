"""Every way in which an adapter may say what it is: merged as peft merges it, or refused by name.

peft is no dependency: what is expected is W + scale * B A in float64, with the scales, patterns and layers of peft's
documentation (LoraConfig of peft 0.21.2) written out in the table. Where peft is installed, its own merge is compared too.
"""

# ruff: noqa: TID251 - exporting needs torch; the ban is for the runtime
from __future__ import annotations

import importlib.util
import json
import math
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest

pytestmark = pytest.mark.export
for name in ("torch", "transformers"):
    pytest.importorskip(name)

from conftest import original_model

from medrega_edge.errors import UsageError
from medrega_export.checkpoint import adapter_config, checkpoint, lora
from medrega_export.checkpoint.config import native_config, read_config
from tests.codes import raises_code

TEXT = "model.language_model.layers"
Q0, V0, Q1, V1, DOWN1 = (
    f"{TEXT}.{name}"
    for name in ("0.self_attn.q_proj", "0.self_attn.v_proj", "1.self_attn.q_proj", "1.self_attn.v_proj", "1.mlp.down_proj")
)
TOWER = "model.vision_tower.encoder.layer.0.attention.q_proj"
PROJECTOR = "model.multi_modal_projector.linear_1"
HEAD, NORM, TABLE = "lm_head", "model.language_model.norm", "model.language_model.embed_tokens"
RANK, ALPHA = 4, 8


@dataclass
class Adapter:
    """`config` over a plain one; `ranks` and `scales` of the modules in the file; `whole` are modules saved whole."""

    config: dict = field(default_factory=dict)
    scales: dict[str, float] = field(default_factory=lambda: {Q0: ALPHA / RANK})
    ranks: dict[str, int] = field(default_factory=dict)
    whole: tuple[str, ...] = ()
    dtype: str = "float32"
    spelling: str = "base_model.model.{module}.lora_{part}.weight"


def free(key: str, value: object) -> Adapter:
    return Adapter({key: value})


MERGED = {
    "plain": Adapter(),
    "default rank and alpha": Adapter({"r": None, "lora_alpha": None}, {Q0: 1.0}, {Q0: 8}),
    "alpha with a fraction": Adapter({"lora_alpha": 2.5}, {Q0: 2.5 / 4}),
    "alpha of nought": Adapter({"lora_alpha": 0}, {Q0: 0.0}),
    "rank-stabilised": Adapter({"use_rslora": True}, {Q0: 8 / math.sqrt(4)}),
    "tower and projector": Adapter({"target_modules": ["q_proj", "linear_1"]}, {TOWER: 2.0, PROJECTOR: 2.0, Q1: 2.0}),
    "output head": Adapter({"target_modules": ["lm_head"]}, {HEAD: 2.0}),
    "rank by module": Adapter({"rank_pattern": {"q_proj": 2}}, {Q0: 4.0, V0: 2.0}, {Q0: 2}),
    "rank by layer": Adapter({"rank_pattern": {r"layers\.1\..*": 2}}, {Q0: 2.0, Q1: 4.0}, {Q1: 2}),
    "rank by whole name": Adapter({"rank_pattern": {f"^{Q0}": 2}}, {Q0: 4.0, Q1: 2.0}, {Q0: 2}),
    "the first pattern counts": Adapter(
        {"rank_pattern": {r"0\.self_attn\.q_proj": 2, "q_proj": 1}}, {Q0: 4.0, Q1: 8.0}, {Q0: 2, Q1: 1}
    ),
    "a pattern of the end only": Adapter({"rank_pattern": {"proj": 2, "self_attn": 2}}, {Q0: 2.0}),
    "alpha by module": Adapter({"alpha_pattern": {"v_proj": 32}}, {Q0: 2.0, V0: 8.0}),
    "rank and alpha by module": Adapter(
        {"alpha_pattern": {"v_proj": 3.5}, "rank_pattern": {"v_proj": 1}}, {Q0: 2.0, V0: 3.5}, {V0: 1}
    ),
    "both, rank-stabilised": Adapter(
        {"use_rslora": True, "alpha_pattern": {"v_proj": 32}, "rank_pattern": {"v_proj": 2}},
        {Q0: 4.0, V0: 32 / math.sqrt(2)}, {V0: 2},
    ),
    **{
        f"init {value}": Adapter({"init_lora_weights": value, "target_modules": [Q0]})
        for value in (True, False, None, "gaussian", "orthogonal", "mica")
    },
    "init eva": Adapter(
        {"init_lora_weights": "eva", "eva_config": {"rho": 2.0}, "rank_pattern": {"v_proj": 1}}, {Q0: 2.0, V0: 8.0}, {V0: 1}
    ),
    "targets by pattern": Adapter({"target_modules": r".*layers\.\d+\.self_attn\.(q|v)_proj"}, {Q0: 2.0, V1: 2.0}),
    "targets by whole name": Adapter({"target_modules": [Q0, V1]}, {Q0: 2.0, V1: 2.0}),
    "all linear layers": Adapter({"target_modules": "all-linear"}, {Q0: 2.0, DOWN1: 2.0, TOWER: 2.0}),
    "exclusion by list": Adapter({"exclude_modules": ["v_proj"]}, {Q0: 2.0}),
    "exclusion by pattern": Adapter({"exclude_modules": r".*vision_tower.*"}, {Q0: 2.0, V0: 2.0}),
    "exclusion of nothing": Adapter({"exclude_modules": []}),
    "layers by list": Adapter({"layers_to_transform": [1]}, {Q1: 2.0, V1: 2.0}),
    "one layer": Adapter({"layers_to_transform": 0}, {Q0: 2.0}),
    "no layers named": Adapter({"layers_to_transform": []}, {Q0: 2.0, Q1: 2.0}),
    "layers of a list": Adapter({"layers_to_transform": [1], "layers_pattern": "layers"}, {Q1: 2.0}),
    "layers of several lists": Adapter(
        {"layers_to_transform": [0], "layers_pattern": ["layers", "layer"]}, {Q0: 2.0, TOWER: 2.0}
    ),
    "head saved whole": Adapter({"modules_to_save": ["lm_head"]}, {Q0: 2.0}, whole=(HEAD,)),
    "norm saved whole": Adapter({"modules_to_save": ["language_model.norm"]}, {Q0: 2.0}, whole=(NORM,)),
    "embeddings saved whole": Adapter({"modules_to_save": ["embed_tokens"]}, {Q0: 2.0}, whole=(TABLE,)),
    "saved modules that the base lacks": Adapter({"modules_to_save": ["classifier", "score"]}),
    "nothing saved": Adapter({"modules_to_save": []}),
    "float16": Adapter(dtype="float16"),
    "bfloat16": Adapter(dtype="bfloat16"),
    "fan_in_fan_out": free("fan_in_fan_out", True),  # off for linear layers, whatever it says
    "auto_mapping": free("auto_mapping", {"base_model_class": "A", "parent_library": "B"}),
    "base_model_name_or_path": free("base_model_name_or_path", "somebody/base"),
    "corda_config": free("corda_config", {"corda_method": "kpm"}),
    "eva_config": free("eva_config", {"rho": 2.0}),
    "inference_mode": free("inference_mode", True),
    "loftq_config": free("loftq_config", {"loftq_bits": 4}),
    "lora_dropout": free("lora_dropout", 0.5),
    "lora_ga_config": free("lora_ga_config", {"direction": "ArB2r"}),
    "megatron_core": free("megatron_core", "megatron.core"),
    "peft_version": free("peft_version", "0.21.2"),
    "qalora_group_size": free("qalora_group_size", 32),
    "revision": free("revision", "main"),
    "runtime_config": free("runtime_config", {"ephemeral_gpu_offload": False}),
    "task_type": free("task_type", "CAUSAL_LM"),
    "a later key that is off": Adapter({"use_next": False, "next_config": None}),
}  # fmt: skip
OURS_ALONE = {  # spellings that other tools write and peft's loader passes over
    "no wrapper": Adapter(spelling="{module}.lora_{part}.weight"),
    "the adapter's own name": Adapter(spelling="base_model.model.{module}.lora_{part}.default.weight"),
}


@pytest.fixture(scope="module")
def base(checkpoint_folder: Path) -> dict:
    """The weights of the base by plain name, in float64."""
    return {name: stored.read().double().numpy() for name, stored in weights_of(checkpoint_folder).items()}


def weights_of(folder: Path, adapter: Path | None = None) -> dict:
    config = read_config(folder)
    tied = native_config(config, None).tie_word_embeddings
    return checkpoint.find_weights(folder, config, tied, adapter)


def write(adapter: Adapter, folder: Path, base: dict) -> dict[str, np.ndarray]:
    """Write an adapter; returns by plain name the weights that it changes, as they are when merged."""
    import torch
    from safetensors.torch import save_file

    folder.mkdir()
    generator = torch.Generator().manual_seed(3)
    tensors, changed = {}, {}
    for module, scale in adapter.scales.items():
        name = lora.plain_name(f"{module}.weight")
        (out, width), rank = base[name].shape, adapter.ranks.get(module, RANK)
        a, b = (0.3 * torch.randn(shape, generator=generator) for shape in ((rank, width), (out, rank)))
        a, b = (half.to(getattr(torch, adapter.dtype)) for half in (a, b))
        for part, half in (("A", a), ("B", b)):
            tensors[adapter.spelling.format(module=module, part=part)] = half
        changed[name] = base[name] + scale * (b.double() @ a.double()).numpy()
    for module in adapter.whole:
        name = lora.plain_name(f"{module}.weight")
        value = torch.randn(base[name].shape, generator=generator)
        tensors[f"base_model.model.{module}.weight"], changed[name] = value, value.double().numpy()
    save_file(tensors, folder / "adapter_model.safetensors", metadata={"format": "pt"})
    plain = {"peft_type": "LORA", "r": RANK, "lora_alpha": ALPHA, "target_modules": ["q_proj", "v_proj"]}
    config = plain | adapter.config
    if config["r"] is None:
        del config["r"], config["lora_alpha"]
    (folder / "adapter_config.json").write_text(json.dumps(config), encoding="utf-8")
    return changed


@pytest.mark.parametrize("case", [*MERGED, *OURS_ALONE])
def test_adapters_are_merged(case: str, checkpoint_folder: Path, base: dict, tmp_path: Path) -> None:
    changed = write((MERGED | OURS_ALONE)[case], tmp_path / "adapter", base)
    merged = {name: stored.read().numpy() for name, stored in weights_of(checkpoint_folder, tmp_path / "adapter").items()}
    assert merged.keys() == base.keys()
    for name, expected in (base | changed).items():
        assert np.abs(merged[name] - expected).max() < 1e-5, name


@pytest.mark.skipif(importlib.util.find_spec("peft") is None, reason="peft is not installed: own arithmetic alone")
@pytest.mark.parametrize("case", MERGED)
@pytest.mark.filterwarnings("default")
def test_peft_merges_the_same(case: str, checkpoint_folder: Path, base: dict, tmp_path: Path) -> None:
    from peft import PeftModel

    changed = write(MERGED[case], tmp_path / "adapter", base)
    model = PeftModel.from_pretrained(original_model(checkpoint_folder), tmp_path / "adapter").merge_and_unload()
    merged = {lora.plain_name(name): value.detach().numpy() for name, value in model.state_dict().items()}
    for name, expected in (base | changed).items():
        assert np.abs(merged[name] - expected).max() < 1e-5, name


FEATURE, VALUE = "export.adapter_feature", "export.adapter_value"
REFUSED_CONFIGS = [
    *(
        ({"init_lora_weights": value}, FEATURE, "export.adapter_changes_base")
        for value in ("pissa", "pissa_niter_16", "olora", "OLoRA", "corda", "loftq", "lora_ga", "next", 3)
    ),
    ({"bias": "all"}, FEATURE, "export.adapter_trains_biases"),
    ({"bias": "lora_only"}, FEATURE, "export.adapter_trains_biases"),
    ({"use_dora": True}, FEATURE, "export.adapter_is_no_product"),
    ({"use_qalora": True}, FEATURE, "export.adapter_is_no_product"),
    ({"use_bdlora": {"nblocks": 2}}, FEATURE, "export.adapter_is_no_product"),
    ({"velora_config": {"num_groups": 64}}, FEATURE, "export.adapter_is_no_product"),
    ({"monteclora_config": {}}, FEATURE, "export.adapter_is_no_product"),
    ({"kasa_config": {"beta": 1e-4}}, FEATURE, "export.adapter_changes_base"),
    ({"lora_bias": True}, FEATURE, "export.adapter_trains_biases"),
    ({"trainable_token_indices": [3, 4]}, FEATURE, "export.adapter_trains_rows"),
    ({"trainable_token_indices": {"embed_tokens": [3]}}, FEATURE, "export.adapter_trains_rows"),
    ({"layer_replication": [[0, 2], [0, 1]]}, FEATURE, "export.adapter_adds_layers"),
    ({"target_parameters": ["mlp.experts.down_proj"]}, FEATURE, "export.adapter_targets_parameters"),
    ({"megatron_config": {"tensor_model_parallel_size": 2}}, FEATURE, "export.adapter_of_megatron"),
    ({"ensure_weight_tying": True}, FEATURE, "export.adapter_ties"),
    ({"alora_invocation_tokens": [1, 2]}, "export.adapter_unmergeable", "export.adapter_depends_on_prompt"),
    ({"alora_invocation_tokens": []}, "export.adapter_unmergeable", "export.adapter_depends_on_prompt"),
    ({"arrow_config": {"top_k": 3}}, "export.adapter_unmergeable", "export.adapter_depends_on_prompt"),
    ({"use_next": True}, FEATURE, "export.adapter_key_unknown"),
    ({"next_config": {}}, FEATURE, "export.adapter_key_unknown"),
    ({"next_count": 0}, FEATURE, "export.adapter_key_unknown"),
    ({"r": 0}, VALUE, None),
    ({"r": -4}, VALUE, None),
    ({"r": 4.0}, VALUE, None),
    ({"r": "4"}, VALUE, None),
    ({"r": True}, VALUE, None),
    ({"lora_alpha": "8"}, VALUE, None),
    ({"lora_alpha": [8]}, VALUE, None),
    ({"use_rslora": "yes"}, VALUE, None),
    ({"rank_pattern": {"q_proj": 0}}, VALUE, None),
    ({"rank_pattern": {"q_proj": "4"}}, VALUE, None),
    ({"rank_pattern": {"(q_proj": 4}}, VALUE, None),
    ({"rank_pattern": ["q_proj"]}, VALUE, None),
    ({"alpha_pattern": {"q_proj": None}}, VALUE, None),
    ({"alpha_pattern": {"(q_proj": 4}}, VALUE, None),
    ({"target_modules": None}, VALUE, None),
    ({"target_modules": 3}, VALUE, None),
    ({"target_modules": "(q_proj"}, VALUE, None),
    ({"target_modules": ["q_proj", 3]}, VALUE, None),
    ({"exclude_modules": "(v_proj"}, VALUE, None),
    ({"exclude_modules": [3]}, VALUE, None),
    ({"modules_to_save": "lm_head"}, VALUE, None),
    ({"modules_to_save": ["(lm_head"]}, VALUE, None),
    ({"layers_to_transform": "1"}, VALUE, None),
    ({"layers_to_transform": [0.5]}, VALUE, None),
    ({"layers_pattern": "(layers"}, VALUE, None),
    *(
        ({"peft_type": kind}, "export.adapter_type", None)
        for kind in ("ADALORA", "IA3", "LOHA", "LOKR", "OFT", "BOFT", "VERA", "FOURIERFT", "HRA", "LN_TUNING", "VBLORA",
                     "XLORA", "PROMPT_TUNING", "PREFIX_TUNING", "P_TUNING", "TRAINABLE_TOKENS", "lora", None)
    ),
]  # fmt: skip


@pytest.mark.parametrize(("config", "code", "reason"), REFUSED_CONFIGS, ids=str)
def test_configs_that_are_refused(config: dict, code: str, reason: str | None, tmp_path: Path) -> None:
    plain = {"peft_type": "LORA", "r": RANK, "lora_alpha": ALPHA, "target_modules": ["q_proj"]}
    (tmp_path / "adapter_config.json").write_text(json.dumps(plain | config), encoding="utf-8")
    with raises_code(UsageError, code, adapter=tmp_path.name) as refused:
        adapter_config.read(tmp_path)
    params = refused.value.message.params
    if code != "export.adapter_type":
        assert params["key"] == next(iter(config))
    if reason is not None:
        assert params["reason"].code == reason


@pytest.mark.parametrize(
    "text",
    ["", "{", "[]", "null", '{"peft_type": "LORA", "r": 4, "r": 8}', '{"peft_type": "LORA", "lora_alpha": NaN}'],
)
def test_a_config_that_cannot_be_read(text: str, tmp_path: Path) -> None:
    (tmp_path / "adapter_config.json").write_text(text, encoding="utf-8")
    with raises_code(UsageError, "export.adapter_unreadable", adapter=tmp_path.name):
        adapter_config.read(tmp_path)


def test_an_adapter_without_a_config(tmp_path: Path) -> None:
    with raises_code(UsageError, "export.adapter_unreadable", adapter=tmp_path.name):
        adapter_config.read(tmp_path)


UNTARGETED, KIND = "export.adapter_untargeted", "export.adapter_tensor_kind"
REFUSED_TENSORS = {
    "another rank than the config's": (Adapter(ranks={Q0: 2}), {}, "export.adapter_rank"),
    "another rank than the pattern's": (Adapter({"rank_pattern": {"q_proj": 2}}), {}, "export.adapter_rank"),
    "no target": (Adapter({"target_modules": ["v_proj"]}), {}, UNTARGETED),
    "no target by pattern": (Adapter({"target_modules": r"layers\..*q_proj"}), {}, UNTARGETED),
    "the head among all linear layers": (Adapter({"target_modules": "all-linear"}, {HEAD: 2.0}), {}, UNTARGETED),
    "excluded": (Adapter({"exclude_modules": ["q_proj"]}), {}, UNTARGETED),
    "excluded by pattern": (Adapter({"exclude_modules": r".*\.0\..*"}), {}, UNTARGETED),
    "another layer": (Adapter({"layers_to_transform": [1]}), {}, UNTARGETED),
    "another list of layers": (Adapter({"layers_to_transform": [0], "layers_pattern": "blocks"}), {}, UNTARGETED),
    "saved whole and adapted": (Adapter({"modules_to_save": ["self_attn"]}), {f"{Q0}.weight": (64, 64)}, UNTARGETED),
    "saved whole and missing": (Adapter({"modules_to_save": ["lm_head"]}), {}, "export.adapter_module_missing"),
    "one half": (Adapter(), {f"{V0}.lora_A.weight": (4, 64)}, "export.adapter_half_missing"),
    "another shape": (Adapter(), {f"{V0}.lora_A.weight": (4, 32), f"{V0}.lora_B.weight": (32, 4)}, "export.adapter_shape"),
    "halves of two ranks": (
        Adapter(), {f"{V0}.lora_A.weight": (4, 64), f"{V0}.lora_B.weight": (32, 2)}, "export.adapter_shape"
    ),
    "a whole layer of another shape": (Adapter(), {f"{HEAD}.weight": (8, 64)}, "export.adapter_shape"),
    "no such layer": (Adapter(), {f"{TEXT}.9.self_attn.q_proj.lora_A.weight": (4, 64)}, "export.adapter_tensor_unknown"),
    "no such weight": (Adapter(), {f"{TEXT}.0.weight": (4, 64)}, "export.adapter_tensor_unknown"),
    "two names of one half": (
        Adapter(), {"language_model.model.layers.0.self_attn.q_proj.lora_A.weight": (4, 64)}, "export.weight_named_twice"
    ),
    "two names of one whole layer": (
        Adapter(), {f"{name}lm_head.weight": (512, 64) for name in ("", "language_model.")}, "export.weight_named_twice"
    ),
    "the magnitudes of DoRA": (Adapter(), {f"{Q0}.lora_magnitude_vector": (64,)}, KIND),
    "a bias of LoRA": (Adapter(), {f"{Q0}.lora_B.bias": (64,)}, KIND),
    "an adapted embedding": (Adapter(), {f"{TABLE}.lora_embedding_A": (4, 512), f"{TABLE}.lora_embedding_B": (64, 4)}, KIND),
    "rows of an embedding": (Adapter(), {f"{TABLE}.token_adapter.trainable_tokens_delta": (2, 64)}, KIND),
    "the values of KaSA": (Adapter(), {f"{Q0}.lora_diag": (4,)}, KIND),
    "halves of a convolution": (Adapter({"target_modules": ["q_proj", "projection"]}), {
        "model.vision_tower.embeddings.patch_embeddings.projection.lora_A.weight": (4, 3, 16, 16),
        "model.vision_tower.embeddings.patch_embeddings.projection.lora_B.weight": (64, 4, 1, 1),
    }, KIND),
    "halves without sides": (Adapter(), {f"{V0}.lora_A.weight": (), f"{V0}.lora_B.weight": ()}, KIND),
}  # fmt: skip


@pytest.mark.parametrize("case", REFUSED_TENSORS)
def test_tensors_that_are_refused(case: str, checkpoint_folder: Path, base: dict, tmp_path: Path) -> None:
    import torch
    from safetensors.torch import load_file, save_file

    adapter, more, code = REFUSED_TENSORS[case]
    write(adapter, tmp_path / "adapter", base)
    file = tmp_path / "adapter" / "adapter_model.safetensors"
    added = {f"base_model.model.{name}": torch.ones(shape) for name, shape in more.items()}
    save_file(load_file(file) | added, file, metadata={"format": "pt"})
    with raises_code(UsageError, code) as refused:
        weights_of(checkpoint_folder, tmp_path / "adapter")
    if code != "export.weight_named_twice":  # which names both
        assert "adapter" in refused.value.message.params.values()  # the folder's name


FIELD_CASE = Path(__file__).resolve().parents[3] / "shared" / "field_cases" / "07-pissa-adapter"


@pytest.mark.data
def test_the_adapter_of_the_field(tmp_path: Path) -> None:
    """huggingface/transformers#34468, huggingface/peft#1929: made by peft, a correction of other weights than the base's."""
    if not FIELD_CASE.is_dir():
        pytest.skip("../shared/field_cases is not here: the adapter of case 07 is not tried")
    with raises_code(UsageError, FEATURE, key="init_lora_weights", value='"pissa"'):
        adapter_config.read(FIELD_CASE)


@pytest.mark.parametrize("module", [HEAD, TABLE])
@pytest.mark.parametrize("kind", ["adapted", "saved whole"])
def test_one_matrix_for_head_and_embeddings(make_checkpoint, module: str, kind: str, tmp_path: Path) -> None:
    """peft's merge would change both, and the adapter was trained on one."""
    folder = make_checkpoint(tmp_path / "tied", "qwen2", True)
    base = {name: stored.read().numpy() for name, stored in weights_of(folder).items()}
    saved = {"modules_to_save": [module.rpartition(".")[2]]}
    adapter = Adapter({"target_modules": [module]}, {module: 2.0}) if kind == "adapted" else Adapter(saved, whole=(module,))
    write(adapter, tmp_path / "adapter", base)
    with raises_code(UsageError, "export.adapter_tied", adapter="adapter"):
        weights_of(folder, tmp_path / "adapter")


def test_the_document_counts_the_cells() -> None:
    text = (Path(__file__).parents[2] / "docs" / "conformance.md").read_text(encoding="utf-8")
    assert f"(`test_adapters.py`) | {len(MERGED | OURS_ALONE)} | {len(REFUSED_CONFIGS)} |" in text
    assert f"(`test_adapters.py`) | | {len(REFUSED_TENSORS) + 4} |" in text  # and the four of a tied matrix
