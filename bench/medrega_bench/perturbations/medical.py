"""What scanners, probes, lamps and patients do to pictures: models of their artefacts in the picture, not of their physics.

Each function takes a picture, a strength, and a seeded generator, from which it draws the same whatever the strength.
"""

from __future__ import annotations

import math

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

from medrega_bench.perturbations.picture import Perturbed, Pixels

_AIR = 0.03  # values below are outside of the body, or of the field that a device sees
_HAIRS = 200  # at a strength of 1
_HAIR = np.array([0.13, 0.09, 0.07], np.float32)


def bias_field(pixels: Pixels, strength: float, rng: np.random.Generator) -> Perturbed:
    """Multiply by e^(strength * field): a smooth field of -1..1, as coils of MRI make it.

    The brightest hundredth of the picture stays as bright as it was, because a window follows it.
    """
    x, y = _coordinates(pixels)
    a, b, c, d, e = rng.uniform(-1, 1, 5)
    field = a * x + b * y + c * x * y + d * x**2 + e * y**2
    field -= (field.max() + field.min()) / 2
    changed = pixels * _plane(np.exp(strength * field / np.abs(field).max()))
    brightest, now = np.quantile(pixels, 0.99), np.quantile(changed, 0.99)
    return Perturbed(changed * np.float32(brightest / now) if now > 0 else changed)


def ghosting(pixels: Pixels, strength: float, rng: np.random.Generator) -> Perturbed:
    """Add two copies of `strength` that are moved along one axis: lines of k-space whose strength goes up and down."""
    axis, period = int(rng.integers(2)), rng.uniform(2.5, 5)
    by = round(pixels.shape[axis] / period)
    return Perturbed(pixels + strength * (np.roll(pixels, by, axis) + np.roll(pixels, -by, axis)))


def motion(pixels: Pixels, strength: float, rng: np.random.Generator) -> Perturbed:
    """Let a patient move while k-space is read: each of 8 groups of lines sees the picture at another place.

    `strength` is the standard deviation of the places, as a share of the sides. The middle group does not move.
    """
    height, width = pixels.shape[:2]
    fy, fx = np.fft.fftfreq(height)[:, None], np.fft.fftfreq(width)[None]
    groups = np.round((fy + 0.5) * 8).astype(int) % 9  # of the lines, in the order in which they are read
    places = rng.standard_normal((9, 2)) * strength * (height, width)
    places[4] = 0
    phase = np.exp(-2j * np.pi * (fy * places[groups, 0] + fx * places[groups, 1])).astype(np.complex64)
    spectrum = np.fft.fft2(pixels, axes=(0, 1)) * phase[..., None]
    return Perturbed(np.abs(np.fft.ifft2(spectrum, axes=(0, 1))).astype(np.float32))


def metal_streaks(pixels: Pixels, strength: float, rng: np.random.Generator) -> Perturbed:
    """Put a piece of metal into the body, with bright and dark streaks of amplitude `strength` that leave it as rays."""
    x, y = _coordinates(pixels)
    body = np.argwhere(pixels.mean(axis=2) > 5 * _AIR)
    at = body[int(rng.uniform() * len(body))] if len(body) else np.array(pixels.shape[:2]) // 2
    dx, dy = x - x[0, at[1]], y - y[at[0], 0]
    distance, angle = np.hypot(dx, dy), np.arctan2(dy, dx)
    waves = np.arange(2, 26, 2)  # of even number: a ray goes through the metal
    rays = sum(rng.standard_normal() * np.cos(k * angle + rng.uniform(0, 2 * np.pi)) for k in waves)
    streaks = strength * rays / math.sqrt(len(waves) / 2) / (1 + 3 * distance)
    changed = pixels + _plane(streaks * (pixels.mean(axis=2) > _AIR))
    changed[distance < 0.04] = 1
    return Perturbed(changed)


def ct_noise(pixels: Pixels, strength: float, rng: np.random.Generator) -> Perturbed:
    """Add the noise of a low dose in CT, of standard deviation `strength`: its spectrum rises, as filtered projections do.

    Air stays black: its noise is below the window.
    """
    height, width = pixels.shape[:2]
    radius = np.hypot(np.fft.fftfreq(height)[:, None], np.fft.rfftfreq(width)[None])
    spectrum = radius * np.cos(np.pi * np.minimum(radius, 0.5)) ** 2
    white = np.fft.rfft2(rng.standard_normal((height, width), np.float32))
    grain = np.fft.irfft2(white * spectrum, (height, width))
    inside = pixels.mean(axis=2) > _AIR
    return Perturbed(pixels + _plane(strength * inside * grain / grain.std()))


def quantum_noise(pixels: Pixels, strength: float, rng: np.random.Generator) -> Perturbed:
    """Add the noise of a low dose in projections: where tissue is dense, and bright, few quanta arrive and it is most."""
    grain = rng.standard_normal((*pixels.shape[:2], 1), np.float32)
    return Perturbed(pixels + strength * np.exp(1.5 * (pixels - 0.5)) * grain)


def window_error(pixels: Pixels, strength: float, rng: np.random.Generator) -> Perturbed:
    """Show the picture through a window that is narrower by e^-strength and lies too high or too low."""
    sign = 1 if rng.uniform() < 0.5 else -1
    width = math.exp(-strength)
    centre = 0.5 + sign * (1 - width) / 4
    return Perturbed(((pixels - centre) / width + 0.5).clip(0, 1))


def speckle(pixels: Pixels, strength: float, rng: np.random.Generator) -> Perturbed:
    """Multiply by 1 + strength * noise, whose grains are about 1.5 pixels wide."""
    height, width = pixels.shape[:2]
    small = rng.standard_normal((round(height / 1.5), round(width / 1.5)), np.float32)
    grain = np.asarray(Image.fromarray(small).resize((width, height), Image.Resampling.BICUBIC), np.float32)
    return Perturbed(pixels * (1 + np.float32(strength) * grain[..., None]))


def gain(pixels: Pixels, strength: float, rng: np.random.Generator) -> Perturbed:
    """Set the gain and its compensation for depth wrongly: values grow or shrink by up to `strength`, by bands of depth.

    What is outside of the probe's field stays black.
    """
    _, y = _coordinates(pixels)
    sign, slope, phase = (1 if rng.uniform() < 0.5 else -1), rng.uniform(-0.5, 0.5), rng.uniform(0, 2 * np.pi)
    by_depth = sign * (0.6 + 0.2 * np.sin(2 * np.pi * y + phase)) + 0.4 * slope * y
    field = _mask(pixels.mean(axis=2) > _AIR, max(pixels.shape[:2]) / 60)
    return Perturbed(pixels + _plane(strength * by_depth * field))


def hair(pixels: Pixels, strength: float, rng: np.random.Generator) -> Perturbed:
    """Lay dark hairs over the picture, 200 at a strength of 1."""
    height, width = pixels.shape[:2]
    side = max(height, width)
    drawn = Image.new("L", (width, height))
    pen, thickness = ImageDraw.Draw(drawn), max(1, round(side / 150))
    starts, turns, bends = rng.uniform(-0.1, 1.1, (600, 2)), rng.uniform(0, 2 * np.pi, 600), rng.normal(0, 0.8, 600)
    along = np.linspace(0, 1, 16)
    for start, turn, bend in zip(starts[: round(strength * _HAIRS)], turns, bends, strict=False):
        angle = turn + bend * along
        steps = np.stack([np.cos(angle), np.sin(angle)], 1).cumsum(axis=0) * 0.5 * side / len(along)
        pen.line([tuple(point) for point in start * (width, height) + steps], fill=255, width=thickness, joint="curve")
    cover = np.asarray(drawn.filter(ImageFilter.GaussianBlur(0.6)), np.float32)[..., None] / 255
    colour = _HAIR if pixels.shape[2] == 3 else _HAIR.mean(keepdims=True)
    return Perturbed(pixels + 0.9 * cover * (colour - pixels))


def illumination(pixels: Pixels, strength: float, rng: np.random.Generator) -> Perturbed:
    """Light the picture from one place: away from it, values fall by e^(-strength * distance^2)."""
    x, y = _coordinates(pixels)
    at_x, at_y = rng.uniform(-0.8, 0.8, 2)
    return Perturbed(pixels * _plane(np.exp(-strength * ((x - at_x) ** 2 + (y - at_y) ** 2))))


def _mask(inside: np.ndarray, radius: float) -> np.ndarray:
    """Return a soft mask 0..1 of what is inside, holes of about `radius` pixels closed."""
    drawn = Image.fromarray((inside * 255).astype(np.uint8)).filter(ImageFilter.GaussianBlur(radius))
    return (np.asarray(drawn, np.float32) / 255 * 2).clip(0, 1)


def _coordinates(pixels: Pixels) -> tuple[np.ndarray, np.ndarray]:
    """Return x and y of each pixel, -1..1 over the picture, `[height, width]`."""
    height, width = pixels.shape[:2]
    y, x = np.mgrid[0:height, 0:width].astype(np.float32)
    return (x + 0.5) / width * 2 - 1, (y + 0.5) / height * 2 - 1


def _plane(values: np.ndarray) -> Pixels:
    return values.astype(np.float32)[..., None]
