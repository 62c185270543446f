"""The FACS puppet (``puppet.py``) on every point of a picture, not on landmarks alone.

Skin moves smoothly: the puppet's pushes hold anywhere. Lids and lips are edges: an upper lid takes the skin
above it along and ends at the eye; lips part at the line between them, and what lies below moves apart from
what lies above. Such steps cannot be had by smoothing between landmarks, which tears lips and leaves eyes
open.

Everything is in face coordinates (``signals.to_face``) and a forward displacement: where a point of the photo
goes.
"""

from __future__ import annotations

import multiprocessing as mp
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import numpy as np
import puppet
import torch
from numpy.typing import NDArray
from puppet import CHIN, EYE, INNER_BROW, LIDS, LIPS, LOWER_LID, OUTER_BROW, PUSHES, UNITS, UPPER_LID

from atw_nodes.checkpoints import read_tensors, write_tensors
from atw_nodes.data import Faces
from atw_nodes.signals import INNER_LIP_LOWER, INNER_LIP_UPPER, UNIT_DISPLACEMENT, to_face, unit_change
from atw_nodes.warp import identity_points

Array = NDArray[np.float64]
GRID = 192  # cells across the data's crop: one a pixel of the frame
FIT = ("AU06", "AU10", "AU12", "AU15", "AU20", "AU25", "AU26")  # what a real smile is measured in
JAW = 0.28  # eye distances that the chin drops
ROUNDS = 4  # of bringing the fields to the landmarks: a local mean falls short the first time


def fall(s: Array) -> Array:
    """1 at 0, 0 from 1 on, smooth."""
    s = np.clip(s, 0, 1)
    return (1 - s) ** 2 * (1 + 2 * s)


class Dense:
    """One face, given by its landmarks [478,2] (any units), and what each unit does at points [n,2]."""

    def __init__(self, landmarks: Array, points: Array) -> None:
        left, right = (landmarks[list(e)].mean(0) for e in ((33, 133), (362, 263)))
        across = right - left
        self.turn = np.stack([across, [-across[1], across[0]]])  # face coordinates -> given units
        self.q = to_face(landmarks)
        self.p = (points - (left + right) / 2) @ np.linalg.inv(self.turn)
        corners = self.q[[61, 291]]
        self.mouth, self.half = corners.mean(0), float(abs(corners[1, 0] - corners[0, 0])) / 2
        self.upper = self._curve((61, 78, *INNER_LIP_UPPER, 308, 291))
        self.lower = self._curve((61, 78, *INNER_LIP_LOWER, 308, 291))
        self.lower = np.maximum(self.lower, self.upper)

    def _curve(self, points: tuple[int, ...]) -> Array:
        """Height of the line through landmarks ``points`` at each point's x; level beyond its ends."""
        line = self.q[list(points)]
        order = np.argsort(line[:, 0])
        return np.interp(self.p[:, 0], line[order, 0], line[order, 1])

    def around(self, centre: Array, reach: tuple[float, float]) -> Array:
        return np.exp(-0.5 * (((self.p - centre) / np.asarray(reach)) ** 2).sum(1))

    def push(self, p: puppet.Push) -> Array:
        total = np.zeros_like(self.p)
        for side, points in ((-1.0, p.anchor[0]), (1.0, p.anchor[1])):
            sign = np.array([side, 1.0])
            weight = self.around(self.q[list(points)].mean(0) + sign * p.offset, p.reach)
            if p.above:
                weight = weight * np.clip(-self.p[:, 1] / 0.16, 0, 1)
            total += weight[:, None] * sign * p.move
        return total

    def lids(self, upper: float, lower: float, raised: float) -> Array:
        """Vertical: lids as edges, fractions of the opening; ``raised`` in eye distances."""
        total = np.zeros(len(self.p))
        x, y = self.p.T
        for up, lo, eye, inner, outer in zip(UPPER_LID, LOWER_LID, EYE, INNER_BROW, OUTER_BROW, strict=True):
            yu, yl = self._curve((eye[0], *up, eye[1])), self._curve((eye[0], *lo, eye[1]))
            centre, gap = self.q[list(eye)].mean(0), np.maximum(yl - yu, 0)
            a, b = sorted(self.q[list(eye), 0])
            bump = np.clip(1 - (np.abs(x - centre[0]) / (0.5 * (b - a) * 1.02)) ** 2, 0, 1)
            du, dl = upper * gap - raised * bump, -lower * gap
            brow = min(float(self.q[list(p), 1].mean()) for p in (inner, outer))
            high = max(0.10, 0.75 * float(centre[1] - brow))
            inside = np.clip((y - yu) / np.maximum(gap, 1e-6), 0, 1)
            d = np.where(y < yu, du * fall((yu - y) / high), du + (dl - du) * inside)
            d = np.where(y > yl, dl * fall((y - yl) / 0.10), d)
            total += d * ((x > a) & (x < b))
        return total

    def lips(self, up: Array | float, low: Array | float, reach: tuple[float, float] = (0.26, 0.36)) -> Array:
        """Vertical: upper lip by ``up``, lower by ``low`` at the middle, apart at the line between."""
        x, y = self.p.T
        profile = np.clip(1 - (np.abs(x - self.mouth[0]) / self.half) ** 2.5, 0, 1)
        du, dl, gap = up * profile, low * profile, self.lower - self.upper
        inside = np.clip((y - self.upper) / np.maximum(gap, 1e-6), 0, 1)
        d = np.where(y < self.upper, du * fall((self.upper - y) / reach[0]), du + (dl - du) * inside)
        return np.where(y >= self.lower, dl * fall((y - self.lower) / reach[1]), d)

    def jaw(self) -> Array:
        x, y = self.p.T
        chin = self.q[CHIN, 1]
        span = max(chin - self.mouth[1], 0.1)
        ramp = 1 - fall((y - self.mouth[1]) / (0.75 * span))
        side = np.exp(-(((x - self.mouth[0]) / 0.72) ** 4))
        down = JAW * ramp * side * fall((y - chin - 0.02) / 0.55)
        total = np.zeros_like(self.p)
        total[:, 1] = down + self.lips(0.0, JAW * 0.93 * (1 - ramp), (0.26, span))
        for side_of, point in ((-1.0, 61), (1.0, 291)):
            total += (
                self.around(self.q[point], (0.13, 0.13))[:, None] * JAW * np.array([-0.16 * side_of, 0.22])
            )
        return total

    def unit(self, name: str) -> Array:
        """[n,2] displacement at intensity 1, in the units of the landmarks."""
        field = sum((self.push(p) for p in PUSHES.get(name, ())), np.zeros_like(self.p))
        if name in LIDS:
            field[:, 1] += self.lids(*LIDS[name])
        if name in LIPS:
            field[:, 1] += self.lips(*LIPS[name])
        if name == "AU17":
            field[:, 1] -= 0.07 * self.around(self.q[CHIN] + [0, -0.10], (0.18, 0.14))
        if name == "AU26":
            field += self.jaw()
        return field @ self.turn

    def all(self) -> Array:
        """[17,n,2]"""
        return np.stack([self.unit(u) for u in UNITS])


SMILE = ("AU06", "AU10", "AU12", "AU25")  # what real smiles show, told apart by regression
LEARNT = ("AU12", "AU25")  # of these, what is learnt from them; AU10 and AU06 come with a nod of the head


def templates(starts: Array, ends: Array, units: Array) -> dict[str, Array]:
    """{unit: [478,2]} displacement in face coordinates at 1 of each of ``SMILE``, by ridge regression of what
    smiles did: landmarks [P,478,2] before and after, units [P,17] measured.
    """
    moved = np.stack([to_face(b) - to_face(a) for a, b in zip(starts, ends, strict=True)])
    x = units[:, [UNITS.index(u) for u in SMILE]]
    found = np.linalg.solve(x.T @ x + 1.0 * np.eye(len(SMILE)), x.T @ moved.reshape(len(moved), -1))
    return dict(zip(SMILE, found.reshape(len(SMILE), -1, 2), strict=True))


class Spread:
    """Carries values at ``landmarks`` [478,2] to the points of ``dense`` as a local mean (Nadaraya-Watson)
    that fades away from the mesh and does not look across the lips.
    """

    REACH = 0.045

    def __init__(self, dense: Dense, landmarks: Array) -> None:
        at, p, far = Dense(landmarks, landmarks), dense.p, 3.5 * self.REACH
        below_point = at.q[:, 1] > (at.upper + at.lower) / 2
        below_point[list(puppet.LOWER_LIP)], below_point[list(puppet.UPPER_LIP)] = True, False
        self.size = len(p)
        low, high = at.q.min(0) - far, at.q.max(0) + far
        self.near = np.nonzero(((p > low) & (p < high)).all(1))[0]
        p = p[self.near]
        squared = (p**2).sum(1)[:, None] + (at.q**2).sum(1) - 2 * p @ at.q.T
        k = np.exp((-0.5 / self.REACH**2) * squared.astype(np.float32))
        below = p[:, 1] > ((dense.upper + dense.lower) / 2)[self.near]
        width = np.abs(p[:, 0] - dense.mouth[0]) < dense.half
        wall = np.abs(at.q[:, 0] - at.mouth[0]) < 0.98 * at.half  # landmarks that belong to one side
        k[(below[:, None] != below_point) & width[:, None] & wall] = 0
        self.weight = k / (k.sum(1, keepdims=True) + 0.02)

    def __call__(self, values: Array) -> Array:
        """[n,2]"""
        out = np.zeros((self.size, 2))
        out[self.near] = self.weight @ values.astype(np.float32)
        return out


def beside_the_line(landmarks: Array) -> Array:
    """Landmarks [478,2] with those of lips a little (0.012 eye distances) inside their own lip: where closed
    lips meet, the fields step.
    """
    q, turn = to_face(landmarks), Dense(landmarks, landmarks[:1]).turn
    nudge = np.zeros_like(q)
    nudge[list(puppet.UPPER_LIP), 1], nudge[list(puppet.LOWER_LIP), 1] = -0.012, 0.012
    return landmarks + nudge @ turn


class Actor:
    """All units of one face as fields and at its landmarks, ``LEARNT`` ones by ``learnt`` templates."""

    def __init__(self, landmarks: Array, points: Array, learnt: dict[str, Array]) -> None:
        dense, at = Dense(landmarks, points), Dense(landmarks, beside_the_line(landmarks))
        self.fields, self.marks = dense.all(), puppet.basis(landmarks)
        self.spread = Spread(dense, landmarks)
        for name, template in learnt.items():
            self.marks[UNITS.index(name)] = template @ dense.turn
        here, near = at.all(), Spread(at, landmarks)
        lower = np.clip((at.q[:, 1] - 0.35) / 0.2, 0, 1)[:, None]  # 1 from the nose's tip down
        for k, name in enumerate(UNITS):  # what happens at a landmark is what is said to happen there
            share = 1.0 if name in learnt else lower * (name not in LIDS)
            for _ in range(ROUNDS):
                left = share * (self.marks[k] - here[k])
                self.fields[k] += self.spread(left)
                here[k] += near(left)
        self.dense, self.landmarks = dense, landmarks

    def fit(self, target: Array, names: tuple[str, ...], ridge: float = 0.003) -> Array:
        """[17]: the change of the named units that best turns the landmarks into ``target`` [478,2], both
        upright: weighted least squares, lips first.
        """
        w = np.full(478, 0.3)
        w[list(puppet.UPPER_LIP + puppet.LOWER_LIP + (61, 291))] = 3.0
        index = [UNITS.index(n) for n in names]
        here = np.linalg.inv(self.dense.turn)
        a = (self.marks[index] @ here * w[:, None]).reshape(len(index), -1).T
        b = ((to_face(target) - to_face(self.landmarks)) * w[:, None]).reshape(-1)
        out = np.zeros(len(UNITS))
        out[index] = np.clip(np.linalg.solve(a.T @ a + ridge * np.eye(len(index)), a.T @ b), -1.5, 1.5)
        return out

    def personal(self, target: Array, change: Array) -> dict[int, Array]:
        """{unit: [478,2]}: this person's own way of the ``LEARNT`` units, beside the mean's.

        What ``change`` leaves of the way to ``target``, below the eyes, shared out by how much each unit
        changed; all of it where they change a lot.
        """
        moved = np.tensordot(change, self.marks @ np.linalg.inv(self.dense.turn), 1)
        left = to_face(target) - to_face(self.landmarks) - moved
        left = left * np.clip((to_face(self.landmarks)[:, 1] - 0.1) / 0.3, 0, 1)[:, None] @ self.dense.turn
        index = [UNITS.index(u) for u in LEARNT]
        whole = float(np.square(change[index]).sum()) + 0.15
        return {u: float(change[u]) / whole * left for u in index}


def mirrors(mean: Array) -> Array:
    """[478]: the landmark that each becomes in a mirror, from the mean face."""
    other = np.stack([2 * mean[:, 0].mean() - mean[:, 0], mean[:, 1]], -1)
    return np.linalg.norm(other[:, None] - mean[None], axis=-1).argmin(1)


def learn(landmarks: Array, pairs: list[tuple[int, int]], units: Array) -> dict[str, Array]:
    """The templates of ``LEARNT`` from every ``pairs`` (neutral, smiling) of ``landmarks`` [N,478,2]."""
    found = templates(
        landmarks[[a for a, _ in pairs]], landmarks[[b for _, b in pairs]], units[[b for _, b in pairs]]
    )
    mirror = mirrors(landmarks.mean(0))
    return {n: (found[n] + found[n][mirror] * [-1, 1]) / 2 for n in LEARNT}


def _base_units(faces: Faces) -> np.ndarray:
    """[N,17] units as shown: 0 for a neutral face; for a smile what was measured against the neutral photo,
    and the puppet's best fit for units that have no measure of their own.
    """
    base = np.zeros((len(faces.rows), len(UNITS)))
    free = [i for i, u in enumerate(UNITS) if u in ("AU06", "AU07", "AU26")]
    for neutral, smiling in faces.pairs():
        start, end = faces.landmarks[neutral].numpy(), faces.landmarks[smiling].numpy()
        for name, value in zip(
            tuple(UNIT_DISPLACEMENT), unit_change(start, end, tuple(UNIT_DISPLACEMENT)), strict=True
        ):
            base[smiling, UNITS.index(name)] = value
        fields = puppet.basis(start)
        pose = np.concatenate(
            [start - start.mean(0), np.ones_like(start)], 1
        )  # an affine change is the head's
        moved = (end - start) - np.tensordot(np.maximum(base[smiling], 0), fields, 1)
        columns = np.concatenate([fields[free].reshape(len(free), -1).T, np.kron(pose, np.eye(2))], 1)
        fit = np.linalg.lstsq(columns, moved.reshape(-1), rcond=None)[0]
        base[smiling, free] = np.clip(fit[: len(free)], 0, 1)
    return np.clip(base, 0, 1.5)


def unit_fields(
    faces: Faces, path: Path, learnt: dict[str, Array] | None = None, workers: int = 0
) -> dict[str, torch.Tensor]:
    """What every unit does to every face, from ``path`` or made and kept there, in fractions of the crop.
    ``learnt``: templates of other people's; else they are learnt from ``faces``. workers: processes.

    fields [N,17,2,GRID,GRID], moves [N,17,478,2]: forward displacements at intensity 1. units [N,17]: the
    change to the same person's other photo, if there is one. rest [N,2,GRID,GRID]: what they leave of it.
    sure [N,17]: less than 1 for the ``LEARNT`` units of people with one photo, who have the mean of the
    others'.
    """
    if path.exists():
        return read_tensors(path)[0]
    marks, pairs = faces.landmarks.numpy(), faces.pairs()
    learnt = learnt or learn(marks, pairs, _base_units(faces))
    partner = dict(pairs) | {b: a for a, b in pairs}
    jobs = [(points, marks[partner[k]] if k in partner else None, learnt) for k, points in enumerate(marks)]
    if workers:
        with ProcessPoolExecutor(workers, mp.get_context("fork")) as pool:
            done = list(pool.map(_alone, jobs, chunksize=4))
    else:
        done = [_of_one(*job) for job in jobs]
    made = {k: torch.stack([torch.as_tensor(one[k]) for one in done]) for k in done[0]}
    write_tensors(path, made, {"grid": GRID})
    return made


def _alone(job: tuple[Array, Array | None, dict[str, Array]]) -> dict[str, NDArray[np.generic]]:
    """``_of_one`` in a process of its own, whose tensors stay there."""
    torch.set_num_threads(1)
    return {k: v.numpy() for k, v in _of_one(*job).items()}


def _of_one(points: Array, other: Array | None, learnt: dict[str, Array]) -> dict[str, torch.Tensor]:
    """``unit_fields`` of one face; ``other``: landmarks of the same person's other photo."""
    grid = identity_points(GRID, GRID)[0].reshape(-1, 2).double().numpy()
    actor = Actor(points, grid, learnt)
    units, rest = np.zeros(len(UNITS)), torch.zeros(2, GRID, GRID, dtype=torch.half)
    mine, sure = [UNITS.index(u) for u in LEARNT], torch.ones(len(UNITS))
    if other is None:
        sure[mine] = 0.25
    else:
        units = actor.fit(other, FIT)
        share = actor.personal(other, units)
        for u in mine:
            actor.fields[u] += actor.spread(share[u])
            actor.marks[u] += share[u]
        left = other - points - np.tensordot(units, actor.marks, 1)
        rest = _grid(torch.from_numpy(actor.spread(left))[None])[0]
    return {
        "fields": _grid(torch.from_numpy(actor.fields)),
        "moves": torch.from_numpy(actor.marks).float(),
        "units": torch.from_numpy(units).float(),
        "rest": rest,
        "sure": sure,
    }


def _grid(values: torch.Tensor) -> torch.Tensor:
    """[u,n,2] -> [u,2,GRID,GRID]"""
    return values.reshape(-1, GRID, GRID, 2).permute(0, 3, 1, 2).half()
