"""A FACS puppet: how the 478 points of the face mesh move for each action unit.

A table of soft pushes around anatomical anchors, in face coordinates (``signals.to_face``: origin between the
eyes, unit = eye distance, x outward on either side, y down), after the descriptions of the Facial Action
Coding System (Ekman, Friesen & Hager 2002). Lids and lips, which are lines rather than regions, have rules of
their own. For one face everything is linear in the intensities, so a unit is one field of displacements.

Intensity 1.0 is the unit's scale in ``signals.py``: AU10, AU12 and AU25 read exactly 1 there.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from atw_nodes.signals import INNER_LIP_LOWER, INNER_LIP_UPPER, UNIT_DISPLACEMENT, to_face, unit_change

Array = NDArray[np.float64]

UNITS = (
    *("AU01", "AU02", "AU04", "AU05", "AU06", "AU07", "AU09", "AU10", "AU12"),
    *("AU14", "AU15", "AU17", "AU20", "AU23", "AU25", "AU26", "AU45"),
)

# Points of the mesh, (image left, image right)
INNER_BROW, OUTER_BROW = ((107, 55), (336, 285)), ((70, 46), (300, 276))
NOSE_WING, LIP_CORNER = ((129,), (358,)), ((61, 78), (291, 308))
EYE = ((33, 133), (263, 362))
UPPER_LID = ((246, 161, 160, 159, 158, 157, 173), (466, 388, 387, 386, 385, 384, 398))
LOWER_LID = ((7, 163, 144, 145, 153, 154, 155), (249, 390, 373, 374, 380, 381, 382))
UPPER_LIP = (  # ring by ring, from the outer line inwards
    *(185, 40, 39, 37, 0, 267, 269, 270, 409),
    *(184, 74, 73, 72, 11, 302, 303, 304, 408),
    *(183, 42, 41, 38, 12, 268, 271, 272, 407),
    *INNER_LIP_UPPER,
)
LOWER_LIP = (
    *(146, 91, 181, 84, 17, 314, 405, 321, 375),
    *(77, 90, 180, 85, 16, 315, 404, 320, 307),
    *(96, 89, 179, 86, 15, 316, 403, 319, 325),
    *INNER_LIP_LOWER,
)
CHIN = 152


@dataclass(frozen=True)
class Push:
    """Move what lies around ``anchor`` (+ ``offset``) by ``move``, falling off with ``reach`` as a Gaussian.

    offset, move: (outward, down); reach: (across, down); all in eye distances. above: only what lies above
    the eye line, softly.
    """

    anchor: tuple[tuple[int, ...], tuple[int, ...]]
    move: tuple[float, float]
    reach: tuple[float, float]
    offset: tuple[float, float] = (0.0, 0.0)
    above: bool = False


PUSHES: dict[str, tuple[Push, ...]] = {
    "AU01": (Push(INNER_BROW, (0.01, -0.15), (0.15, 0.22), (0, -0.03), above=True),),
    "AU02": (Push(OUTER_BROW, (0.02, -0.14), (0.17, 0.22), (-0.05, -0.03), above=True),),
    "AU04": (
        Push(INNER_BROW, (-0.06, 0.09), (0.20, 0.16), (0.06, 0), above=True),
        Push(OUTER_BROW, (-0.02, 0.03), (0.16, 0.14), above=True),
    ),
    "AU06": (
        Push(EYE, (0, -0.06), (0.22, 0.12), (0.06, 0.27)),
        Push(EYE, (-0.02, 0.01), (0.09, 0.08), (0.24, 0.02)),
    ),
    "AU09": (
        Push(NOSE_WING, (-0.01, -0.07), (0.12, 0.15)),
        Push(INNER_BROW, (-0.02, 0.03), (0.14, 0.10), above=True),
    ),
    "AU10": (Push(NOSE_WING, (0.02, -0.05), (0.12, 0.12), (0.06, 0.10)),),
    "AU12": (
        Push(LIP_CORNER, (0.12, -0.09), (0.17, 0.16)),
        Push(LIP_CORNER, (0.05, -0.06), (0.16, 0.15), (0.18, -0.18)),
    ),
    "AU14": (
        Push(LIP_CORNER, (0.06, -0.01), (0.11, 0.09)),
        Push(LIP_CORNER, (-0.04, 0), (0.07, 0.10), (0.13, 0)),
    ),
    "AU15": (Push(LIP_CORNER, (-0.01, 0.10), (0.13, 0.13), (0.02, 0.02)),),
    "AU20": (Push(LIP_CORNER, (0.12, 0.03), (0.18, 0.15)),),
    "AU23": (Push(LIP_CORNER, (-0.06, 0), (0.14, 0.12)),),
}


class _Shape:
    """One face in face coordinates, and the soft regions that the rules use."""

    def __init__(self, landmarks: Array) -> None:
        self.q = to_face(landmarks)
        corners = self.q[[61, 291]]
        self.mouth = corners.mean(0)
        self.half = float(abs(corners[1, 0] - corners[0, 0])) / 2
        across = np.clip(1 - (np.abs(self.q[:, 0] - self.mouth[0]) / (1.15 * self.half)) ** 2, 0, 1)
        self.upper, self.lower = np.zeros(len(self.q)), np.zeros(len(self.q))
        self.upper[list(UPPER_LIP)] = across[list(UPPER_LIP)]
        self.lower[list(LOWER_LIP)] = across[list(LOWER_LIP)]

    def around(self, centre: Array, reach: tuple[float, float]) -> Array:
        d = (self.q - centre) / np.asarray(reach)
        return np.exp(-0.5 * (d**2).sum(1))

    def push(self, p: Push) -> Array:
        total = np.zeros_like(self.q)
        for side, points in ((-1.0, p.anchor[0]), (1.0, p.anchor[1])):
            sign = np.array([side, 1.0])
            weight = self.around(self.q[list(points)].mean(0) + sign * p.offset, p.reach)
            if p.above:
                weight = weight * np.clip(-self.q[:, 1] / 0.16, 0, 1)
            total += weight[:, None] * sign * p.move
        return total

    def lids(self, upper: float, lower: float, raised: float = 0.0) -> Array:
        """Upper lids down and lower lids up by fractions of the eye's opening, the lid's skin with them;
        ``raised``: upper lids up, in eye distances.
        """
        total = np.zeros_like(self.q)
        for up, lo, eye in zip(UPPER_LID, LOWER_LID, EYE, strict=True):
            u, v = list(up), list(lo)
            gap = self.q[v, 1] - self.q[u, 1]
            centre = self.q[list(eye)].mean(0)
            total[u, 1] += upper * gap - raised * np.clip(1 - np.abs(self.q[u, 0] - centre[0]) / 0.2, 0, 1)
            total[v, 1] -= lower * gap
            skin = self.around(centre + [0, -0.11], (0.16, 0.05))
            skin[u + v] = 0
            above = self.q[:, 1] < self.q[u, 1].mean() - 0.01
            total[:, 1] += np.where(above, skin * (0.5 * upper * gap.max() - 0.6 * raised), 0)
        return total

    def jaw(self, drop: float) -> Array:
        """Chin, lower lip and lower cheeks down by ``drop`` eye distances at the chin."""
        total = np.zeros_like(self.q)
        span = max(self.q[CHIN, 1] - self.mouth[1], 0.1)
        down = np.clip((self.q[:, 1] - self.mouth[1]) / (0.55 * span), 0, 1)
        down[list(UPPER_LIP)] = 0
        side = np.exp(-((self.q[:, 0] / 0.75) ** 4))
        total[:, 1] = drop * np.maximum(down * side, 0.95 * self.lower)
        corners = list(LIP_CORNER[0] + LIP_CORNER[1])
        total[corners, 1] += 0.15 * drop
        total[corners, 0] -= 0.12 * drop * np.sign(self.q[corners, 0])
        return total


# (upper lip, lower lip) down, in eye distances at the middle of the mouth
LIPS = {
    "AU09": (-0.03, 0.0),
    "AU10": (-0.08, 0.0),
    "AU17": (-0.02, -0.056),
    "AU20": (0.0, 0.015),
    "AU23": (0.03, -0.03),
    "AU25": (-0.05, 0.11),
}
# (upper lid, lower lid) closed by fractions of the opening, upper lid raised in eye distances
LIDS = {"AU05": (0, 0, 0.06), "AU06": (0, 0.12, 0), "AU07": (0.22, 0.25, 0), "AU45": (0.93, 0.06, 0)}


def _rule(shape: _Shape, unit: str) -> Array:
    """What a unit does beside its pushes: lids, lips, chin and jaw."""
    field = shape.lids(*LIDS[unit]) if unit in LIDS else np.zeros_like(shape.q)
    if unit in LIPS:
        field[:, 1] += LIPS[unit][0] * shape.upper + LIPS[unit][1] * shape.lower
    if unit == "AU17":
        field[:, 1] -= 0.07 * shape.around(shape.q[CHIN] + [0, -0.10], (0.18, 0.14)) * (shape.lower == 0)
    if unit == "AU26":
        field += shape.jaw(0.28)
    return field


def basis(landmarks: Array) -> Array:
    """[17,478,2] pixels: displacement of ``landmarks`` [478,2] (pixels) at intensity 1 of each unit."""
    landmarks = np.asarray(landmarks, np.float64)
    shape = _Shape(landmarks)
    left, right = (landmarks[list(e)].mean(0) for e in ((33, 133), (362, 263)))
    turn = np.stack([right - left, [-(right - left)[1], (right - left)[0]]])  # face coordinates -> pixels
    fields = []
    for unit in UNITS:
        field = _rule(shape, unit) + sum(
            (shape.push(p) for p in PUSHES.get(unit, ())), np.zeros_like(shape.q)
        )
        field = field @ turn
        if unit in UNIT_DISPLACEMENT:  # linear, so that one division calibrates it
            step = 0.1
            field = field * step / float(unit_change(landmarks, landmarks + step * field, (unit,))[0])
        fields.append(field)
    return np.stack(fields)


def move(landmarks: Array, intensities: Mapping[str, float]) -> Array:
    """``landmarks`` [478,2] with the named units applied."""
    amount = np.array([intensities.get(u, 0.0) for u in UNITS])
    return landmarks + np.tensordot(amount, basis(landmarks), 1)
