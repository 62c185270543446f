"""How assets/portrait-4k.jpg was made: a frontal head-and-shoulders portrait drawn from nothing but numbers.

    python recipes/draw_portrait.py --size 4096 --out assets/portrait-4k.jpg

Coordinates are eye distances: origin between the eyes, x right, y down, z towards the viewer. The face is a
height field lit from the upper left; hair, lashes and brows are single strands drawn at twice the resolution.
Arrays called x are [1,W], y [H,1], so a curve that is a function of x costs one row. Colours are linear light.
"""

from __future__ import annotations

import argparse
import io
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image, ImageDraw

UNIT, EYE_Y = 0.161, 0.43  # eye distance and height of the eyes, fractions of the image's side
LIGHT = np.array([-0.50, -0.56, 0.66]) / np.linalg.norm([-0.50, -0.56, 0.66])
HALF = (LIGHT + [0, 0, 1]) / np.linalg.norm(LIGHT + [0, 0, 1])  # Blinn's half vector, viewer on +z
SKIN = (0.60, 0.335, 0.225)
LIP = (0.43, 0.135, 0.125)

Curve = Callable[[np.ndarray], np.ndarray]


class Patch(NamedTuple):
    """A window of the picture: where it lies in the pixel array and the coordinates of its pixels."""

    rows: slice
    cols: slice
    x: np.ndarray  # [1,W]
    y: np.ndarray  # [H,1]


def patch(size: int, x0: float = -9, y0: float = -9, x1: float = 9, y1: float = 9) -> Patch:
    def span(a: float, b: float, centre: float) -> tuple[slice, np.ndarray]:
        lo, hi = (int(np.clip(round((v * UNIT + centre) * size), 0, size)) for v in (a, b))
        return slice(lo, hi), (((np.arange(lo, hi) + 0.5) / size - centre) / UNIT).astype(np.float32)

    cols, x = span(x0, x1, 0.5)
    rows, y = span(y0, y1, EYE_Y)
    return Patch(rows, cols, x[None], y[:, None])


def curve(*points: tuple[float, float]) -> Curve:
    """Cubic Hermite spline through points of increasing first coordinate."""
    t, v = np.array(points, dtype=float).T
    m = np.gradient(v, t)
    q = np.linspace(t[0], t[-1], 2000)
    i = np.clip(np.searchsorted(t, q, side="right") - 1, 0, len(t) - 2)
    w = t[i + 1] - t[i]
    s = (q - t[i]) / w
    h = (1 + 2 * s) * (1 - s) ** 2 * v[i] + s * (1 - s) ** 2 * w * m[i]
    h += s**2 * (3 - 2 * s) * v[i + 1] + s**2 * (s - 1) * w * m[i + 1]
    return lambda at: np.interp(at, q, h).astype(np.float32)


def smooth(a: float, b: float, v: np.ndarray) -> np.ndarray:
    """0 below a, 1 above b (or the other way round where b < a), a cubic between."""
    s = np.clip((v - a) / (b - a), 0, 1)
    return s * s * (3 - 2 * s)


def gauss(p: Patch, cx: float, cy: float, sx: float, sy: float) -> np.ndarray:
    return np.exp(-(((p.x - cx) / sx) ** 2) / 2) * np.exp(-(((p.y - cy) / sy) ** 2) / 2)


def both(p: Patch, cx: float, cy: float, sx: float, sy: float) -> np.ndarray:
    return gauss(p, cx, cy, sx, sy) + gauss(p, -cx, cy, sx, sy)


def mix(a: np.ndarray, b: np.ndarray | tuple[float, ...], alpha: np.ndarray) -> np.ndarray:
    return a + (np.asarray(b, np.float32) - a) * alpha[..., None]


def resize(field: np.ndarray, height: int, width: int) -> np.ndarray:
    if field.ndim == 3:
        return np.stack([resize(c, height, width) for c in np.moveaxis(field, 2, 0)], 2)
    image = Image.fromarray(np.ascontiguousarray(field, np.float32))
    return np.asarray(image.resize((width, height), Image.Resampling.BICUBIC))


def blur(field: np.ndarray, sigma: float) -> np.ndarray:
    """Gaussian blur of a whole square picture, sigma in eye distances."""
    n = field.shape[0]
    pad = np.pad(field, n // 8, mode="edge")
    f = np.fft.rfftfreq(pad.shape[0])[None] ** 2 + np.fft.fftfreq(pad.shape[0])[:, None] ** 2
    out = np.fft.irfft2(np.fft.rfft2(pad) * np.exp(-2 * (np.pi * sigma * UNIT * n) ** 2 * f), pad.shape)
    return out[n // 8 : n // 8 + n, n // 8 : n // 8 + n].astype(np.float32)


def noise(rng: np.random.Generator, p: Patch, cell_x: float, cell_y: float | None = None) -> np.ndarray:
    """Smooth noise over a patch, about ±1, cells in eye distances."""
    per = p.y.shape[0] / max(float(p.y[-1, 0] - p.y[0, 0]), 1e-6)
    h, w = p.y.shape[0], p.x.shape[1]
    grid = (max(2, round(h / max(1, (cell_y or cell_x) * per))), max(2, round(w / max(1, cell_x * per))))
    return resize(rng.standard_normal(grid), h, w)


# --- shape ------------------------------------------------------------------------------------------------

OUTLINE = ((0, -1.64), (0.52, -1.52), (0.92, -1.12), (1.06, -0.5), (1.07, 0.0), (1.04, 0.42), (0.965, 0.8))
OUTLINE += ((0.86, 1.1), (0.715, 1.34), (0.54, 1.54), (0.375, 1.68), (0.2, 1.77), (0, 1.795))
MIDDLE = 0.25  # the outline is a radius as a function of the angle around (0, MIDDLE)
RADIUS = curve(*((np.arctan2(x, MIDDLE - y), np.hypot(x, y - MIDDLE)) for x, y in OUTLINE))
LID_UP = curve((0.268, 0.02), (0.3, -0.02), (0.36, -0.077), (0.45, -0.118), (0.54, -0.123), (0.64, -0.093), (0.7, -0.048), (0.732, -0.02))
LID_LOW = curve((0.268, 0.02), (0.31, 0.034), (0.4, 0.06), (0.52, 0.075), (0.62, 0.056), (0.69, 0.014), (0.732, -0.02))
LIP_TOP = curve((0, 0.962), (0.05, 0.951), (0.11, 0.942), (0.2, 0.966), (0.3, 1.018), (0.37, 1.06), (0.405, 1.078))
SEAM = curve((0, 1.092), (0.06, 1.085), (0.15, 1.078), (0.25, 1.084), (0.34, 1.083), (0.405, 1.078))
LIP_END = curve((0, 1.252), (0.1, 1.247), (0.2, 1.217), (0.3, 1.157), (0.36, 1.11), (0.405, 1.078))
NOSE_RISE = curve((-0.4, 0), (-0.2, 0.03), (0.05, 0.09), (0.3, 0.2), (0.5, 0.32), (0.6, 0.35), (0.68, 0.27), (0.76, 0.07), (0.83, 0))
NOSE_WIDTH = curve((-0.4, 0.3), (-0.2, 0.17), (0.05, 0.13), (0.3, 0.145), (0.5, 0.17), (0.62, 0.175), (0.8, 0.2))
NECKLINE = curve((0, 2.93), (0.5, 2.83), (0.9, 2.6), (1.15, 2.3), (1.3, 1.9), (4, 1.6))
SHOULDER = curve((0, 1.9), (0.66, 2.1), (0.85, 2.25), (1.3, 2.42), (2.0, 2.58), (2.5, 2.75), (2.8, 3.0), (3.0, 3.6), (3.4, 5))
NECK = curve((0.5, 0.72), (1.3, 0.69), (1.7, 0.645), (2.0, 0.645), (2.2, 0.7), (2.4, 0.9), (3.6, 2.2))


def rho(p: Patch) -> np.ndarray:
    """0 in the middle of the head, 1 on its outline."""
    angle = np.arctan2(np.abs(p.x), MIDDLE - p.y)
    return np.hypot(p.x, p.y - MIDDLE) / RADIUS(angle)


def lips_relief(p: Patch) -> np.ndarray:
    a = np.abs(p.x)
    upper = (p.y - LIP_TOP(a)) / (SEAM(a) - LIP_TOP(a) + 1e-3)
    lower = (p.y - SEAM(a)) / (LIP_END(a) - SEAM(a) + 1e-3)
    roll = np.sin(np.pi * np.clip(upper, 0, 1) ** 0.8) * 0.045 + np.sin(np.pi * np.clip(lower, 0, 1) ** 0.75) * 0.075
    return roll * smooth(0.41, 0.12, a)


def head_relief(p: Patch) -> np.ndarray:
    z = np.sqrt(1 - np.minimum(rho(p), 0.955) ** 2.6)
    z += NOSE_RISE(p.y) * np.exp(-(np.abs(p.x / NOSE_WIDTH(p.y)) ** 1.9))
    z += 0.07 * gauss(p, 0, 0.57, 0.1, 0.1) + 0.15 * both(p, 0.205, 0.63, 0.062, 0.075)
    z += 0.07 * both(p, 0.5, -0.33, 0.3, 0.1) + 0.05 * gauss(p, 0, -0.8, 0.6, 0.35)  # brow ridge, forehead
    z -= 0.16 * both(p, 0.40, -0.02, 0.2, 0.16) + 0.045 * both(p, 0.2, -0.06, 0.08, 0.13)  # sockets
    z += 0.115 * both(p, 0.5, -0.02, 0.17, 0.115)  # eyeballs
    z += 0.07 * both(p, 0.68, 0.4, 0.24, 0.2) - 0.04 * both(p, 0.78, 0.95, 0.18, 0.3)  # cheeks
    z += 0.11 * gauss(p, 0, 1.06, 0.34, 0.2) + 0.12 * gauss(p, 0, 1.56, 0.19, 0.12)  # around the mouth, chin
    z -= 0.055 * gauss(p, 0, 1.345, 0.24, 0.06) + 0.018 * both(p, 0.45, 1.1, 0.05, 0.07)
    z -= 0.022 * gauss(p, 0, 0.85, 0.035, 0.07) - 0.016 * both(p, 0.085, 0.86, 0.03, 0.08)  # philtrum
    fold = np.abs(p.x) - curve((0.5, 0.27), (0.65, 0.35), (0.85, 0.43), (1.05, 0.5), (1.3, 0.52))(p.y)
    z -= 0.017 * np.exp(-((fold / 0.06) ** 2)) * smooth(0.5, 0.68, p.y) * smooth(1.15, 0.85, p.y)
    return z + lips_relief(p)


def body_relief(p: Patch, rng: np.random.Generator) -> np.ndarray:
    """Neck, collar bones and shoulders, with folds of the cloth."""
    a = np.abs(p.x)
    z = -0.55 + 0.68 * np.sqrt(np.maximum(1 - np.minimum(a / NECK(p.y), 0.99) ** 2.2, 0))
    slope = p.y - SHOULDER(a)
    chest = -0.62 + 0.55 * np.sqrt(np.clip(slope + 0.02, 0, 3)) - 0.03 * a**2
    k = 14.0
    z = np.log(np.exp(k * z) + np.exp(k * chest)) / k  # a soft maximum
    muscle = a - curve((1.5, 0.55), (2.2, 0.32), (2.75, 0.1))(p.y)
    z += 0.05 * np.exp(-((muscle / 0.075) ** 2)) * smooth(1.6, 2.0, p.y) * smooth(2.8, 2.6, p.y)
    bone = p.y - curve((0, 2.78), (0.2, 2.7), (0.6, 2.62), (1.1, 2.52), (1.7, 2.5))(a)
    z += 0.055 * np.exp(-((bone / 0.06) ** 2)) * smooth(0.06, 0.18, a) * smooth(1.5, 0.9, a)
    z -= 0.07 * gauss(p, 0, 2.7, 0.09, 0.08)
    lean = 3.0 * a + 2.2 * (p.y - 2.5) + 0.5 * noise(rng, p, 0.9)
    return z + 0.02 * np.sin(2.1 * lean) * smooth(0.0, 0.35, p.y - NECKLINE(a))


# --- light ------------------------------------------------------------------------------------------------


class Lit(NamedTuple):
    diffuse: np.ndarray  # [h,w,3]
    gloss: np.ndarray  # [h,w]


def cast_shadow(z: np.ndarray, unit: float) -> np.ndarray:
    """How much of the light passes, marching every pixel of a height field towards it."""
    worst = np.full_like(z, -1)
    flat = np.hypot(LIGHT[0], LIGHT[1])
    for far in np.geomspace(0.03, 1.5, 40):
        dx, dy = (round(float(c / flat * far) * unit) for c in LIGHT[:2])
        seen = np.roll(z, (-dy, -dx), (0, 1))
        worst = np.maximum(worst, (seen - z) / far - LIGHT[2] / flat)
    return smooth(0.28, -0.22, worst)


def light(z: np.ndarray, passes: np.ndarray) -> Lit:
    """Light a height field: key, cool fill from the right, sky; red light creeps round edges, as in skin."""
    unit = z.shape[0] * UNIT
    gy, gx = np.gradient(z, 1 / unit)
    n = np.stack([-gx, -gy, np.ones_like(z)], 2)
    n /= np.linalg.norm(n, axis=2, keepdims=True)
    wrap = np.array([0.42, 0.26, 0.2])
    key = np.clip(((n @ LIGHT)[..., None] + wrap) / (1 + wrap), 0, None)
    soft = np.stack([blur(passes, s) for s in (0.035, 0.018, 0.012)], 2)
    hollow = sum(np.clip((blur(z, s) - z) / s, 0, 1) for s in (0.05, 0.12, 0.3))
    ao = np.exp(-1.15 * hollow)[..., None]
    sky = (0.62 - 0.38 * n[..., 1:2]) * np.array([0.30, 0.34, 0.40])
    fill = np.clip(n @ np.array([0.82, 0.05, 0.56]), 0, 1)[..., None] * np.array([0.22, 0.21, 0.22])
    diffuse = key * soft * np.array([1.28, 1.17, 1.04]) + (sky + fill) * ao
    h = np.clip(n @ HALF, 0, 1)
    gloss = (h**38 * 0.8 + h**9 * 0.22) * passes * ao[..., 0]
    return Lit((diffuse * (0.55 + 0.45 * ao)).astype(np.float32), gloss.astype(np.float32))


# --- strands ----------------------------------------------------------------------------------------------


class Strands:
    """Opaque strands at twice the resolution of a patch: red holds the tone, green the cover."""

    def __init__(self, p: Patch) -> None:
        self.step = float(2 / (p.x[0, 1] - p.x[0, 0]))
        self.zero = np.array([p.x[0, 0], p.y[0, 0]]) - 1 / self.step
        self.image = Image.new("RGB", (2 * p.x.shape[1], 2 * p.y.shape[0]))
        self.draw = ImageDraw.Draw(self.image)

    def line(self, path: np.ndarray, tone: np.ndarray, width: float) -> None:
        """path [K,2] in eye distances; a tone in 0..1 and the same width for every piece."""
        dots = ((path - self.zero) * self.step).tolist()
        wide = max(1, round(width * self.step))
        for a, b, t in zip(dots, dots[1:], (np.clip(tone, 0, 1) * 255).astype(int).tolist(), strict=False):
            self.draw.line((*a, *b), fill=(t, 255, 0), width=wide)

    def hair(self, path: np.ndarray, width: float, tone: float = 0.0) -> None:
        """A short hair that tapers to its tip."""
        side = np.gradient(path, axis=0)[:, ::-1] * [-1, 1]
        side /= np.linalg.norm(side, axis=1, keepdims=True) + 1e-9
        half = (width / 2 * (1 - np.linspace(0, 1, len(path)) ** 1.6))[:, None] * side
        dots = (np.concatenate([path + half, (path - half)[::-1]]) - self.zero) * self.step
        self.draw.polygon([tuple(d) for d in dots.tolist()], fill=(int(tone * 255), 255, 0))

    def result(self) -> tuple[np.ndarray, np.ndarray]:
        """Tone and cover, [H,W] each."""
        small = np.asarray(self.image.reduce(2))
        cover = small[..., 1].astype(np.float32) / 255
        return small[..., 0].astype(np.float32) / 255 / np.maximum(cover, 1e-3), cover


# Hair falls from a parting: (x, y, z) of its innermost and outermost strand on the right; the left is shorter.
INNER = ((-0.2, -1.03, 0.9), (0.14, -1.1, 0.98), (0.58, -0.92, 0.85), (0.88, -0.5, 0.66), (1.0, 0.0, 0.55), (1.01, 0.55, 0.5))
INNER += ((0.93, 1.1, 0.5), (0.9, 1.65, 0.45), (0.93, 2.2, 0.42), (0.86, 2.85, 0.4))
OUTER = ((-0.13, -1.85, 0.4), (0.34, -1.88, 0.35), (0.9, -1.66, 0.2), (1.27, -1.12, 0.0), (1.43, -0.4, -0.1), (1.5, 0.3, -0.1))
OUTER += ((1.55, 1.0, 0), (1.63, 1.7, 0), (1.66, 2.35, 0), (1.5, 3.05, 0))


def guide(points: tuple[tuple[float, ...], ...], side: int, count: int) -> np.ndarray:
    """A guide strand [count,3]; on the left it is mirrored, but starts at the same parting."""
    p = np.array(points)
    if side < 0:
        p[:, 0] = -p[:, 0]
        p[:2, 0] = [points[0][0], points[0][0] - 0.27]
    t = np.linspace(0, 1, len(p))
    q = np.linspace(0, 1, count)
    return np.stack([curve(*zip(t, p[:, i], strict=True))(q) for i in range(3)], 1)


def strand_tone(path: np.ndarray, tilt: float) -> np.ndarray:
    """Kajiya and Kay's hair: light falls across a fibre, and its sheen lies where the fibre turns from it."""
    t = np.gradient(path, axis=0)
    t /= np.linalg.norm(t, axis=1, keepdims=True)
    across = np.sqrt(1 - (t @ LIGHT) ** 2)
    sheen = np.clip(1 - (t @ HALF + tilt) ** 2, 0, 1)
    tone = 0.05 + 0.22 * across + 0.34 * sheen**9
    return np.convolve(np.pad(tone, 3, mode="edge"), np.full(7, 1 / 7), "valid") * smooth(-0.08, 0.12, np.linspace(0, 1, len(path)))


def lock(rng: np.random.Generator, inner: np.ndarray, outer: np.ndarray, s: float, count: int) -> list[np.ndarray]:
    """The strands of one lock, [K,3] of x, y and tone: they wave together and gather towards the tip."""
    t = np.linspace(0, 1, len(inner))
    wide, reach, tilt = rng.uniform(0.03, 0.08), rng.uniform(0.84, 1.0), rng.normal(0, 0.12)
    phase = 0.55 * s + rng.normal(0, 0.05)
    wave = smooth(0.3, 0.85, t) * np.sin(2 * np.pi * (2.6 * t + phase))
    strands = []
    for u in rng.uniform(-1, 1, count):
        a = s + wide * u * (1.1 - 0.8 * t**1.5) + 0.014 * rng.standard_normal() * t**2 + 0.03 * wave
        path = inner + (outer - inner) * a[:, None]
        path[:, 0] += 0.055 * wave
        path[:, :2] += 0.007 * np.sin(rng.uniform(4, 14) * t + rng.uniform(0, 7))[:, None] * rng.standard_normal(2)
        path[:, 2] += 0.12 * (1 - u * u) + 0.08 * wave
        keep = int(len(t) * reach * rng.uniform(0.88, 1.0))
        tone = strand_tone(path, tilt) * (0.35 + 0.65 * np.sqrt(1 - u * u)) * rng.uniform(0.7, 1.25)
        strands.append(np.concatenate([path[:keep, :2], tone[:keep, None]], 1))
    return strands


def front_hair(rng: np.random.Generator, size: int) -> tuple[np.ndarray, np.ndarray]:
    """Three layers: a dark one that covers, the locks, and looser bright ones."""
    strands = Strands(patch(size))
    for side in (-1, 1):
        inner, outer = guide(INNER, side, 60), guide(OUTER, side, 60)
        for layer, (locks, count, gain) in enumerate(((46, 90, 0.55), (60, 90, 1.0), (36, 60, 1.15))):
            for s in rng.permutation(np.linspace(0.0, 1.0, locks) + rng.normal(0, 0.012, locks)):
                turned = gain * (0.72 + 0.4 * np.sin(np.pi * np.clip(0.15 + 0.75 * (1 - s if side > 0 else s), 0, 1)))
                for strand in lock(rng, inner, outer, float(s), count):
                    strands.line(strand[:, :2], strand[:, 2] * turned, 0.004 if layer == 0 else 0.0026)
        for s in rng.uniform(-0.03, 1.07, 150):  # fly-away hairs
            for strand in lock(rng, inner, outer, float(s), 1):
                strands.line(strand[:, :2], strand[:, 2], 0.0018)
    return strands.result()


def back_hair(rng: np.random.Generator, size: int) -> tuple[np.ndarray, np.ndarray]:
    strands = Strands(patch(size))
    y = np.linspace(-1.0, 2.9, 30)
    for x in rng.uniform(-1.35, 1.35, 3500):
        bend = x + 0.05 * np.sin(2.2 * y + 3 * x) + 0.02 * np.sin(rng.uniform(2, 5) * y + rng.uniform(0, 7))
        tone = rng.uniform(0.05, 0.16) * (1 + 0.3 * np.sin(2 * y + 4 * x))
        strands.line(np.stack([bend, y], 1)[: rng.integers(24, 31)], tone, 0.006)
    return strands.result()


def hair_colour(tone: np.ndarray) -> np.ndarray:
    stops = np.array([[0.008, 0.004, 0.003], [0.06, 0.028, 0.015], [0.21, 0.10, 0.052], [0.50, 0.30, 0.18], [0.9, 0.7, 0.5]])
    at = np.array([0, 0.25, 0.5, 0.78, 1.0])
    return np.stack([np.interp(tone, at, stops[:, i]).astype(np.float32) for i in range(3)], 2)


# --- paint ------------------------------------------------------------------------------------------------


def skin(p: Patch, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Albedo and gloss of bare skin: blood, freckles, pores lit from one side."""
    blood = 0.8 * both(p, 0.62, 0.48, 0.26, 0.2) + 0.6 * gauss(p, 0, 0.6, 0.16, 0.12) + 0.35 * gauss(p, 0, 1.6, 0.25, 0.15)
    blood += 0.3 * both(p, 0.42, 0.12, 0.2, 0.07) + 0.10 * noise(rng, p, 0.3) + 0.05 * noise(rng, p, 0.06)
    brown = 0.5 * both(p, 0.45, -0.16, 0.25, 0.08) + 0.35 * both(p, 0.3, 0.1, 0.1, 0.06) + 0.06 * noise(rng, p, 0.12)
    where = 0.15 + both(p, 0.5, 0.38, 0.3, 0.16) + 0.8 * gauss(p, 0, 0.4, 0.2, 0.2) + 0.4 * gauss(p, 0, -0.6, 0.6, 0.2)
    spots = sum(smooth(1.75, 2.6, noise(rng, p, c)) for c in (0.018, 0.03))
    brown += 0.55 * spots * where
    tone = np.exp(-blood[..., None] * [0.03, 0.30, 0.26] - brown[..., None] * [0.12, 0.24, 0.34])
    grain = sum(a * noise(rng, p, c) for c, a in ((0.0045, 0.6), (0.009, 0.8), (0.02, 0.4)))
    pores = np.minimum(grain - np.roll(grain, (2, 2), (0, 1)), 1.2)
    albedo = np.array(SKIN, np.float32) * tone * (1 + 0.022 * pores)[..., None]
    oily = 0.75 + 0.5 * gauss(p, 0, 0.3, 0.2, 0.6) + 0.35 * gauss(p, 0, -0.6, 0.5, 0.3)
    return albedo.astype(np.float32), (0.16 * oily * np.clip(1 + 0.33 * pores, 0.1, 2)).astype(np.float32)


def paint_lips(p: Patch, albedo: np.ndarray, gloss: np.ndarray, rng: np.random.Generator) -> None:
    a = np.abs(p.x)
    top, seam, end = LIP_TOP(a), SEAM(a) + 0.004 * np.sin(5 * p.x + 1), LIP_END(a)
    ragged = 0.006 * noise(rng, p, 0.03)
    cover = smooth(-0.014, 0.016, p.y - top + ragged) * smooth(-0.016, 0.02, end - p.y + ragged) * smooth(0.412, 0.385, a)
    fan = p.x * (1 - 0.35 * np.abs(p.y - seam)) + 0.004 * noise(rng, p, 0.06)
    row = np.linspace(-0.5, 0.5, 900)
    crease = sum(
        w * np.interp(fan, row, np.interp(row, np.linspace(-0.5, 0.5, n), rng.standard_normal(n))) for n, w in ((45, 0.5), (130, 0.45), (300, 0.3))
    )
    crease *= smooth(0, 0.05, np.abs(p.y - seam))
    tint = np.array(LIP) * np.where(p.y < seam, 0.80, 1.05)[..., None] * np.exp(0.10 * crease - 0.12)[..., None]
    albedo[:] = mix(albedo, tint, 0.88 * cover)
    line = np.abs(p.y - seam + 0.003 * noise(rng, p, 0.05)) / (0.008 + 0.008 * np.exp(-((a / 0.2) ** 2)))
    dark = np.exp(-(line**2)) * smooth(0.425, 0.38, a) * 0.9 + 0.5 * both(p, 0.41, 1.078, 0.02, 0.014)
    dark += 0.35 * np.exp(-(((p.y - seam) / 0.035) ** 2)) * cover
    albedo *= np.exp(-dark[..., None] * [1.5, 2.1, 2.1])
    gloss *= 1 + cover * np.clip(1.0 + 1.3 * crease, -0.9, 4)


def paint_nose(p: Patch, albedo: np.ndarray) -> None:
    a = np.abs(p.x)
    u, v = a - 0.118, p.y - 0.713 + 0.28 * (a - 0.118)
    hole = smooth(1.35, 0.55, np.hypot(u / 0.068, v / 0.03))
    wing = np.hypot((a - 0.2) / 0.108, (p.y - 0.63) / 0.105)
    groove = np.exp(-(((wing - 1) / 0.12) ** 2)) * smooth(0.2, 0.29, a) * smooth(0.5, 0.6, p.y) * smooth(0.76, 0.70, p.y)
    under = both(p, 0.11, 0.735, 0.1, 0.025)
    albedo *= np.exp(-(1.9 * hole + 0.4 * groove + 0.15 * under)[..., None] * [0.7, 1.05, 1.1])


def iris(r: np.ndarray, angle: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """r is 1 at the rim."""
    turn = np.linspace(-np.pi, np.pi, 2881)

    def fibres(count: int, twist: float) -> np.ndarray:
        knots = rng.standard_normal(count + 1)
        knots[-1] = knots[0]
        wave = np.interp(turn, np.linspace(-np.pi, np.pi, count + 1), knots)
        return np.interp((angle + twist * np.sin(5 * r) + np.pi) % (2 * np.pi) - np.pi, turn, wave)

    f = 0.5 * fibres(50, 0.06) + 0.5 * fibres(120, 0.03) * smooth(0.2, 0.5, r) + 0.5 * fibres(260, -0.02) * smooth(0.35, 0.7, r)
    ring = smooth(0.78, 0.46, r + 0.06 * f)[..., None]
    colour = np.array([0.085, 0.115, 0.085]) * (1 - ring) + np.array([0.22, 0.115, 0.035]) * ring
    colour = colour * np.exp(0.55 * f + 0.2)[..., None] * (1 - 0.85 * smooth(0.78, 1.02, r))[..., None]
    return colour * smooth(0.385, 0.43, r + 0.012 * f)[..., None]


def paint_eye(p: Patch, side: int, albedo: np.ndarray, gloss: np.ndarray, rng: np.random.Generator) -> None:
    x = side * p.x
    up, low = p.y - LID_UP(x), LID_LOW(x) - p.y
    inside = smooth(-0.004, 0.006, up) * smooth(-0.004, 0.006, low) * smooth(0.264, 0.271, x) * smooth(0.735, 0.729, x)
    near = smooth(0.24, 0.30, x) * smooth(0.78, 0.71, x)
    crease = p.y - curve((0.22, -0.02), (0.3, -0.1), (0.42, -0.168), (0.55, -0.176), (0.68, -0.135), (0.79, -0.05))(x)
    albedo *= np.exp(-(0.75 * np.exp(-((crease / 0.012) ** 2)) * near)[..., None] * [0.6, 0.9, 0.9])
    albedo *= np.exp(-(0.35 * smooth(0, 0.03, crease) * smooth(0.02, -0.01, up) * near)[..., None] * [0.35, 0.6, 0.6])
    albedo *= np.exp(-(1.5 * np.exp(-(((up + 0.004) / 0.011) ** 2)) * near)[..., None])  # upper lash line
    rim = np.exp(-(((low + 0.01) / 0.009) ** 2)) * near
    albedo[:] = mix(albedo, (0.62, 0.36, 0.29), 0.5 * rim)
    albedo *= np.exp(-(0.55 * np.exp(-(((low + 0.024) / 0.011) ** 2)) * near)[..., None] * [0.6, 0.9, 1])
    cx = p.x - side * 0.5 + 0.004
    r = np.hypot(cx, p.y + 0.025) / 0.121
    veins = smooth(0.9, 1.6, noise(rng, p, 0.05, 0.012)) * smooth(0.12, 0.22, np.abs(x - 0.5))
    white = np.array([0.56, 0.525, 0.50]) * np.exp(-(0.25 * veins + 1.2 * (x - 0.5) ** 2 / 0.05 * 0.25)[..., None] * [0.2, 0.8, 0.7])
    white = mix(white, (0.52, 0.25, 0.22), smooth(0.325, 0.285, x + 0.0 * p.y))
    ball = mix(white, iris(r, np.arctan2(p.y + 0.025, cx), rng), smooth(1.05, 0.95, r))
    shade = np.exp(-1.2 * np.exp(-np.maximum(up, 0) / 0.035))[..., None] * (1 + 0.55 * smooth(0.2, 1.0, r) * smooth(1.1, 0.9, r) * smooth(-0.06, 0.06, p.y + 0.025 + cx))[..., None]
    albedo[:] = mix(albedo, ball * shade, inside)
    gloss[:] = gloss * (1 - inside) + (0.5 * rim + 0.15 * inside)


def catchlights(p: Patch, side: int, image: np.ndarray) -> None:
    x, y = p.x - side * 0.5 + 0.004, p.y + 0.025
    pane = smooth(0.03, 0.022, np.abs(x + 0.04 + 0.1 * y)) * smooth(0.027, 0.02, np.abs(y + 0.035))
    pane *= 1 - 0.7 * smooth(0.004, 0.002, np.abs(x + 0.04 + 0.1 * y))
    spark = 0.25 * np.exp(-(((x - 0.045) / 0.018) ** 2) - ((y - 0.05) / 0.012) ** 2)
    wet = smooth(0.003, 0.0, np.abs(LID_LOW(side * p.x) - p.y - 0.006)) * smooth(0.3, 0.4, side * p.x) * smooth(0.7, 0.6, side * p.x)
    image[:] = mix(image, (2.2, 2.3, 2.4), np.clip(pane * 0.9 * smooth(0, 0.02, p.y - LID_UP(side * p.x)) + spark + 0.25 * wet, 0, 1))


def lash_paths(side: int, rng: np.random.Generator) -> list[tuple[np.ndarray, float]]:
    """Lashes and brow hairs of one side, each a path [7,2] and a width."""
    t = np.linspace(0, 1, 7)[:, None]
    hairs = []
    for upper, count, length in ((True, 150, 0.085), (False, 55, 0.036)):
        for x in np.sort(rng.uniform(0.30, 0.735, count)):
            root = np.array([x, float(LID_UP(x) if upper else LID_LOW(x) + 0.012)])
            out = (x - 0.44) * 2.6 + rng.normal(0, 0.18)
            go = np.array([out, -1.0 if upper else 0.9]) / np.hypot(out, 1)
            reach = length * rng.uniform(0.6, 1.1) * (0.45 + 0.55 * smooth(0.3, 0.6, x))
            droop = np.array([0.25 * np.sign(out), 0.30 if upper else -0.1]) * reach
            hairs.append((root + reach * go * t + droop * t * (1 - t) * 1.2, 0.0075 if upper else 0.004))
    low = curve((0.17, -0.265), (0.3, -0.285), (0.5, -0.33), (0.7, -0.345), (0.85, -0.285), (0.93, -0.215))
    thick = curve((0.17, 0.085), (0.3, 0.105), (0.5, 0.1), (0.7, 0.075), (0.85, 0.045), (0.93, 0.015))
    for x in 0.155 + 0.775 * rng.beta(1.25, 1.1, 560):
        k = float(np.clip(rng.normal(0.48, 0.27), -0.1, 1.1))
        root = np.array([x, float(low(x) - thick(x) * k) - (0.012 if side > 0 else 0)])
        steep = 1.5 * smooth(0.4, 0.16, x) + 0.55 - 0.95 * smooth(0.35, 0.8, x) - 0.7 * k + rng.normal(0, 0.14)
        go = np.array([1, -steep]) / np.hypot(1, steep)
        reach = rng.uniform(0.05, 0.1) * (1 - 0.35 * smooth(0.7, 0.93, x))
        hairs.append((root + reach * go * t + np.array([0, 0.22]) * reach * t * t, 0.0062))
    return [(path * [side, 1], width) for path, width in hairs]


def cloth(p: Patch, rng: np.random.Generator) -> np.ndarray:
    """Plain weave in fine wool, with a ribbed collar."""
    a = np.abs(p.x)
    deep = (p.y - NECKLINE(a)) / np.sqrt(1 + np.gradient(NECKLINE(a), a[0, 1] - a[0, 0] or 1, axis=1).clip(-2, 2) ** 2)
    warp = 0.03 * noise(rng, p, 0.5)
    u, v = (p.x + warp) / 0.017, (p.y + 0.10 * a + warp) / 0.017
    over = (np.floor(u) + np.floor(v)) % 2
    thread = np.where(over > 0, np.sin(np.pi * (u % 1)), np.sin(np.pi * (v % 1)))
    hue = rng.standard_normal(1024)
    each = np.where(over > 0, hue[np.floor(u).astype(int) % 1024], hue[np.floor(v).astype(int) % 1024])
    rib = 0.75 + 0.35 * np.sin(2 * np.pi * (p.x / 0.035 + 0.3 * warp)) * (deep < 0.15)
    weave = (0.45 + 0.65 * thread**0.7) * np.exp(0.09 * each + 0.05 * noise(rng, p, 0.01))
    weave = np.where(deep < 0.15, rib * (0.6 + 0.4 * thread), weave) * (1 - 0.6 * np.exp(-(((deep - 0.155) / 0.014) ** 2)))
    return np.array([0.035, 0.135, 0.16], np.float32) * (1.15 * weave)[..., None].astype(np.float32)


def background(p: Patch, rng: np.random.Generator) -> np.ndarray:
    glow = np.exp(-(((p.x + 0.5) / 2.6) ** 2) - ((p.y - 0.2) / 2.8) ** 2)
    brush = sum(a * noise(rng, p, c, 0.7 * c) for c, a in ((1.4, 0.05), (0.5, 0.03), (0.12, 0.012)))
    level = 0.16 + 0.34 * glow + brush * (0.3 + glow)
    return (level[..., None] * np.array([0.86, 0.93, 1.0]) + 0.03 * brush[..., None] * [1.0, 0.3, -0.6]).astype(np.float32)


def portrait(size: int, seed: int) -> np.ndarray:
    """The whole picture, [size,size,3] in 0..1 sRGB."""
    rng = np.random.default_rng(seed)
    full, base = patch(size), patch(min(size, 1536))
    n = base.y.shape[0]
    tone, cover = front_hair(rng, size)
    back_tone, back_cover = back_hair(rng, size)
    image = mix(background(full, rng), hair_colour(back_tone), back_cover)

    head_z, body_z = head_relief(base), body_relief(base, rng)
    own = cast_shadow(head_z, n * UNIT)
    passes = cast_shadow(np.where(rho(base) < 1, head_z + 0.3, body_z), n * UNIT)
    shift = tuple(round(-0.1 * n * UNIT * c) for c in (LIGHT[1], LIGHT[0]))
    veil = blur(np.roll(resize(cover, n, n), shift, (0, 1)), 0.05)
    own, passes = (v * (1 - 0.75 * np.clip(veil, 0, 1)) for v in (own, passes))

    albedo, gloss = skin(full, rng)
    fabric = smooth(-0.004, 0.004, full.y - NECKLINE(np.abs(full.x)))
    edge = smooth(-0.006, 0.006, np.maximum(np.minimum(NECK(full.y) - np.abs(full.x), full.y), full.y - SHOULDER(np.abs(full.x))))
    lit = light(body_z, passes)
    body = mix(albedo, cloth(full, rng), fabric) * resize(lit.diffuse, size, size)
    body += (gloss * (1 - fabric) * resize(lit.gloss, size, size))[..., None]
    image = mix(image, body, edge)

    lit = light(head_z, own)
    for side in (-1, 1):
        p = patch(size, *((0.1, -0.6, 1.05, 0.3) if side > 0 else (-1.05, -0.6, -0.1, 0.3)))
        at = (p.rows, p.cols)
        paint_eye(p, side, albedo[at], gloss[at], rng)
        strands = Strands(p)
        for path, width in lash_paths(side, rng):
            strands.hair(path, width)
        hairs = strands.result()[1]
        albedo[at] = mix(albedo[at], (0.03, 0.016, 0.011), 0.8 * hairs)
        gloss[at] *= 1 - 0.8 * hairs
    p = patch(size, -0.6, 0.4, 0.6, 1.4)
    paint_nose(p, albedo[p.rows, p.cols])
    paint_lips(p, albedo[p.rows, p.cols], gloss[p.rows, p.cols], rng)
    face = albedo * resize(lit.diffuse, size, size) + (gloss * resize(lit.gloss, size, size))[..., None]
    for side in (-1, 1):
        p = patch(size, side * 0.5 - 0.3, -0.3, side * 0.5 + 0.3, 0.3)
        catchlights(p, side, face[p.rows, p.cols])
    image = mix(image, face, smooth(1.004, 0.996, rho(full)))
    image = mix(image, hair_colour(tone), cover)
    return (1 - np.exp(-1.9 * np.maximum(image, 0))) ** (1 / 2.2)


def encode(image: Image.Image, limit: int) -> bytes:
    """The best JPEG below a number of bytes."""
    for quality in range(93, 40, -3):
        out = io.BytesIO()
        image.save(out, "JPEG", quality=quality, optimize=True, progressive=True)
        if out.tell() < limit:
            break
    return out.getvalue()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--size", type=int, default=4096)
    parser.add_argument("--out", type=Path, default=Path("assets/portrait-4k.jpg"))
    parser.add_argument("--seed", type=int, default=7)
    args = parser.parse_args()
    pixels = (portrait(args.size, args.seed) * 255 + 0.5).astype(np.uint8)
    args.out.parent.mkdir(parents=True, exist_ok=True)
    args.out.write_bytes(encode(Image.fromarray(pixels), 2_900_000))
    print(f"{args.out}: {args.size} x {args.size}, {args.out.stat().st_size / 1e6:.2f} MB")


if __name__ == "__main__":
    main()
