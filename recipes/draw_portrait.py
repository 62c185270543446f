"""How assets/portrait-4k.jpg was made: a frontal head-and-shoulders portrait drawn from nothing but numbers.

    python recipes/draw_portrait.py --size 4096 --out assets/portrait-4k.jpg

Coordinates are eye distances: origin between the eyes, x right, y down, z towards the viewer. The face is a
height field lit from the upper left; hair, lashes and brows are single strands drawn at twice the resolution.
Arrays called x are [1,W], y [H,1], so a curve over x costs one row. Colours are linear light.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image, ImageDraw

UNIT, EYE_Y = 0.161, 0.43  # eye distance and height of the eyes, fractions of the image's side
LIGHT = np.array([-0.38, -0.60, 0.70]) / np.linalg.norm([-0.38, -0.60, 0.70])
HALF = (LIGHT + [0, 0, 1]) / np.linalg.norm(LIGHT + [0, 0, 1])  # Blinn's half vector, viewer on +z
Rng = np.random.Generator
Curve = Callable[[np.ndarray], np.ndarray]


class Patch(NamedTuple):  # a window of the picture
    at: tuple[slice, slice]  # where it lies in the pixel array
    x: np.ndarray  # [1,W]
    y: np.ndarray  # [H,1]


def patch(size: int, x0: float = -9, y0: float = -9, x1: float = 9, y1: float = 9) -> Patch:
    all_x, all_y = (((np.arange(size) + 0.5) / size - c).astype(np.float32) / UNIT for c in (0.5, EYE_Y))
    cols, rows = (slice(*np.searchsorted(v, r)) for v, r in ((all_x, (x0, x1)), (all_y, (y0, y1))))
    return Patch((rows, cols), all_x[None, cols], all_y[rows, None])


def spline(t: np.ndarray, v: np.ndarray, ends: float = 1) -> Curve:
    """Cubic Hermite spline through v at increasing t, held beyond its ends, which are level if ends is 0."""
    m, q = np.gradient(v, t), np.linspace(t[0], t[-1], 2000)
    m[[0, -1]] *= ends
    i = np.clip(np.searchsorted(t, q, side="right") - 1, 0, len(t) - 2)
    w = t[i + 1] - t[i]
    s = (q - t[i]) / w
    h = (1 + 2 * s) * (1 - s) ** 2 * v[i] + s * (1 - s) ** 2 * w * m[i]
    h += s**2 * (3 - 2 * s) * v[i + 1] + s**2 * (s - 1) * w * m[i + 1]
    return lambda at: np.interp(at, q, h).astype(np.float32)


def points(text: str, width: int) -> np.ndarray:
    return np.array(text.split(), dtype=float).reshape(-1, width)


def curve(text: str, ends: float = 1) -> Curve:
    return spline(*points(text, 2).T, ends)


def smooth(a: float, b: float, v: np.ndarray) -> np.ndarray:
    """0 below a, 1 above b (or the other way round where b < a), a cubic between."""
    s = np.clip((v - a) / (b - a), 0, 1)
    return s * s * (3 - 2 * s)


def ridge(v: np.ndarray, width: float | np.ndarray) -> np.ndarray:
    return np.exp(-((v / width) ** 2))


def bumps(p: Patch, text: str) -> np.ndarray:
    """A sum of Gaussians, five numbers each: height, centre, deviations; off the middle, on both sides."""
    total = np.zeros((p.y.size, p.x.size), np.float32)
    for height, cx, cy, sx, sy in points(text, 5).tolist():
        across = sum(ridge(p.x - c, sx * 2**0.5) for c in {cx, -cx})
        total += height * across * ridge(p.y - cy, sy * 2**0.5)
    return total


def mix(a: np.ndarray, b: np.ndarray | tuple[float, ...], alpha: np.ndarray) -> np.ndarray:
    return a + (np.asarray(b, np.float32) - a) * alpha[..., None]


def stain(amount: np.ndarray, *rgb: float) -> np.ndarray:  # by how much a pigment darkens each colour
    return np.exp(-amount[..., None] * np.array(rgb, np.float32))


def resize(field: np.ndarray, height: int, width: int) -> np.ndarray:
    if field.ndim == 3:
        return np.stack([resize(c, height, width) for c in np.moveaxis(field, 2, 0)], 2)
    image = Image.fromarray(np.ascontiguousarray(field, np.float32))
    return np.asarray(image.resize((width, height), Image.Resampling.BICUBIC))


def blur(field: np.ndarray, sigma: float) -> np.ndarray:
    """Gaussian blur of a whole square picture, sigma in eye distances."""
    n, m = field.shape[0], field.shape[0] // 8
    s = np.pi * sigma * UNIT * n
    f = (np.exp(-2 * (s * q(n + 2 * m)) ** 2) for q in (np.fft.fftfreq, np.fft.rfftfreq))
    out = np.fft.irfft2(np.fft.rfft2(np.pad(field, m, mode="edge")) * np.outer(*f), [n + 2 * m] * 2)
    return out[m : m + n, m : m + n].astype(np.float32)


def noise(rng: Rng, p: Patch, cell_x: float, cell_y: float | None = None) -> np.ndarray:
    """Smooth noise over a patch, about ±1, cells in eye distances."""
    h, w, step = p.y.size, p.x.size, float(p.x[0, 1] - p.x[0, 0])
    grid = [max(2, round(n / max(1, c / step))) for n, c in ((h, cell_y or cell_x), (w, cell_x))]
    return resize(rng.standard_normal(grid), h, w)


# Proportions of real faces, as curves of |x| or of y.
MIDDLE = 0.25  # the outline is a radius as a function of the angle around (0, MIDDLE)
EGG = "0 -1.64 .6 -1.5 1.06 -.5 1.07 0 1.035 .42 .95 .8 .83 1.1 .685 1.34 .51 1.54 .35 1.69 .18 1.78 0 1.81"
X, Y = (points(EGG, 2) - [0, MIDDLE]).T
RADIUS = spline(np.arctan2(X, -Y), np.hypot(X, Y), 0)
LID_UP = curve(".268 .02  .3 -.02  .36 -.067  .45 -.099  .54 -.102  .64 -.078  .7 -.044  .732 -.02")
LID_LOW = curve(".268 .02  .31 .034  .4 .052  .52 .064  .62 .049  .69 .014  .732 -.02")
CREASE = curve(".22 -.02  .3 -.1  .42 -.168  .55 -.176  .68 -.135  .79 -.05")
BROW = curve(".15 -.272  .3 -.29  .5 -.325  .68 -.335  .82 -.28  .9 -.22")  # lower edge
BROW_HEIGHT = curve(".15 .08  .3 .1  .5 .095  .68 .07  .82 .045  .9 .015")
LIP_TOP = curve("0 .962  .05 .951  .11 .942  .2 .966  .3 1.016  .37 1.055  .405 1.072")
SEAM = curve("0 1.092  .06 1.085  .15 1.078  .25 1.084  .34 1.08  .405 1.072")
LIP_END = curve("0 1.252  .1 1.247  .2 1.217  .3 1.157  .36 1.107  .405 1.072")
NOSE = curve("-.5 0  -.2 .025  .05 .09  .3 .19  .48 .26  .57 .265  .65 .235  .73 .17  .8 .09  .9 .02  1 0", 0)
NOSE_WIDTH = curve("-.5 .3  -.2 .2  .05 .15  .3 .145  .5 .16  .65 .175  1.2 .2", 0)
FOLD = curve(".5 .27  .65 .35  .85 .43  1.05 .5  1.3 .52")
NECKLINE = curve("0 2.93  .5 2.83  .9 2.6  1.15 2.3  1.3 1.9  4 1.6")
SHOULDER = curve("0 1.9  .66 2.1  .85 2.25  1.3 2.42  2 2.58  2.5 2.75  2.8 3  3 3.6  3.4 5")
NECK = curve(".5 .72  1.3 .69  1.7 .645  2 .645  2.2 .7  2.4 .9  3.6 2.2")
# Hair falls from a parting: x y z of its innermost and outermost strand on the right; the left is shorter.
HAIR = """-.2 -1.03 .9  .14 -1.1 .98  .58 -.92 .85  .88 -.5 .66  1 0 .55
     1.01 .55 .5  .93 1.1 .5  .9 1.65 .45  .93 2.2 .42  .84 2.9 .4
    -.13 -1.85 .42  .34 -1.92 .38  .88 -1.72 .22  1.27 -1.12 0  1.43 -.4 -.1
     1.5 .3 -.1  1.55 1 0  1.62 1.7 0  1.62 2.35 0  1.42 3.15 0"""
BROWN = points("0 .008 .004 .003  .25 .04 .017 .009  .5 .135 .058 .027  .78 .42 .23 .12  1 .9 .7 .5", 4).T
# Heights on the egg of the head: nose, brow ridge and forehead, eyes, cheeks, mouth, chin, philtrum.
FEATURES = """.065 0 .6 .12 .12  .14 .182 .63 .066 .075  .07 .5 -.33 .3 .1  .05 0 -.8 .6 .35
    -.16 .4 -.02 .2 .16  -.045 .2 -.06 .08 .13  .115 .5 -.02 .17 .115  .07 .68 .4 .24 .2  -.06 .78 .95 .18 .3
    .11 0 1.06 .34 .2  -.018 .45 1.1 .05 .07  .075 0 1.6 .24 .15  -.045 0 1.345 .24 .065
    -.022 0 .85 .035 .07  .016 .085 .86 .03 .08"""
BLOOD = ".5 .62 .48 .26 .2  .6 0 .6 .16 .12  .3 0 1.6 .25 .15  .3 .42 .12 .2 .07"
FRECKLED = "1 .5 .38 .3 .16  .8 0 .4 .2 .2  .4 0 -.6 .6 .2"


def rho(p: Patch) -> np.ndarray:  # 0 in the middle of the head, 1 on its outline
    return np.hypot(p.x, p.y - MIDDLE) / RADIUS(np.arctan2(np.abs(p.x), MIDDLE - p.y))


def head_relief(p: Patch) -> np.ndarray:
    a = np.abs(p.x)
    z = 1 - 0.68 * np.minimum(rho(p), 1.2) ** 3.3 + bumps(p, FEATURES)
    z += NOSE(p.y) * np.exp(-((a / NOSE_WIDTH(p.y)) ** 2))
    z -= 0.017 * ridge(a - FOLD(p.y), 0.06) * ridge(p.y - 0.8, 0.22)
    upper = np.clip((p.y - LIP_TOP(a)) / (SEAM(a) - LIP_TOP(a) + 1e-3), 0, 1)
    lower = np.clip((p.y - SEAM(a)) / (LIP_END(a) - SEAM(a) + 1e-3), 0, 1)
    roll = 0.05 * np.sin(3.14 * upper**0.8) ** 1.5 + 0.08 * np.sin(3.14 * lower**0.75) ** 1.3
    return z + roll * smooth(0.41, 0.12, a)


def body_relief(p: Patch, rng: Rng) -> np.ndarray:
    """Neck, collar bones and shoulders, with folds of the cloth."""
    a = np.abs(p.x)
    neck = -0.74 + 0.68 * np.sqrt(1 - np.minimum(a / NECK(p.y), 0.99) ** 2.2)
    chest = -0.62 + 0.55 * np.sqrt(np.clip(p.y - SHOULDER(a) + 0.02, 0, 3)) - 0.03 * a**2
    z = np.log(np.exp(14 * neck) + np.exp(14 * chest)) / 14  # a soft maximum
    z += 0.035 * ridge(a - curve("1.5 .55  2.2 .32  2.75 .1")(p.y), 0.075) * ridge(p.y - 2.2, 0.36)
    bone = ridge(p.y - curve("0 2.78  .2 2.7  .6 2.62  1.1 2.52  1.7 2.5")(a), 0.06) * smooth(0.06, 0.18, a)
    z += 0.055 * bone * smooth(1.5, 0.9, a) - bumps(p, ".07 0 2.7 .09 .08")
    lean = 3.0 * a + 2.2 * (p.y - 2.5) + 0.7 * noise(rng, p, 1.1)
    return z + 0.035 * np.sin(1.7 * lean) * smooth(0.0, 0.35, p.y - NECKLINE(a))


def light(z: np.ndarray, scene: np.ndarray, veil: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Diffuse [h,w,3] and glossy [h,w] light on a height field that the scene shades and a veil dims: key,
    cool fill from the right, sky. Red light creeps round edges, as in skin."""
    gy, gx = np.gradient(z, 1 / (len(z) * UNIT))
    n = np.stack([-gx, -gy, np.ones_like(z)], 2)
    n /= np.linalg.norm(n, axis=2, keepdims=True)
    worst, flat = np.full_like(z, -1), np.hypot(*LIGHT[:2])
    for far in np.geomspace(0.03, 1.5, 40):  # march towards the light
        dx, dy = (round(float(c / flat * far) * UNIT * len(z)) for c in LIGHT[:2])
        worst = np.maximum(worst, (np.roll(scene, (-dy, -dx), (0, 1)) - scene) / far - LIGHT[2] / flat)
    passes = smooth(0.55, -0.4, worst) * veil
    wrap = np.array([0.42, 0.26, 0.2])
    key = np.clip(((n @ LIGHT)[..., None] + wrap) / (1 + wrap), 0, None) * np.array([1.28, 1.17, 1.04])
    key *= np.stack([blur(passes, s) for s in (0.045, 0.036, 0.03)], 2)
    near = np.minimum(scene, z + 0.3)
    ao = stain(sum(np.clip((blur(near, s) - z) / s, 0, 0.8) for s in (0.05, 0.12, 0.3)), 1.0, 1.13, 1.17)
    sky = (0.62 - 0.38 * n[..., 1:2]) * np.array([0.30, 0.34, 0.40])
    fill = np.clip(n @ np.array([0.82, 0.05, 0.56]), 0, 1)[..., None] * np.array([0.17, 0.165, 0.18])
    h = np.clip(n @ HALF, 0, 1)
    return (key + (sky + fill) * ao) * (0.55 + 0.45 * ao), (h**38 * 0.8 + h**9 * 0.22) * passes * ao[..., 1]


class Strands:  # opaque, at twice the resolution of a patch: red holds the tone, green the cover
    def __init__(self, p: Patch) -> None:
        self.step = float(2 / (p.x[0, 1] - p.x[0, 0]))
        self.zero = np.array([p.x[0, 0], p.y[0, 0]]) - 1 / self.step
        self.image = Image.new("RGB", (2 * p.x.size, 2 * p.y.size))
        self.draw = ImageDraw.Draw(self.image)

    def line(self, path: np.ndarray, width: float | np.ndarray, gain: float = 1) -> None:
        """path [K,3]: x, y and a tone in 0..1; one width or K of them."""
        dots = ((path[:, :2] - self.zero) * self.step).tolist()
        tones = (np.clip(path[:, 2] * gain, 0, 1) * 255).astype(int).tolist()
        wide = np.broadcast_to(np.rint(np.maximum(1, width * self.step)).astype(int), len(path)).tolist()
        for a, b, t, w in zip(dots, dots[1:], tones, wide, strict=False):
            self.draw.line((*a, *b), fill=(t, 255, 0), width=w)

    def result(self) -> tuple[np.ndarray, np.ndarray]:
        """Colours [H,W,3], from black by brown to blond, and cover [H,W]."""
        small = np.asarray(self.image.reduce(2))
        cover = small[..., 1].astype(np.float32) / 255
        tone = small[..., 0].astype(np.float32) / 255 / np.maximum(cover, 1e-3)
        return np.stack([np.interp(tone, BROWN[0], c).astype(np.float32) for c in BROWN[1:]], 2), cover


def guide(p: np.ndarray, side: int, count: int) -> np.ndarray:
    """A guide strand [count,3]; on the left it is mirrored, but starts at the same parting."""
    if side < 0:
        p = np.concatenate([p[:1], p[1:] * [-1, 1, 1]])
        p[1, :2] = (p[0, :2] + p[2, :2]) / 2 - [0, 0.07]
    t, q = np.linspace(0, 1, len(p)), np.linspace(0, 1, count)
    path = np.stack([spline(t, p[:, i])(q) for i in range(3)], 1)
    wide = np.pad(path, ((9, 9), (0, 0)), mode="reflect", reflect_type="odd")
    return np.stack([np.convolve(wide[:, i], np.hanning(21)[1:-1] / 10, "valid") for i in range(3)], 1)


def lock(rng: Rng, ends: list[np.ndarray], s: float, count: int, stray: float) -> Iterator[np.ndarray]:
    """The strands of one lock, [K,3] of x, y and tone: they wave together and gather towards the tip. As in
    Kajiya and Kay's hair, light falls across a fibre, and its sheen lies where the fibre turns from it."""
    wide, reach, tilt = rng.uniform(0.03, 0.08), rng.uniform(0.8, 1.0), rng.normal(0, 0.13)
    phase = 0.55 * s + rng.normal(0, 0.06)
    for u in rng.uniform(-1, 1, count):
        f = rng.uniform()  # where along its guide a strand is sampled, lest the pieces of a lock line up
        t = (np.arange(len(ends[0]) - 1) + f) / (len(ends[0]) - 1)
        a, b = ((1 - f) * g[:-1] + f * g[1:] for g in ends)
        wave = smooth(0.3, 0.85, t) * np.sin(2 * np.pi * (2.6 * t + phase))
        across = s + wide * u * (1.1 - 0.95 * t**2.5) + 0.012 * rng.standard_normal() * t**2 + 0.03 * wave
        path = a + (b - a) * across[:, None]
        path[:, 0] += 0.07 * wave
        path[:, :2] += np.outer(0.007 * stray * np.sin(rng.uniform(4, 9) * t + f * 7), rng.standard_normal(2))
        path[:, 2] += 0.12 * (1 - u * u) + 0.08 * wave
        keep = int(len(t) * (reach - 0.06 * abs(u) - 0.2 * rng.uniform(0, 1) ** 2.5))
        d = np.gradient(path, axis=0)
        d /= np.linalg.norm(d, axis=1, keepdims=True)
        sheen = np.clip(1 - (d @ HALF + tilt) ** 2, 0, 1) ** 12
        tone = 0.05 + 0.2 * np.sqrt(1 - (d @ LIGHT) ** 2) + 0.43 * sheen
        tone = np.convolve(np.pad(tone, 3, mode="edge"), np.full(7, 1 / 7), "valid")
        tone *= smooth(-0.06, 0.09, t) * smooth(1.25, 0.7, t)
        tone *= (0.5 + 0.5 * np.sqrt(1 - u * u)) * rng.uniform(0.65, 1.3)
        yield np.concatenate([path[:keep, :2], tone[:keep, None]], 1)


def front_hair(rng: Rng, size: int) -> tuple[np.ndarray, np.ndarray]:
    strands, ends = Strands(patch(size)), points(HAIR, 3).reshape(2, -1, 3)
    strands.line(ends[:, 0] * [[1, 0.95, 0.06], [1, 1.035, 0.06]], 0.07)  # the ground of the parting
    # a dark layer that covers, the locks, looser bright ones, strays: locks, strands of each, gain, width
    layers = points("46 90 .6 .006  60 90 1 .0026  36 60 1.15 .0026  170 1 1 .0017", 4).tolist()
    for side in (-1, 1):
        between = [guide(p, side, 72) for p in ends]
        for locks, count, gain, width in layers:
            for s in rng.permutation(np.linspace(0.01, 1.01, int(locks))).tolist():
                s += rng.normal(0, 0.01)
                turn = np.clip(0.9 - 0.75 * (s if side > 0 else 1 - s), 0, 1)  # from the light
                for path in lock(rng, between, s, int(count), 8 if count == 1 else 1):
                    taper = smooth(1.08, 0.88, np.linspace(0, 1, len(path)))
                    strands.line(path, width * taper, gain * (0.75 + 0.4 * np.sin(np.pi * turn)))
        for i, n in rng.integers((0, 5), (26, 14), (240, 2)):  # down on the hairline
            t = np.linspace(0, 1, n)[:, None]
            down = between[0][i : i + n, :2] - rng.uniform(-0.02, 0.06) * t**1.5 * [side, -1]
            strands.line(np.hstack([down, 0.22 + 0.2 * t]), 0.0012)
    return strands.result()


def back_hair(rng: Rng, size: int) -> tuple[np.ndarray, np.ndarray]:
    strands, y = Strands(patch(size)), np.linspace(0.6, 2.9, 30)
    for x in rng.uniform(-1.42, 1.42, 6500):
        bend = x + 0.05 * np.sin(2.2 * y + 3 * x) + 0.02 * np.sin(rng.uniform(2, 5) * y + rng.uniform(0, 7))
        tone = rng.uniform(0.05, 0.16) * (1 + 0.3 * np.sin(2 * y + 4 * x))
        strands.line(np.stack([bend, y, tone], 1)[: rng.integers(24, 31)], 0.006)
    return strands.result()


def short_hairs(p: Patch, side: int, rng: Rng) -> tuple[np.ndarray, np.ndarray]:
    """Lashes and brow hairs of one side; they taper to their tips."""
    strands, t = Strands(p), np.linspace(0, 1, 12)[:, None]
    taper = (1 - t[:, 0] ** 1.6) * np.minimum(0.5 + 4 * t[:, 0], 1)
    for upper, count, length in ((True, 130, 0.07), (False, 48, 0.034)):
        for x in rng.uniform(0.30, 0.735, count):
            tuft = 0.008 * np.sin(x * 260) + rng.normal(0, 0.008)  # lashes gather in little tufts
            root = np.array([x, float(LID_UP(x) if upper else LID_LOW(x) + 0.012)])
            out = (x + tuft - 0.45) * (3.4 if upper else 2.4)
            go = np.array([out, -1.0 if upper else 0.9]) / np.hypot(out, 1)
            reach = length * rng.uniform(0.55, 1.1) * (0.5 + 0.6 * smooth(0.35, 0.68, x))
            droop = np.array([2.2 * np.clip(out, -0.5, 0.5), 0.42 if upper else -0.1])
            path = root + reach * (go * t + droop * t * (1 - t)) + np.array([tuft, 0]) * t * t
            strands.line(np.hstack([path * [side, 1], 0.03 + 0.1 * t]), (0.0048 if upper else 0.0028) * taper)
    for x in 0.15 + 0.74 * rng.beta(1.35, 1.15, 740):
        k = float(np.clip(rng.normal(0.48, 0.27), -0.1, 1.1))
        root = np.array([x, float(BROW(x) - BROW_HEIGHT(x) * k) - (0.012 if side > 0 else 0)])
        steep = rng.normal(0.55, 0.14) - 0.7 * k + 1.5 * smooth(0.4, 0.16, x) - 0.95 * smooth(0.35, 0.8, x)
        reach = rng.uniform(0.045, 0.09) * (1 - 0.35 * smooth(0.7, 0.93, x))
        path = root + reach * (np.array([1, -steep]) / np.hypot(1, steep) * t + np.array([0, 0.22]) * t * t)
        path = np.hstack([path * [side, 1], rng.uniform(0.03, 0.3) + 0.12 * t])
        strands.line(path, rng.uniform(0.0024, 0.0042) * taper)
    return strands.result()


def skin(p: Patch, rng: Rng) -> tuple[np.ndarray, np.ndarray]:
    """Albedo and gloss of bare skin: blood, freckles, pores lit from one side."""
    blood = bumps(p, BLOOD) + 0.1 * noise(rng, p, 0.3) + 0.05 * noise(rng, p, 0.06)
    brown = bumps(p, ".5 .45 -.16 .25 .08  .35 .3 .1 .1 .06") + 0.06 * noise(rng, p, 0.12)
    spots = sum(smooth(1.6, 2.5, noise(rng, p, c)) for c in (0.011, 0.016, 0.026))
    brown += 0.8 * spots * (0.15 + bumps(p, FRECKLED))
    grain = 0.4 * sum(noise(rng, p, 0.0043 * c) for c in (1, 1.37, 1.93, 2.7))
    pores = np.minimum(grain - np.roll(grain, (2, 2), (0, 1)), 1.2)
    albedo = stain(blood, 0.03, 0.30, 0.26) * stain(brown, 0.12, 0.24, 0.34) * (1 + 0.032 * pores)[..., None]
    gloss = (0.11 + bumps(p, ".075 0 .3 .2 .6  .053 0 -.6 .5 .3")) * np.clip(1 + 0.3 * pores, 0.1, 2)
    return albedo * np.array([0.60, 0.335, 0.225], np.float32), gloss.astype(np.float32)


def paint_mouth(p: Patch, albedo: np.ndarray, gloss: np.ndarray, rng: Rng) -> None:
    a = np.abs(p.x)
    seam, ragged = SEAM(a) + 0.004 * np.sin(5 * p.x + 1), 0.003 * noise(rng, p, 0.03)
    off = p.y - seam + 0.003 * noise(rng, p, 0.05)
    cover = smooth(-0.016, 0.02, LIP_END(a) - p.y + ragged) * smooth(0.412, 0.385, a)
    cover *= smooth(-0.014, 0.016, p.y - LIP_TOP(a) + ragged)
    fan = p.x * (1 - 0.4 * np.abs(off)) + 0.005 * noise(rng, p, 0.06) + 0.0015 * noise(rng, p, 0.015)
    layers = ((45, 0.4), (130, 0.5), (330, 0.45))
    crease = sum(w * np.interp(fan, np.linspace(-0.5, 0.5, n), rng.standard_normal(n)) for n, w in layers)
    crease = crease * smooth(0, 0.05, np.abs(off)) + 0.15 * noise(rng, p, 0.006)
    tint = np.array([0.44, 0.13, 0.12]) * np.where(off < 0, 0.80, 1.05)[..., None]
    albedo[:] = mix(albedo, tint * np.exp(0.17 * crease - 0.13)[..., None], 0.88 * cover)
    dark = 0.9 * ridge(off, 0.008 + 0.008 * ridge(a, 0.2)) * smooth(0.415, 0.37, a)
    dark += bumps(p, ".35 .402 1.072 .016 .014") + 0.35 * ridge(off, 0.035) * cover
    albedo *= stain(dark, 1.5, 2.1, 2.1)
    hole = np.hypot((a - 0.112) / 0.06, (p.y - 0.708 + 0.28 * (a - 0.112)) / 0.026)
    wing = ridge(np.hypot(a - 0.185, p.y - 0.63) / 0.105 - 1, 0.12) * smooth(0.2, 0.29, a)
    wing *= smooth(0.5, 0.6, p.y) * smooth(0.76, 0.70, p.y)
    dark = 1.9 * smooth(1.35, 0.55, hole) + 0.2 * wing + bumps(p, ".15 .11 .735 .1 .025")
    albedo *= stain(dark, 0.7, 1.05, 1.1)
    gloss *= (1 + cover * np.clip(1 + 1.5 * crease, -0.9, 4)) * (1 - ridge(off, 0.03) * cover)


def iris(r: np.ndarray, angle: np.ndarray, rng: Rng) -> np.ndarray:
    """Three rings of fibres, ever finer; r is 1 at the rim."""
    f = np.zeros_like(r)
    for count, twist, start in ((50, 0.06, -1), (120, 0.03, 0.2), (260, -0.02, 0.35)):
        turn, knots = np.linspace(0, 2 * np.pi, count), rng.standard_normal(count)
        fibres = np.interp(angle + twist * np.sin(5 * r), turn, knots, period=2 * np.pi)
        f += 0.5 * fibres * smooth(start, start + 0.33, r)
    colour = mix(np.array([0.085, 0.115, 0.085]), (0.22, 0.115, 0.035), smooth(0.78, 0.46, r + 0.06 * f))
    bright = np.exp(0.55 * f + 0.2) * (1 - 0.85 * smooth(0.78, 1.02, r)) * smooth(0.415, 0.46, r + 0.012 * f)
    return colour * bright[..., None]


def paint_eye(p: Patch, side: int, albedo: np.ndarray, gloss: np.ndarray, rng: Rng) -> None:
    x = side * p.x
    up, low, cx, cy = p.y - LID_UP(x), LID_LOW(x) - p.y, p.x - side * 0.5 + 0.004, p.y + 0.022
    brow, crease = (BROW(x) - p.y) / BROW_HEIGHT(x), p.y - CREASE(x)
    brow = smooth(-0.35, 0.35, brow) * smooth(1.35, 0.6, brow) * smooth(0.12, 0.32, x) * smooth(0.93, 0.8, x)
    near = smooth(0.24, 0.30, x) * smooth(0.78, 0.71, x)
    albedo *= stain(0.5 * brow, 0.8, 1, 1.1) * stain(1.1 * ridge(crease, 0.011) * near, 0.6, 0.9, 0.9)
    albedo *= stain(smooth(0, 0.03, crease) * smooth(0.02, -0.01, up) * near, 0.12, 0.21, 0.21)
    albedo *= stain((5 * ridge(up + 0.002, 0.009) + ridge(low + 0.024, 0.011)) * near, 0.4, 0.5, 0.5)
    albedo[:] = mix(albedo, (0.62, 0.36, 0.29), 0.5 * ridge(low + 0.01, 0.009) * near)  # wet rim
    inside = smooth(-0.004, 0.006, np.minimum(up, low)) * smooth(0.264, 0.271, x) * smooth(0.735, 0.729, x)
    veins = smooth(0.9, 1.6, noise(rng, p, 0.05, 0.012)) * smooth(0.12, 0.22, np.abs(x - 0.5))
    white = np.array([0.52, 0.485, 0.46]) * stain(0.25 * veins + 6 * (x - 0.5) ** 2, 0.2, 0.8, 0.7)
    white = mix(white, (0.52, 0.25, 0.22), smooth(0.325, 0.285, x + 0 * p.y))
    r = np.hypot(cx, cy) / 0.106
    ball = mix(white, iris(r, np.arctan2(cy, cx), rng), smooth(1.05, 0.95, r))
    caustic = smooth(0.2, 1.0, r) * smooth(1.1, 0.9, r) * smooth(-0.06, 0.06, cx + cy)
    shade = np.exp(-1.7 * np.exp(-np.maximum(up, 0) / 0.032)) * (1 + 0.55 * caustic)
    lean = np.abs(cx + 0.04 + 0.1 * cy)  # catchlight: a window of two panes, its echo, tears on the lower lid
    pane = smooth(0.026, 0.02, lean) * smooth(0.024, 0.018, np.abs(cy + 0.032)) * smooth(0, 0.02, up)
    wet = smooth(0.003, 0.0, np.abs(low - 0.006)) * smooth(0.3, 0.4, x) * smooth(0.7, 0.6, x)
    spark = pane * (0.9 - 0.63 * smooth(0.004, 0.002, lean)) + 0.2 * wet
    spark += 0.25 * ridge(cx - 0.045, 0.018) * ridge(cy - 0.05, 0.012)
    ball = mix(ball * shade[..., None], (2.6, 2.9, 3.2), np.clip(spark, 0, 1))
    albedo[:] = mix(albedo, ball, inside)
    gloss *= 1 - inside


def paint_face(size: int, rng: Rng, albedo: np.ndarray, gloss: np.ndarray) -> None:
    for side in (-1, 1):
        p = patch(size, side * 0.575 - 0.475, -0.6, side * 0.575 + 0.475, 0.3)
        paint_eye(p, side, albedo[p.at], gloss[p.at], rng)
        colours, cover = short_hairs(p, side, rng)
        albedo[p.at] = mix(albedo[p.at], colours, cover * (0.82 + 0.16 * smooth(-0.26, -0.2, p.y)))
        gloss[p.at] *= 1 - cover
    p = patch(size, -0.6, 0.4, 0.6, 1.4)
    paint_mouth(p, albedo[p.at], gloss[p.at], rng)


def cloth(p: Patch, rng: Rng) -> np.ndarray:
    """Plain weave in fine wool, with a ribbed collar."""
    a = np.abs(p.x)
    slant = np.gradient(NECKLINE(a), float(p.x[0, 1] - p.x[0, 0]), axis=1).clip(-2, 2)
    deep = (p.y - NECKLINE(a)) / np.hypot(1, slant)
    warp, hue = 0.03 * noise(rng, p, 0.5), rng.standard_normal(1024)
    u, v = (p.x + warp) / 0.014, (p.y + 0.10 * a + warp) / 0.014
    over = (np.floor(u) + np.floor(v)) % 2 > 0
    thread = np.sin(np.pi * (np.where(over, u, v) % 1))
    hue = hue[np.floor(np.where(over, u, v)).astype(int) % 1024]
    weave = (0.45 + 0.65 * thread**0.7) * np.exp(0.09 * hue + 0.05 * noise(rng, p, 0.01))
    rib = (0.75 + 0.35 * np.sin(2 * np.pi * (p.x + 0.01 * warp) / 0.035)) * (0.6 + 0.4 * thread)
    weave = np.where(deep < 0.15, rib, weave) * (1 - 0.6 * ridge(deep - 0.155, 0.014))
    return (1.15 * weave[..., None] * np.array([0.018, 0.062, 0.078])).astype(np.float32)


def portrait(size: int) -> np.ndarray:
    """The whole picture, [size,size,3] bytes of sRGB."""
    rng = np.random.default_rng(7)
    full, base = patch(size), patch(min(size, 1536))  # relief and light are smooth: a smaller field will do
    n, a = base.y.shape[0], np.abs(full.x)
    (colour, cover), back = front_hair(rng, size), back_hair(rng, size)
    glow = ridge(full.x + 0.5, 2.6) * ridge(full.y - 0.2, 2.8)
    brush = sum(h * noise(rng, full, c, 0.7 * c) for c, h in ((1.4, 0.04), (0.5, 0.02), (0.12, 0.01)))
    wall = (0.1 + 0.38 * glow + brush * (0.3 + glow))[..., None] * np.array([0.86, 0.93, 1.0], np.float32)
    head, body = head_relief(base), body_relief(base, rng)
    scene, hair = np.where(rho(base) < 1, head + 0.05, body), resize(cover, n, n)
    shift = tuple(round(-0.1 * n * UNIT * c) for c in (LIGHT[1], LIGHT[0]))
    veil = np.maximum(blur(np.roll(hair, shift, (0, 1)), 0.05), 1.2 * blur(hair, 0.018)).clip(0, 1)

    def shine(z: np.ndarray, around: np.ndarray, albedo: np.ndarray, gloss: np.ndarray) -> np.ndarray:
        diffuse, glossy = (resize(v, size, size) for v in light(z, around, 1 - 0.8 * veil))
        return albedo * diffuse + (gloss * glossy)[..., None]

    albedo, gloss = skin(full, rng)
    dressed = smooth(-0.004, 0.004, full.y - NECKLINE(a))
    edge = np.maximum(np.minimum(NECK(full.y) - a, full.y), full.y - SHOULDER(a))
    painted = shine(body, scene, mix(albedo, cloth(full, rng), dressed), gloss * (1 - dressed))
    image = mix(mix(wall, *back), painted, smooth(-0.006, 0.006, edge))
    paint_face(size, rng, albedo, gloss)
    image = mix(image, shine(head, head, albedo, gloss), smooth(1.006, 0.992, rho(full)))
    image = 1 - np.exp(-1.9 * np.maximum(mix(image, colour, cover), 0))
    return (image ** (1 / 2.2) * 255 + 0.5).astype(np.uint8)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--size", type=int, default=4096)
    parser.add_argument("--out", type=Path, default=Path("assets/portrait-4k.jpg"))
    args = parser.parse_args()
    Image.fromarray(portrait(args.size)).save(args.out, quality=92, optimize=True)


if __name__ == "__main__":
    main()
