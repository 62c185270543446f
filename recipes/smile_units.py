"""Where `SMILE_BRINGS` of atw_nodes/expressions.py comes from, and how near any smile of all people can come.

    python recipes/smile_units.py DATA

DATA: folder with manifest.csv (see README). On landmarks alone: distance of the mouth's landmarks to the
person's own smile, over that of the neutral photo, at the best of six strengths; mean of the people trained
on, of the ten who never were, and all of the latters' distances together. Rows: each person's own units, the
mean units, a pattern fitted to the ten themselves (which nobody could know before), and units predicted from
the neutral landmarks by ridge regression (left-one-out over the people trained on).
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from au import HELD_OUT
from dense import Actor, _base_units, learn
from numpy.typing import NDArray
from puppet import UNITS

from atw_nodes.data import Faces, read_faces
from atw_nodes.signals import INNER_LIP_RING, OUTER_LIPS, to_face

Array = NDArray[np.float64]
NAMES = ("AU06", "AU10", "AU12", "AU14", "AU15", "AU17", "AU20", "AU23", "AU25", "AU26")
MOUTH = sorted({*OUTER_LIPS, *INNER_LIP_RING})
STRENGTHS = (0.25, 0.5, 0.75, 1, 1.25, 1.5)
RIDGE = 0.1  # of the fit of a person's units
SHARES = (0.01, 0.03, 0.1, 0.3, 1, 3)  # ridges of the prediction, in mean squared lengths


class Smile(NamedTuple):
    """One person, in face coordinates."""

    start: Array  # [478,2]
    end: Array
    moves: Array  # [17,478,2] of each unit
    units: Array  # [17] that bring start nearest to end


def smiles(faces: Faces, learnt: dict[str, Array]) -> list[Smile]:
    marks, found = faces.landmarks.numpy().astype(np.float64), []
    for a, b in faces.pairs():
        actor = Actor(marks[a], marks[a][:1], learnt)
        moves = actor.marks @ np.linalg.inv(actor.dense.turn)
        found.append(Smile(to_face(marks[a]), to_face(marks[b]), moves, actor.fit(marks[b], NAMES, RIDGE)))
    return found


def left(smile: Smile, units: Array) -> tuple[float, float]:
    """(distance at the best strength, distance of the neutral photo)."""
    start, end = smile.start[MOUTH], smile.end[MOUTH]
    change = np.tensordot(units, smile.moves[:, MOUTH], 1)
    distances = [np.linalg.norm(start + k * change - end, axis=1).mean() for k in STRENGTHS]
    return float(min(distances)), float(np.linalg.norm(start - end, axis=1).mean())


def score(people: Sequence[Smile], units: Sequence[Array]) -> tuple[float, float]:
    """(mean of the ratios, ratio of the sums)."""
    pairs = np.array([left(s, u) for s, u in zip(people, units, strict=True)])
    return float((pairs[:, 0] / pairs[:, 1]).mean()), float(pairs[:, 0].sum() / pairs[:, 1].sum())


def fitted(people: Sequence[Smile], start: Array, rounds: int = 40) -> Array:
    """[17]: one pattern with a small mean ratio on ``people``: every unit in turn, by ever finer steps."""
    best, least, step = start.copy(), score(people, [start] * len(people))[0], 0.3
    for _ in range(rounds):
        before = least
        for k in (UNITS.index(n) for n in NAMES):
            for change in (step, -step):
                tried = best.copy()
                tried[k] += change
                found = score(people, [tried] * len(people))[0]
                if found < least:
                    best, least = tried, found
        step = step / 2 if before - least < 1e-4 else step
    return best


def predicted(seen: Array, units: Array, share: float) -> Array:
    """[P,17]: each person's units by ridge regression on the others' neutral landmarks ``seen`` [P,N]."""
    x, mean = seen - seen.mean(0), units.mean(0)
    gram = x @ x.T
    hat = gram @ np.linalg.inv(gram + share * np.trace(gram) / len(gram) * np.eye(len(gram)))
    return units - (units - mean - hat @ (units - mean)) / (1 - np.diag(hat))[:, None]


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("data", type=Path)
    args = parser.parse_args()
    known, others = read_faces(args.data, 32, exclude=HELD_OUT), read_faces(args.data, 32, only=HELD_OUT)
    marks = known.landmarks.numpy().astype(np.float64)
    learnt = learn(marks, known.pairs(), _base_units(known))
    trained, ten = smiles(known, learnt), smiles(others, learnt)
    units = np.array([s.units for s in trained])
    mean = units.mean(0)
    per = 0.9 / mean[UNITS.index("AU12")]
    print("mean, for 0.9 of AU12:", {n: round(float(per * mean[UNITS.index(n)]), 2) for n in NAMES})

    def row(name: str, people: Sequence[Smile], given: Sequence[Array]) -> None:
        ratio, whole = score(people, given)
        print(
            f"{name}: {len(people)} people, mean ratio {ratio:.3f}, of all distance {whole:.3f}", flush=True
        )

    row("own units", trained, [s.units for s in trained])
    row("own units", ten, [s.units for s in ten])
    row("mean units", trained, [mean] * len(trained))
    row("mean units", ten, [mean] * len(ten))
    row("best pattern fitted to the ten", ten, [fitted(ten, mean)] * len(ten))
    seen = np.array([s.start.ravel() for s in trained])
    best = min((score(trained, list(predicted(seen, units, s)))[0], s) for s in SHARES)
    row("predicted, left-one-out", trained, list(predicted(seen, units, best[1])))


if __name__ == "__main__":
    main()
