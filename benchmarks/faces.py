"""How well the face network sees, on people it was never trained on and on photos from elsewhere.

    python benchmarks/faces.py DATA/faces [--outside FILE.npz] [--sheet FILE.png] [--markdown FILE]

Scenes: held-out people cut out by their mattes and put on photos without people, 1024 x 768, one to four a
scene, 40 to 500 pixels across a face, rolled by up to 30 degrees, a third of them dark, blurred or saved as a
bad JPEG. Truth: the data's own landmarks, moved alike. A find counts when its eyes' middle lies within half
an eye distance of the truth. Errors are in percent of the eye distance. Units: against what was measured
between a person's two photos, and against the FACS puppet's intensities.

--outside: photos with landmarks by another detector, as written by --gather JUDGE (needs scikit-image;
``JUDGE landmarks IMAGE OUT.npy`` must write [478,2] pixels).
"""

from __future__ import annotations

import argparse
import io
import shlex
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image, ImageDraw
from torch import Tensor

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT / "recipes")]

import puppet  # noqa: E402
from dense import _base_units, learn  # noqa: E402
from face import HELD_OUT  # noqa: E402
from face_scenes import Actors  # noqa: E402

from atw_nodes.checkpoints import DEFAULT, load_checkpoint  # noqa: E402
from atw_nodes.data import read_faces  # noqa: E402
from atw_nodes.faces import Face, find, read  # noqa: E402
from atw_nodes.frames import EYE_X, EYE_Y, frame_from_landmarks  # noqa: E402
from atw_nodes.images import read_photo  # noqa: E402
from atw_nodes.signals import eye_centres  # noqa: E402
from atw_nodes.warp import identity_points  # noqa: E402

WIDTH, HEIGHT = 1024, 768
# Photos without people that the recipe does not use either
EMPTY = ("chessboard_RGB.png", "clock_motion.png", "phantom.png", "microaneurysms.png")


def empty_photos() -> list[Tensor]:
    """Photos without people, [1,3,H,W] uint8: scikit-image's and scikit-learn's, as far as installed."""
    folders = []
    try:
        from skimage import data

        folders.append(Path(data.__file__).parent)
    except ImportError:
        pass
    files = [f / n for f in folders for n in EMPTY]
    try:
        from sklearn import datasets

        files += [Path(datasets.__file__).parent / "images" / n for n in ("china.jpg", "flower.jpg")]
    except ImportError:
        pass
    return [read_photo(p).pixels for p in files if p.is_file()]


class Composer:
    """Scenes of held-out people with known landmarks."""

    def __init__(
        self, actors: Actors, grounds: list[Tensor], across: tuple[int, int] = (40, 500), seed: int = 0
    ) -> None:
        self.actors, self.grounds, self.across = actors, grounds, across
        self.random = torch.Generator().manual_seed(seed)

    def _uniform(self, low: float, high: float) -> float:
        return low + (high - low) * float(torch.rand((), generator=self.random))

    def ground(self) -> Tensor:
        k = int(torch.randint(len(self.grounds), (), generator=self.random))
        picture = self.grounds[k].float() / 255
        return F.interpolate(picture, size=(HEIGHT, WIDTH), mode="bilinear", antialias=True)

    def scene(self, people: int) -> tuple[Tensor, list[np.ndarray]]:
        """(uint8 [1,3,H,W], landmarks [478,2] of everybody in it, pixels). Nobody hides another."""
        image, truth = self.ground(), []
        for k in range(people):  # side by side
            room = WIDTH / people
            low, high = self.across
            across = np.exp(self._uniform(np.log(low), np.log(min(high, room * 0.75))))
            apart = across / 2.3
            margin = min(1.6 * apart, room / 2 - 1)
            x = self._uniform(k * room + margin, (k + 1) * room - margin)
            y = self._uniform(min(2.2 * apart, 250), HEIGHT - min(2.6 * apart, 350))
            truth.append(self._paste(image, apart, (x, y), k * room, (k + 1) * room))
        hard = self._uniform(0, 1)
        if hard < 0.15:
            image = image * 0.25
        elif hard < 0.25:
            image = F.avg_pool2d(F.pad(image, (2, 2, 2, 2), mode="replicate"), 5, 1)
        elif hard < 0.35:
            file = io.BytesIO()
            Image.fromarray((image[0].permute(1, 2, 0) * 255).byte().numpy()).save(file, "JPEG", quality=25)
            image = torch.from_numpy(np.asarray(Image.open(file)).copy()).permute(2, 0, 1)[None].float() / 255
        return (image * 255).round().byte(), truth

    def _paste(
        self, image: Tensor, apart: float, at: tuple[float, float], left: float, right: float
    ) -> np.ndarray:
        g, actors = self.random, self.actors
        row = torch.randint(len(actors.marks), (1,), generator=g)
        marks, _, back = actors.act(row, actors.intensities(1, g) * 0.7)
        angle = self._uniform(-0.52, 0.52)
        step = 2 * EYE_X / 1.5 / apart  # fractions of the crop a pixel
        turn = torch.tensor([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]).float() * step
        middle = torch.tensor([0.5, 0.5 + (EYE_Y - 0.5) / 1.5])
        u = (identity_points(HEIGHT, WIDTH)[0] * torch.tensor([WIDTH, HEIGHT]) - torch.tensor(at)).float()
        points = (u @ turn.T + middle)[None]
        level = 0 if apart > 20 else 1 if apart > 10 else 2
        face, matte = actors.cut(row, points, back, level)
        inside = ((points - 0.5).abs().amax(-1) < 0.5)[:, None]
        below = (u @ turn.T)[None, None, ..., 1] > 0.3  # a body goes on below the picture
        column = torch.arange(WIDTH)
        own = (column >= left) & (column < right)  # bodies end where the next person's room begins
        image.copy_(torch.lerp(image, face, matte * ((inside | below) & own)))
        placed = (marks[0] - middle) @ torch.linalg.inv(turn).T + torch.tensor(at)
        return placed.double().numpy()


def matched(faces: list[Face], truth: list[np.ndarray]) -> tuple[list[tuple[Face, np.ndarray]], int]:
    """(pairs of find and truth, number of false finds)."""
    pairs, left = [], list(faces)
    for marks in truth:
        eyes = np.stack(eye_centres(marks))
        apart = np.linalg.norm(eyes[1] - eyes[0])
        near = [f for f in left if np.linalg.norm(np.mean(f.eyes, 0) - eyes.mean(0)) < 0.5 * apart]
        if near:
            best = max(near, key=lambda f: f.confidence)
            left.remove(best)
            pairs.append((best, marks))
    return pairs, len(left)


def errors(pairs: list[tuple[Face, np.ndarray]]) -> tuple[float, float]:
    """Mean distance of eye centres and of all landmarks, in percent of the eye distance."""
    eyes, marks = [], []
    for face, truth in pairs:
        centres = np.stack(eye_centres(truth))
        apart = np.linalg.norm(centres[1] - centres[0])
        eyes.append(np.linalg.norm(np.asarray(face.eyes) - centres, axis=1).mean() / apart * 100)
        marks.append(np.linalg.norm(face.landmarks - truth, axis=1).mean() / apart * 100)
    return (float(np.mean(eyes)), float(np.mean(marks))) if pairs else (float("nan"), float("nan"))


def row(name: str, images: int, faces: int, pairs: list[tuple[Face, np.ndarray]], false: int) -> str:
    eye, mark = errors(pairs)
    share = f"{100 * len(pairs) / faces:.1f} %" if faces else "-"
    return f"| {name} | {images} | {faces} | {share} | {false} | {eye:.1f} % | {mark:.1f} % |"


def scenes(composer: Composer, count: int, sheet: Path | None) -> list[str]:
    lines, shown = [], []
    for people in (1, 2, 4):
        pairs, false, total = [], 0, 0
        for k in range(count):
            image, truth = composer.scene(people)
            faces = find(image)
            some, wrong = matched(faces, truth)
            pairs, false, total = pairs + some, false + wrong, total + len(truth)
            if len(shown) < 12 and (k < 3 or wrong or len(some) < len(truth)):
                shown.append(drawn(image, faces))
        lines.append(row(f"scenes of {people}", count, total, pairs, false))
    if sheet:
        wide = [np.concatenate(shown[i : i + 4], 1) for i in range(0, len(shown) // 4 * 4, 4)]
        Image.fromarray(np.concatenate(wide)).save(sheet)
    return lines


def drawn(image: Tensor, faces: list[Face], width: int = 512) -> np.ndarray:
    scale = width / image.shape[-1]
    picture = Image.fromarray(image[0].permute(1, 2, 0).numpy())
    picture = picture.resize((width, round(image.shape[-2] * scale)))
    draw = ImageDraw.Draw(picture)
    for face in faces:
        corners = [(x * scale, y * scale) for x, y in face.frame.corners()]
        draw.polygon(corners, outline="yellow")
        draw.text(corners[0], f"{face.confidence:.2f}", fill="yellow")
        for x, y in face.landmarks[::3] * scale:
            draw.point((x, y), fill="lime")
    return np.asarray(picture)


def estimates(actors: Actors, seed: int = 5) -> list[str]:
    """Error of each unit: on the real photos, on the puppet's, and how the two go together."""
    g = torch.Generator().manual_seed(seed)
    rows = torch.arange(len(actors.marks))
    whole = identity_points(256, 256).expand(len(rows), -1, -1, -1)

    def estimated(amount: Tensor) -> tuple[np.ndarray, np.ndarray]:
        marks, units, back = actors.act(rows, amount)
        image, _ = actors.cut(rows, whole, back, 0)
        found = []
        for picture, points in zip(image, marks * 256, strict=True):
            face = read(picture[None].clamp(0, 1), frame_from_landmarks(points, 256, 256))
            found.append([face.units[u] for u in puppet.UNITS])
        return units.numpy(), np.array(found)

    real, seen = estimated(torch.zeros(len(rows), len(puppet.UNITS)))
    labels, guesses = (
        np.concatenate(x)
        for x in zip(*(estimated(actors.intensities(len(rows), g)) for _ in range(10)), strict=True)
    )
    lines = [
        "| unit | neutral photo reads | error, real photos | error, puppet | correlation, puppet |",
        "|---|---|---|---|---|",
    ]
    neutral = np.array([r["expression"] == "neutral" for r in actors.faces.rows])
    for i, unit in enumerate(puppet.UNITS):
        together = np.corrcoef(labels[:, i], guesses[:, i])[0, 1]
        lines.append(
            f"| {unit} | {seen[neutral, i].mean():.2f} | {np.abs(real - seen)[:, i].mean():.2f} "
            f"| {np.abs(labels - guesses)[:, i].mean():.2f} | {together:.2f} |"
        )
    mean = np.abs(labels - guesses).mean()
    return [
        *lines,
        f"| mean | {seen[neutral].mean():.2f} | {np.abs(real - seen).mean():.2f} | {mean:.2f} | |",
    ]


def variants(photo: Tensor) -> dict[str, tuple[Tensor, np.ndarray]]:
    """{name: (image, map of landmarks [2,3])}: as it is, small, rolled, dark, several to an image."""
    h, w = photo.shape[-2:]

    def shrunk(k: float) -> Tensor:
        size = (round(h * k), round(w * k))
        return F.interpolate(photo.float(), size=size, mode="bilinear", antialias=True).round().byte()

    def rolled(degrees: float) -> tuple[Tensor, np.ndarray]:
        a, c = np.deg2rad(degrees), np.array([w / 2, h / 2])
        turn = np.array([[np.cos(a), -np.sin(a)], [np.sin(a), np.cos(a)]])
        u = identity_points(h, w)[0].double() * torch.tensor([w, h]) - torch.tensor(c)
        points = (u @ torch.tensor(turn).T + torch.tensor(c)) / torch.tensor([w, h])
        from atw_nodes.warp import sample

        image = sample(photo.float(), points[None].float()).round().byte()
        inverse = turn.T
        return image, np.column_stack([inverse, c - inverse @ c])

    k = 0.5
    out = {
        "as it is": (photo, np.array([[1.0, 0, 0], [0, 1, 0]])),
        "half": (shrunk(k), np.array([[shrunk(k).shape[-1] / w, 0, 0], [0, shrunk(k).shape[-2] / h, 0]])),
        "dark": ((photo.float() * 0.2).round().byte(), np.array([[1.0, 0, 0], [0, 1, 0]])),
        "grey": (
            photo.float().mean(1, keepdim=True).round().byte().expand(-1, 3, -1, -1),
            np.array([[1.0, 0, 0], [0, 1, 0]]),
        ),
    }
    for degrees in (-30, -15, 15, 30):
        out[f"rolled {degrees}"] = rolled(degrees)
    return out


def outside(file: Path, sheet: Path | None) -> list[str]:
    lines, shown = [], []
    with np.load(file) as stored:
        names = sorted({k.split("/")[0] for k in stored.files})
        photos = {n: (stored[f"{n}/image"], stored[f"{n}/landmarks"]) for n in names}
    for name, (pixels, marks) in photos.items():
        photo = torch.from_numpy(pixels).permute(2, 0, 1)[None]
        pairs, false, total, missed = [], 0, 0, []
        for kind, (image, place) in variants(photo).items():
            truth = [marks @ place[:, :2].T + place[:, 2]]
            faces = find(image)
            some, wrong = matched(faces, truth)
            pairs, false, total = pairs + some, false + wrong, total + 1
            missed += [] if some else [kind]
            shown.append(drawn(image, faces, 320)[:320])
        lines.append(
            row(
                f"{name}{' (missed: ' + ', '.join(missed) + ')' if missed else ''}",
                total,
                total,
                pairs,
                false,
            )
        )
        tiled = torch.cat([torch.cat([photo, photo.flip(-1)], -1)] * 2, -2)
        found = find(tiled[..., ::2, ::2])
        share, false = 25 * min(4, len(found)), max(0, len(found) - 4)
        lines.append(f"| {name}, four to an image | 1 | 4 | {share} % | {false} | | |")
    if sheet:
        side = 320
        cells = [np.pad(s, ((0, side - s.shape[0]), (0, 0), (0, 0))) for s in shown]
        Image.fromarray(
            np.concatenate([np.concatenate(cells[i : i + 8], 1) for i in range(0, len(cells), 8)])
        ).save(sheet)
    return lines


def gather(judge: str, file: Path, more: list[Path]) -> None:
    """Landmarks of outside photos by another detector, with the photos, into ``file``."""
    from skimage import data

    arrays: dict[str, np.ndarray] = {}
    with tempfile.TemporaryDirectory() as name:
        sources = {"astronaut": data.astronaut()}
        with Image.open(ROOT / "assets" / "portrait-4k.jpg") as im:
            sources["drawn portrait"] = np.asarray(
                im.convert("RGB").resize((1024, 1024), Image.Resampling.BOX)
            )
        for path in more:
            with Image.open(path) as im:
                sources[path.stem] = np.asarray(im.convert("RGB"))
        for key, pixels in sources.items():
            image, out = Path(name) / "image.png", Path(name) / "marks.npy"
            Image.fromarray(pixels).save(image)
            subprocess.run([*shlex.split(judge), "landmarks", str(image), str(out)], check=True)
            arrays[f"{key}/image"], arrays[f"{key}/landmarks"] = pixels, np.load(out)
    np.savez_compressed(file, **arrays)


def speed(photo: Tensor) -> tuple[float, float]:
    """(milliseconds to find and read the face of a photo, after the first; those of a frame of the default
    generator), in turns.
    """
    model = load_checkpoint(DEFAULT)
    side = model.generator.config.size
    low, signal = torch.rand(1, 3, side, side), model.signal.preset("smiling")
    tasks = (lambda: find(photo), lambda: model.generator(low, signal))
    times: list[list[float]] = [[], []]
    with torch.no_grad():
        for _ in range(25):
            for task, taken in zip(tasks, times, strict=True):
                begun = time.perf_counter()
                task()
                taken.append(time.perf_counter() - begun)
    return tuple(float(np.median(t[3:])) * 1000 for t in times)  # type: ignore[return-value]


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("data", type=Path)
    parser.add_argument("--outside", type=Path)
    parser.add_argument("--gather", metavar="JUDGE")
    parser.add_argument("--photo", type=Path, action="append", default=[])
    parser.add_argument("--scenes", type=int, default=60)
    parser.add_argument("--across", type=int, nargs=2, default=(40, 500), help="pixels across a face")
    parser.add_argument("--sheet", type=Path)
    parser.add_argument("--markdown", type=Path)
    args = parser.parse_args()
    if args.gather:
        gather(args.gather, args.outside, args.photo)
    others = read_faces(args.data, 32, exclude=HELD_OUT)  # whose smiles the units are measured in
    learnt = learn(others.landmarks.numpy(), others.pairs(), _base_units(others))
    with tempfile.TemporaryDirectory() as folder:
        held_out = read_faces(args.data, 171, only=HELD_OUT)
        actors = Actors(held_out, Path(folder) / "fields.safetensors", learnt)
    empty = empty_photos()
    head = [
        "| images | number | faces | found | false finds | eye centres | landmarks |",
        "|---|---|---|---|---|---|---|",
    ]
    lines = [*head, *scenes(Composer(actors, empty, tuple(args.across)), args.scenes, args.sheet)]
    wrong = sum(len(find(photo)) for photo in empty)
    lines.append(f"| photos without people | {len(empty)} | 0 | - | {wrong} | | |")
    if args.outside:
        lines += outside(args.outside, args.sheet and args.sheet.with_stem(args.sheet.stem + "-outside"))
    lines += ["", *estimates(actors)]
    photo = (
        F.interpolate(actors.faces.images[:1], size=(1024, 1024), mode="bicubic").clamp(0, 1) * 255
    ).byte()
    mine, frame = speed(photo)
    lines += [
        "",
        f"One face in a photo of 1024 x 1024, after the first: {mine / frame:.2f} frames of the generator "
        f"({mine:.0f} ms, {frame:.0f} ms; {torch.get_num_threads()} threads).",
    ]
    print("\n".join(lines))
    if args.markdown:
        args.markdown.write_text("\n".join(lines) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
