"""Do the sliders do what they say? Each action unit on people never trained on, judged by another detector.

    python benchmarks/units.py DATA OUT --judge "PYTHON measure_face.py" [--checkpoint NAME] [--markdown FILE]

DATA: folder of the face data with ``faces/`` and ``hd/`` (see README). The judge's module has
``pixels(path)``: 478 landmarks of a photo. For ten held-out people: every unit at 0.25 .. 1 and, as the
yardstick, the photo warped by the FACS puppet (recipes/dense.py) on the judge's own landmarks. Sheets of
what was made go to OUT.
"""

from __future__ import annotations

import argparse
import shlex
import subprocess
import sys
from pathlib import Path

import numpy as np
import torch
from PIL import Image

ROOT = Path(__file__).resolve().parents[1]
sys.path.append(str(ROOT / "recipes"))

from au import HELD_OUT  # noqa: E402
from dense import FIT, Actor, _base_units, learn  # noqa: E402
from puppet import UNITS  # noqa: E402

from atw_nodes.animate import animate  # noqa: E402
from atw_nodes.checkpoints import Checkpoint, load_checkpoint  # noqa: E402
from atw_nodes.data import read_faces  # noqa: E402
from atw_nodes.expressions import BASIC  # noqa: E402
from atw_nodes.frames import frame_from_landmarks  # noqa: E402
from atw_nodes.images import read_photo, write_still  # noqa: E402
from atw_nodes.reswarp import decompose, warped  # noqa: E402
from atw_nodes.sheets import contact_sheet  # noqa: E402
from atw_nodes.signals import to_face  # noqa: E402
from atw_nodes.tiles import canonical  # noqa: E402
from atw_nodes.types import FaceFrame, Motion  # noqa: E402
from atw_nodes.warp import identity_points, inverted  # noqa: E402

LEVELS = (0.25, 0.5, 0.75, 1.0)
EYES = (([160, 159, 158], [144, 145, 153]), ([387, 386, 385], [373, 374, 380]))
# In eye distances, growing with the unit; the judge's own definitions, but for AU04's: its mesh keeps the
# brows apart whatever the photo shows (0.005 of 0.1 at twice the unit), but follows them down.
MEASURES = {
    "AU01": lambda q: -(q[107, 1] + q[336, 1]) / 2,
    "AU02": lambda q: -(q[70, 1] + q[300, 1]) / 2,
    "AU04": lambda q: (q[107, 1] + q[336, 1]) / 2,
    "AU05": lambda q: opening(q),
    "AU12": lambda q: -(q[61, 1] + q[291, 1]) / 2,
    "AU15": lambda q: (q[61, 1] + q[291, 1]) / 2,
    "AU20": lambda q: (q[291, 0] - q[61, 0]) / 2,
    "AU25": lambda q: q[14, 1] - q[13, 1],
    "AU26": lambda q: q[152, 1],
    "AU45": lambda q: -opening(q),
}
MOUTH = [
    *(61, 146, 91, 181, 84, 17, 314, 405, 321, 375, 291, 185, 40, 39, 37, 0, 267, 269, 270, 409),
    *(78, 95, 88, 178, 87, 14, 317, 402, 318, 324, 308, 191, 80, 81, 82, 13, 312, 311, 310, 415),
]
# A person's change is measured in these, with a ridge that costs people trained on 0.01 of how close units
# come to their smile's landmarks: with less, units that cancel each other are read into it
MEASURED, RIDGE = (*FIT, "AU14", "AU17", "AU23"), 0.1
STRENGTHS = (0.25, 0.5, 0.75, 1.0, 1.25, 1.5)
JUDGE = """
import json, sys, runpy
sys.argv = ["judge"]
space = runpy.run_path(FILE, run_name="judge")
for line in open(LIST):
    path, out = line.rstrip("\\n").split("\\t")
    try:
        space["np"].save(out, space["pixels"](path).astype("float32"))
    except SystemExit as e:
        print(e, file=sys.stderr)
"""


def opening(q: np.ndarray) -> float:
    return float(np.mean([q[lo, 1].mean() - q[up, 1].mean() for up, lo in EYES]))


class Judge:
    """Landmarks of many images in one run; kept beside them as .npy."""

    def __init__(self, command: str, out: Path) -> None:
        self.python, self.file = shlex.split(command)
        self.out = out

    def __call__(self, paths: list[Path]) -> dict[str, np.ndarray]:
        table = self.out / "judge.txt"
        table.write_text("".join(f"{p}\t{self.out / p.stem}.npy\n" for p in paths))
        code = JUDGE.replace("FILE", repr(self.file)).replace("LIST", repr(str(table)))
        subprocess.run([self.python, "-c", code], check=True, capture_output=True)
        files = {p.stem: self.out / f"{p.stem}.npy" for p in paths}
        return {k: np.load(f).astype(np.float64) for k, f in files.items() if f.exists()}


def photos(data: Path, out: Path, expression: str = "neutral") -> dict[str, Path]:
    """{person: photo}: full size where there is one, else the data's crop enlarged to 512."""
    found = {}
    for person in (h.split("/")[1] for h in HELD_OUT):
        hd = data / "hd" / f"{person}_{expression}.jpg"
        target = out / (f"{person}.png" if expression == "neutral" else f"{person}_true.png")
        crop = data / "faces" / "london" / f"{person}_{expression}.jpg"
        image = Image.open(hd if hd.exists() else crop).convert("RGB")
        image.resize(image.size if hd.exists() else (512, 512), Image.Resampling.BICUBIC).save(target)
        found[person] = target
    return found


def fields(landmarks: np.ndarray, frame: FaceFrame, learnt: dict[str, np.ndarray]) -> torch.Tensor:
    """[17,2,128,128] of the puppet in ``frame``, forward, from landmarks in pixels."""
    (a, b, x), (c, d, y) = frame.inverse()
    points = identity_points(128, 128)[0].reshape(-1, 2).double().numpy()
    actor = Actor(landmarks @ np.array([[a, c], [b, d]]) + np.array([x, y]), points, learnt)
    return torch.from_numpy(actor.fields).float().reshape(len(UNITS), 128, 128, 2).permute(0, 3, 1, 2)


def render(person: str, file: Path, marks: np.ndarray, model: Checkpoint, learnt: dict, out: Path) -> dict:
    """Every unit of one person as files; cosines of predicted and puppet motion by unit."""
    photo = read_photo(file).pixels
    frame = frame_from_landmarks(torch.from_numpy(marks.astype(np.float32)), *photo.shape[-2:])
    parts = decompose(photo, frame, model.generator.config.size)
    truth, cosines = fields(marks, frame, learnt), {}
    names = list(model.signal.names)
    for unit in UNITS:
        signal = torch.zeros(1, len(names))
        signal[0, names.index(unit)] = 1.0
        with torch.no_grad():
            made = model.generator.predict_motion(parts.low, signal, parts.mask())[0]
        puppet = inverted(truth[None, UNITS.index(unit)] * parts.mask())
        if made.shape != puppet.shape[1:]:
            made = torch.nn.functional.avg_pool2d(made, made.shape[-1] // 128)
        cosines[unit] = float((made * puppet[0]).sum() / (made.norm() * puppet.norm() + 1e-9))
        for level in LEVELS if unit in MEASURES else (1.0,):
            (image,) = animate(photo, model, signal * level, [1.0], frame)
            write_still(out / f"{person}_{unit}_{level:g}.jpg", image)
        (image,) = warped(parts, Motion(puppet, torch.ones(1)))
        write_still(out / f"{person}_{unit}_puppet.jpg", image)
    return cosines


def table(people: list[str], marks: dict[str, np.ndarray], cosines: dict[str, dict[str, float]]) -> list[str]:
    lines = [
        "| unit | monotonic | reached, of the puppet's | enough (60 %) | elsewhere, puppet | cosine |",
        "|---|---|---|---|---|---|",
    ]
    for unit in UNITS:
        cosine = np.mean([cosines[p][unit] for p in people])
        if unit not in MEASURES:
            lines.append(f"| {unit} | - | - | - | - | {cosine:.2f} |")
            continue
        steady, reached, elsewhere = [], [], []
        for p in people:
            keys = [p, *(f"{p}_{unit}_{v:g}" for v in LEVELS), f"{p}_{unit}_puppet"]
            if any(k not in marks for k in keys):
                continue
            q = [to_face(marks[k]) for k in keys]
            values = [MEASURES[unit](x) for x in q]
            steady.append(all(b > a for a, b in zip(values[:-2], values[1:-1], strict=True)))
            reached.append((values[-2] - values[0]) / max(values[-1] - values[0], 1e-3))
            moved = [np.linalg.norm(x - q[0], axis=1) for x in (q[-2], q[-1])]
            still = moved[1] < np.quantile(moved[1], 0.5)  # what the puppet leaves alone
            elsewhere.append([100 * m[still].mean() for m in moved])
        e = np.mean(elsewhere, 0)
        lines.append(
            f"| {unit} | {sum(steady)}/{len(steady)} | {np.mean(reached):.2f} (least {min(reached):.2f}) | "
            f"{sum(r >= 0.6 for r in reached)}/{len(reached)} | {e[0]:.1f} %, {e[1]:.1f} % | {cosine:.2f} |"
        )
    closed = [
        opening(to_face(marks[f"{p}_AU45_1"])) / opening(to_face(marks[p]))
        for p in people
        if f"{p}_AU45_1" in marks
    ]
    mean, worst = 100 * np.mean(closed), 100 * max(closed)
    lines.append(f"\nEyes at AU45 = 1 are open by {mean:.0f} % of before (worst {worst:.0f} %).")
    return lines


def smiles(
    files: dict[str, Path], marks: dict[str, np.ndarray], model: Checkpoint, learnt: dict, judge: Judge
) -> list[str]:
    """Mouth-landmark distance to each person's true smile over that of doing nothing (0 perfect, 1 nothing):
    given the unit changes measured on it, and happiness at its best strength.
    """
    made: dict[str, list[Path]] = {}
    for p, file in files.items():
        photo = read_photo(file).pixels
        frame = frame_from_landmarks(torch.from_numpy(marks[p].astype(np.float32)), *photo.shape[-2:])
        change = Actor(marks[p], marks[p][:1], learnt).fit(marks[f"{p}_true"], MEASURED, RIDGE)
        given = model.signal.vector({u: float(v) for u, v in zip(UNITS, change, strict=True)})
        signals = {"given": given} | {f"happy{s:g}": model.signal.preset("happiness", s) for s in STRENGTHS}
        made[p] = [judge.out / f"{p}_{k}.jpg" for k in signals]
        for path, signal in zip(made[p], signals.values(), strict=True):
            write_still(path, next(animate(photo, model, signal, [1.0], frame)))
    seen = judge([f for some in made.values() for f in some])
    lines = ["| person | given its units | happiness | at strength |", "|---|---|---|---|"]
    given, happy, whole = [], [], []
    for p in files:
        start, true = to_face(marks[p]), to_face(marks[f"{p}_true"])

        far = float(np.linalg.norm((start - true)[MOUTH], axis=1).mean())

        def left(q: np.ndarray, true: np.ndarray = true, far: float = far) -> float:
            return float(np.linalg.norm((q - true)[MOUTH], axis=1).mean() / far)

        tries = [(s, f"{p}_happy{s:g}") for s in STRENGTHS]
        best = min((left(to_face(seen[k])), s) for s, k in tries if k in seen)
        given.append(left(to_face(seen[f"{p}_given"])))
        happy.append(best[0])
        whole.append((far, far * given[-1], far * happy[-1]))
        lines.append(f"| {p} | {given[-1]:.2f} | {best[0]:.2f} | {best[1]:g} |")
    lines.append(f"| mean | {np.mean(given):.3f} | {np.mean(happy):.3f} | |")
    total = np.sum(whole, 0)
    lines.append(f"| of all distance | {total[1] / total[0]:.3f} | {total[2] / total[0]:.3f} | |")
    return ["", *lines]


def sheet(people: list[str], out: Path, marks: dict[str, np.ndarray], names: list[str], name: str) -> None:
    rows = []
    for p in people:
        views = []
        for key in (p, *(f"{p}_{n}" for n in names)):
            file = next(f for f in (out / f"{key}.jpg", out / f"{key}.png") if f.exists())
            photo = read_photo(file).pixels
            frame = frame_from_landmarks(torch.from_numpy(marks[p].astype(np.float32)), *photo.shape[-2:])
            views.append(canonical(photo, frame, 256)[..., 40:240, 40:216])
        rows.append(views)
    write_still(out / name, contact_sheet(rows, ("photo", *names), 176))


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("data", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--judge", required=True)
    parser.add_argument("--checkpoint", default="atw-au-128")
    parser.add_argument("--markdown", type=Path)
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    model, judge = load_checkpoint(args.checkpoint), Judge(args.judge, args.out)
    faces = read_faces(args.data / "faces", 32, exclude=HELD_OUT)
    learnt = learn(faces.landmarks.numpy(), faces.pairs(), _base_units(faces))
    files = photos(args.data, args.out)
    marks = judge(list(files.values()))
    people = [p for p in files if p in marks]
    cosines = {p: render(p, files[p], marks[p], model, learnt, args.out) for p in people}
    made = [f for f in sorted(args.out.glob("*_AU*.jpg"))]
    marks |= judge(made)
    for p in people:
        photo = read_photo(files[p]).pixels
        frame = frame_from_landmarks(torch.from_numpy(marks[p].astype(np.float32)), *photo.shape[-2:])
        for name, units in BASIC.items():
            if name != "neutral":
                (image,) = animate(photo, model, model.signal.vector(units), [1.0], frame)
                write_still(args.out / f"{p}_{name}.jpg", image)
    sheet(people, args.out, marks, [f"{u}_1" for u in UNITS], "units.jpg")
    sheet(people, args.out, marks, [n for n in BASIC if n != "neutral"], "expressions.jpg")
    marks |= judge(list(photos(args.data, args.out, "smiling").values()))
    lines = smiles({p: files[p] for p in people}, marks, model, learnt, judge)
    sheet(people, args.out, marks, ["given", "happy1", "true"], "smiles.jpg")
    text = "\n".join(table(people, marks, cosines) + lines) + "\n"
    print(text)
    if args.markdown:
        args.markdown.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
