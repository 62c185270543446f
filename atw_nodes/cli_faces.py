"""The commands that look: ``find`` reports a photo's faces, ``prepare`` makes a training set of a folder."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .terminal import bounded, check_output, progress

if TYPE_CHECKING:
    from .faces import Face
    from .images import Photo

SOURCES = ("own", "mediapipe")


def add_commands(commands: Any) -> None:  # noqa: ANN401 (argparse keeps the type to itself)
    """Add ``find`` and ``prepare`` to the parser's commands."""
    f = commands.add_parser("find", help="report the faces of a photo as JSON")
    f.add_argument("photo", type=Path, metavar="PHOTO")
    f.add_argument("--smallest", type=bounded(float, 8, 1e5), default=None, metavar="PX",
                   help="own: width of the smallest face of interest (default: 40)")  # fmt: skip
    f.add_argument("--threshold", type=bounded(float, 0.01, 1), default=0.9, metavar="T",
                   help="own: the least confidence, 0..1 (default: 0.9)")  # fmt: skip
    f.add_argument("--landmarks", choices=SOURCES, default="own", help="who finds them (default: own)")
    f.add_argument("--sheet", type=Path, metavar="FILE.png", help="also draw what was found")
    f.set_defaults(run=_find)
    p = commands.add_parser("prepare", help="align a folder of photos into a training set")
    p.add_argument("folder", type=Path, metavar="FOLDER")
    p.add_argument("-o", "--output", type=Path, required=True, metavar="DATASET", help="a new folder")
    p.add_argument(
        "--size", type=bounded(int, 64, 1024), default=256, help="side of the crops (default: 256)"
    )
    p.add_argument("--all-faces", action="store_true", help="every face of a photo, not the largest alone")
    p.add_argument("--landmarks", choices=SOURCES, default="own", help="who finds them (default: own)")
    p.add_argument("--quiet", action="store_true", help="no progress bar")
    p.set_defaults(run=_prepare)


def _find(args: argparse.Namespace) -> int:
    if args.sheet is not None:
        check_output(args.sheet, "--sheet")
    from .faces import SMALLEST, find, see
    from .images import read_photo

    photo = read_photo(args.photo)
    if args.landmarks == "own":
        faces = find(photo.pixels, smallest=args.smallest or SMALLEST, threshold=args.threshold)
    else:
        faces = see(photo.pixels, args.landmarks)
    report = {"file": str(args.photo), "width": photo.width, "height": photo.height}
    sys.stdout.write(json.dumps(report | {"faces": [described(f) for f in faces]}) + "\n")
    if args.sheet is not None:
        _draw(args.sheet, photo, faces)
    return 0


def described(face: Face) -> dict[str, object]:
    """A face as plain JSON values, positions in pixels to a hundredth."""
    frame = face.frame
    middle_x, middle_y = (sum(c[i] for c in frame.corners()) / 4 for i in (0, 1))
    side = sum(frame.sides) / 2
    return {
        "box": [round(v, 2) for v in face.box],
        "confidence": round(face.confidence, 4),
        "eyes": [[round(v, 2) for v in eye] for eye in face.eyes],
        "square": [round(v, 2) for v in (middle_x - side / 2, middle_y - side / 2, side)],
        "units": dict(face.units),
        "landmarks": [[round(float(v), 2) for v in point] for point in face.landmarks],
    }


def _draw(path: Path, photo: Photo, faces: list[Face], longest: int = 1600) -> None:
    """The photo with frames, landmarks and the strongest units drawn in."""
    import numpy as np
    import torch
    from PIL import Image, ImageDraw, ImageFont

    from .images import write_still
    from .pyramid import downsample

    scale = min(1.0, longest / max(photo.height, photo.width))
    size = (max(1, round(photo.height * scale)), max(1, round(photo.width * scale)))
    small = (downsample(photo.pixels, size)[0].clamp(0, 1) * 255).round().byte()
    picture = Image.fromarray(small.permute(1, 2, 0).numpy())
    draw, font = ImageDraw.Draw(picture), ImageFont.load_default(14)
    for k, face in enumerate(faces):
        corners = [(x * scale, y * scale) for x, y in face.frame.corners()]
        draw.polygon(corners, outline="yellow")
        dot = max(0.6, face.frame.sides[0] * scale / 500)
        for x, y in face.landmarks * scale:
            draw.ellipse((x - dot, y - dot, x + dot, y + dot), fill="lime")
        shown = sorted(((v, n) for n, v in face.units.items() if v >= 0.1), reverse=True)[:4]
        text = f"{k}  {face.confidence:.2f}  " + "  ".join(f"{n} {v:.1f}" for v, n in shown)
        draw.text((corners[0][0] + 3, corners[0][1] + 3), text, fill="yellow", font=font)
    write_still(path, torch.from_numpy(np.asarray(picture).copy()).permute(2, 0, 1)[None])


def _prepare(args: argparse.Namespace) -> int:
    from .prepare import Preparation

    task = Preparation(args.folder, args.output, args.size, args.all_faces, args.landmarks)
    for _ in progress(task.run(), len(task.files), args.quiet, "photos"):
        pass
    done, skipped = task.counts()
    sys.stderr.write(f"{args.output}: {done} faces; {skipped} photos skipped, see skipped.csv\n")
    return 0
