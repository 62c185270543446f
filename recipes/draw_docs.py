"""The figures of docs/how-it-works.md, all from the drawn portrait.

python recipes/draw_docs.py [OUT_FOLDER]                 docs/figures
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from atw_nodes.animate import animate, animate_all
from atw_nodes.checkpoints import Checkpoint, load_checkpoint
from atw_nodes.faces import Face, find
from atw_nodes.generation import Low, generate
from atw_nodes.images import read_photo
from atw_nodes.pyramid import downsample, to_float, upsample
from atw_nodes.reswarp import Residuals, ReswarpConfig, decompose, residual_gate, reswarp, warped
from atw_nodes.several import share
from atw_nodes.sheets import arrows_view, contact_sheet, frame_view, motion_view, residual_view
from atw_nodes.signals import curve
from atw_nodes.tiles import Plane, canonical
from atw_nodes.types import FaceFrame
from atw_nodes.warp import feather_picture

ROOT = Path(__file__).resolve().parents[1]
SHOWN = 300  # side of a picture in a sheet
MOUTH, LIPS = (0.32, 0.62, 0.36), (0.385, 0.69, 0.23)  # left, top, side in the head-shot frame


@dataclass(frozen=True)
class Scene:
    """The portrait, halved, and a smile on it."""

    photo: Tensor
    face: Face
    model: Checkpoint
    parts: Residuals
    low: Low
    final: Tensor

    def view(self, image: Tensor, side: int = 1024) -> Tensor:
        """The face's frame, upright."""
        return canonical(image, self.face.frame, side)


def scene() -> Scene:
    photo = read_photo(ROOT / "assets" / "portrait-4k.jpg").pixels
    photo = (downsample(photo, (2048, 2048)) * 255).round().byte()
    face, model = find(photo)[0], load_checkpoint()
    signal = model.signal.toward("smiling", 1.0, face.units)
    parts = decompose(photo, face.frame, model.generator.config.size)
    low = next(generate(model, parts, signal))
    return Scene(photo, face, model, parts, low, next(reswarp(parts, low.motion, low.refined)))


def mouth(image: Tensor, box: tuple[float, float, float] = MOUTH) -> Tensor:
    """A crop of the mouth of a frame's view."""
    x, y, side = (round(v * image.shape[-1]) for v in box)
    return image[..., y : y + side, x : x + side]


def save(page: Tensor, out: Path, quality: int = 85) -> None:
    Image.fromarray(page.permute(1, 2, 0).numpy()).save(out, quality=quality, optimize=True)
    print(f"{out}  {out.stat().st_size // 1000} kB", flush=True)


def sheet(out: Path, titles: Sequence[str], *rows: Sequence[Tensor], side: int = SHOWN) -> None:
    save(contact_sheet(rows, titles, side), out)


def heat(amount: Tensor) -> Tensor:
    """[H,W] from 0 to 1 -> [1,3,H,W]: white to dark red."""
    a = amount.clamp(0, 1)[None, None]
    return torch.cat([1 - 0.4 * a, 1 - a, 1 - a], 1)


def steps(s: Scene, out: Path) -> None:
    """The path of one frame."""
    shown, small = s.view(s.final), s.low.refined
    moved = s.view(next(warped(s.parts, s.low.motion)))
    first = [s.view(s.photo), s.parts.low, motion_view(s.low.motion.field), s.low.coarse, small, shown]
    titles = ["photo I", "L = down(I)", "motion F", "coarse, L moved", "refined R", "frame"]
    second = [x if x.shape[-1] > 200 else upsample(x, (1024, 1024)) for x in first]
    second[2] = to_float(arrows_view(s.low.motion.field[0], s.view(s.photo), 1024, 32)[None])
    second = [mouth(x) for x in second]
    sheet(out / "steps.jpg", titles, first, second, side=232)
    added = to_float(shown) - moved
    third = [residual_view(s.parts.residual()), moved, (added * 4 + 0.5).clamp(0, 1), shown]
    names = ["residual I - up(L), x2", "W, the photo moved", "correction C, x4", "frame W + C"]
    sheet(out / "residuals.jpg", names, third, [mouth(x) for x in third], side=264)


def where(s: Scene, out: Path) -> None:
    """The frame, its mask, and what changed: nothing outside."""
    change = (to_float(s.final) - to_float(s.photo)).abs().amax(1)[0] * 4
    mask = feather_picture(s.face.frame)[None, None].expand(1, 3, -1, -1)
    seen = frame_view(s.photo, s.face.frame)[None]
    titles = ["the frame, eyes at their places", "its soft mask m", "|frame - photo|, x4"]
    sheet(out / "frame.jpg", titles, [seen, mask, heat(change)])


def strengths(s: Scene, out: Path) -> None:
    """A motion scaled from nothing to more than all."""
    weights = [0.0, 0.25, 0.5, 0.75, 1.0, 1.25]
    signal = s.model.signal.toward("smiling", 1.0, s.face.units)
    made = animate(s.photo, s.model, signal, weights, s.face.frame)
    row = [mouth(s.view(x)) for x in made]
    sheet(out / "strengths.jpg", [f"{w:g}" for w in weights], row, side=200)


def curves(out: Path) -> None:
    """The four ways an expression comes and goes."""
    wide, high, gap, fine = 250, 110, 24, 3
    names = ("linear", "ease", "pulse", "pingpong")
    width, height = len(names) * (wide + gap) + gap, high + 3 * gap
    page = Image.new("RGB", (width * fine, height * fine), "white")
    draw, font = ImageDraw.Draw(page), ImageFont.load_default(16 * fine)
    for i, name in enumerate(names):
        x, y = (gap + i * (wide + gap)) * fine, 2 * gap * fine
        draw.rectangle([x, y, x + wide * fine, y + high * fine], outline=(200, 200, 200), width=fine)
        draw.text((x, 14 * fine), name, fill="black", font=font)
        line = [(x + wide * fine * k / 96, y + high * fine * (1 - v)) for k, v in enumerate(curve(name, 97))]
        draw.line(line, fill=(190, 60, 40), width=3 * fine, joint="curve")
    page.resize((width, height), Image.Resampling.BOX).save(out / "curves.png", optimize=True)
    print(out / "curves.png", flush=True)


def gate(s: Scene, out: Path) -> None:
    """Where the refined image shows what the photo has not, and what dropping its detail there does."""
    model = load_checkpoint("atw-au-128")
    signal = model.signal.vector({"AU25": 0.8, "AU26": 0.7})
    parts = decompose(s.photo, s.face.frame, model.generator.config.size)
    low = next(generate(model, parts, signal))
    moved = canonical(next(warped(parts, low.motion)), s.face.frame, 1024)
    kept = residual_gate(low.refined - downsample(moved, (128, 128)))
    configs = (ReswarpConfig(gate=False), ReswarpConfig(gate=True))
    frames = [next(animate(s.photo, model, signal, None, s.face.frame, c)) for c in configs]
    row = [low.refined, heat(1 - kept[0, 0]), *(s.view(x) for x in frames)]
    row = [mouth(upsample(x, (1024, 1024)) if x.shape[-1] < 200 else x, LIPS) for x in row]
    sheet(out / "gate.jpg", ["refined R", "dropped", "aligned, no gate", "aligned, gate"], row, side=264)


def units(s: Scene, out: Path) -> None:
    """The basis: what one unit of an action unit moves, and what comes of it."""
    model, names = load_checkpoint("atw-au-128"), ("AU01", "AU04", "AU12", "AU15", "AU26", "AU45")
    parts = decompose(s.photo, s.face.frame, model.generator.config.size)
    with torch.no_grad():
        basis = model.generator.basis(parts.low)[0]
    index = [model.signal.names.index(n) for n in names]
    full = 0.5 * float(basis[index].norm(dim=1).max())
    colours = [motion_view(-basis[i : i + 1], full) for i in index]
    made = [
        s.view(next(animate(s.photo, model, model.signal.vector({n: 1.0}), None, s.face.frame)))
        for n in names
    ]
    sheet(out / "units.jpg", names, colours, made, side=224)


def faces(s: Scene, out: Path) -> None:
    """Two people so close that their frames overlap."""
    half = (downsample(s.photo, (1024, 1024)) * 255).round().byte()[..., 230:794]
    photo = torch.cat([half, half.flip(-1)], -1)
    both = sorted(find(photo), key=lambda f: f.frame.corners()[0][0])
    frames = [f.frame for f in both]
    signals = [s.model.signal.preset("smiling", amount) for amount in (1.0, 0.0)]
    made = next(animate_all(photo, s.model, signals, frames))
    pictures = [frame_view(photo, *frames, longest=2048)[None], shares(frames), made]
    titles = ["two frames, overlapping", "whose photo it is", "one smiles, one stays the photo"]
    page = contact_sheet([[p[..., 60:800, :] for p in pictures]], titles, 420)
    empty = (page == 255).all(0).all(1)
    empty[:28] = False  # the titles
    save(page[:, ~empty], out / "faces.jpg")


def shares(frames: Sequence[FaceFrame]) -> Tensor:
    """[1,3,H,W]: each face's share times its mask, one in orange, one in blue."""
    h, w = frames[0].height, frames[0].width
    planes, at = [Plane(f, torch.float32, torch.device("cpu")) for f in frames], (0, 0, w, h)
    picture = torch.ones(1, 3, h, w)
    for k, tint in enumerate(((0.0, 0.45, 1.0), (1.0, 0.4, 0.0))):
        part = share(planes[k], [planes[1 - k]], at, planes[k].points(at)) * feather_picture(frames[k])
        picture -= part * torch.tensor(tint)[None, :, None, None]
    return picture.clamp(0, 1)


@torch.no_grad()
def main() -> None:
    out = Path(sys.argv[1]) if len(sys.argv) > 1 else ROOT / "docs" / "figures"
    out.mkdir(parents=True, exist_ok=True)
    s = scene()
    for draw in (steps, where, strengths, gate, units, faces):
        draw(s, out)
    curves(out)


if __name__ == "__main__":
    main()
