"""Losses by hand, data that lines up, a trainer that learns and resumes to the bit."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from atw_nodes import losses
from atw_nodes.checkpoints import write_tensors
from atw_nodes.data import Augment, PairSampler, read_faces
from atw_nodes.networks import Generator, GeneratorConfig
from atw_nodes.signals import INNER_LIP_RING, to_face, unit_change
from atw_nodes.training import Phase, TrainConfig, Trainer
from atw_nodes.training_state import read_state
from atw_nodes.types import CheckpointError, Generated, InputError

UNITS = ("AU10", "AU12", "AU25")
TINY = GeneratorConfig(3, size=32, width=4, motion_blocks=1, refine_blocks=1)


def mesh() -> np.ndarray:
    """A made-up face of 478 points in a 48-pixel crop: eyes, lips and a grid for the rest."""
    points = np.random.default_rng(0).uniform(14, 34, (478, 2))
    for i, p in (
        (33, (17, 23)),
        (133, (21, 23)),
        (362, (27, 23)),
        (263, (31, 23)),
        (61, (20, 30)),
        (291, (28, 30)),
        (1, (24, 26)),
    ):
        points[i] = p
    for k, i in enumerate(INNER_LIP_RING):
        a = 2 * np.pi * k / len(INNER_LIP_RING)
        points[i] = (24 - 3 * np.cos(a), 30 - 0.5 * np.sin(a))
    return points


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Three people, neutral and smiling: a smile widens the mouth, lifts its corners and opens it."""
    rows, marks, rng = [], [], np.random.default_rng(1)
    for person in range(3):
        neutral = mesh() + rng.normal(0, 0.1, (478, 2))
        smiling = neutral.copy()
        smiling[[61, 291]] += [[-1.0, -0.7], [1.0, -0.7]]
        smiling[[95, 88, 178, 87, 14, 317, 402, 318, 324]] += [0, 1.2]
        face = rng.integers(60, 200, (48, 48, 3), dtype=np.uint8)
        for expression, points in (("neutral", neutral), ("smiling", smiling)):
            name = f"{person}_{expression}"
            Image.fromarray(face).save(tmp_path / f"{name}.png")
            Image.new("L", (48, 48), 255).save(tmp_path / f"{name}.matte.png")
            rows.append(
                {
                    "image": f"{name}.png",
                    "matte": f"{name}.matte.png",
                    "set": "made",
                    "subject": str(person),
                    "expression": expression,
                }
            )
            marks.append(points)
    with (tmp_path / "manifest.csv").open("w", newline="") as f:
        writer = csv.DictWriter(f, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    np.save(tmp_path / "landmarks.npy", np.array(marks, np.float32))
    return tmp_path


def sampler(folder: Path) -> PairSampler:
    faces = read_faces(folder, 32)
    return PairSampler(faces, faces.pairs(), UNITS, 32)


def batch_of(n: int = 2, size: int = 8, **changes: torch.Tensor) -> losses.Batch:
    shapes = {
        "source": (n, 3, size, size), "target": (n, 3, size, size), "signal": (n, 3), "source_landmarks": (n, 5, 2),
        "target_landmarks": (n, 5, 2), "landmark_weight": (n, 5), "person": (n, 1, size, size),
        "focus": (n, 1, size, size), "gap": (n, 1, size, size), "paired": (n,), "mask": (n, 1, size, size),
    }  # fmt: skip
    values = {k: torch.zeros(v, dtype=torch.float64) for k, v in shapes.items()}
    return losses.Batch(**{**values, **changes})


def output(n: int = 2, size: int = 8, **changes: torch.Tensor) -> Generated:
    zero = torch.zeros(n, 3, size, size, dtype=torch.float64)
    return Generated(**{"field": zero[:, :2], "coarse": zero, "refined": zero, **changes})


def test_landmark_loss_is_the_squared_error_in_pixels() -> None:
    target = torch.full((2, 5, 2), 0.5, dtype=torch.float64)
    target[:, 4] = 1.2  # outside the frame: does not count
    source = target.clone()
    source[:, 0, 0] += 0.25  # 2 pixels of 8
    weight = torch.full((2, 5), 3.0, dtype=torch.float64)
    batch = batch_of(source_landmarks=source, target_landmarks=target, landmark_weight=weight)
    assert float(losses.landmark(batch, output())) == pytest.approx(3 * 4 / 5)
    field = torch.zeros(2, 2, 8, 8, dtype=torch.float64)
    field[:, 0] = 0.25  # right for landmark 0, wrong by 2 pixels for 1..3
    assert float(losses.landmark(batch, output(field=field))) == pytest.approx(3 * 4 * 3 / 5)


def test_photometric_terms_by_hand() -> None:
    ones = torch.ones(2, 3, 8, 8, dtype=torch.float64)
    gap = torch.zeros(2, 1, 8, 8, dtype=torch.float64)
    gap[..., :4] = 1
    paired = torch.tensor([1.0, 0.0], dtype=torch.float64)
    batch = batch_of(target=ones * 0.5, gap=gap, paired=paired, person=torch.ones_like(gap))
    out = output(coarse=ones * 0.1, refined=ones * 0.3)
    assert float(losses.photometric_coarse(batch, out)) == pytest.approx(0.4 * 1.2 * 0.5 / 2)
    assert float(losses.photometric(batch, out)) == pytest.approx(0.2 * (1.2 + 12 * 0.5) / 2)
    assert float(losses.edges(batch, out)) == pytest.approx(0.0, abs=1e-12)
    assert float(losses.refine(batch, out)) == pytest.approx(0.2 * 0.5)
    assert float(losses.refine_unpaired(batch, out)) == pytest.approx(0.2 * 0.5)


def test_motion_penalties_by_hand() -> None:
    field = torch.zeros(2, 2, 8, 8, dtype=torch.float64)
    field[:, 0] = torch.arange(8.0) / 64  # one eighth of a pixel a column
    batch = batch_of()
    assert float(losses.smooth(batch, output(field=field))) == pytest.approx((1 / 8) ** 2 / 2)
    assert float(losses.still(batch, output(field=field))) == pytest.approx(3.5 / 8)
    inside = batch_of(person=torch.ones(2, 1, 8, 8, dtype=torch.float64))
    assert float(losses.still(inside, output(field=field))) == 0


def test_units_measure_what_they_say() -> None:
    points = mesh()
    smile = points.copy()
    distance = 10.0  # eye centres at x = 19 and 29
    smile[[61, 291]] += np.array([[-0.12, -0.09], [0.12, -0.09]]) * distance
    assert unit_change(points, smile, UNITS) == pytest.approx([0, 1, 0], abs=1e-6)
    opened = points.copy()
    opened[14] += [0, 0.16 * distance]
    assert unit_change(points, opened, UNITS) == pytest.approx([0, 0, 1], abs=1e-6)
    assert unit_change(opened, points, UNITS) == pytest.approx([0, 0, -1], abs=1e-6)
    turn = np.array([[np.cos(0.3), np.sin(0.3)], [-np.sin(0.3), np.cos(0.3)]])
    assert unit_change(points @ turn * 3 + 7, smile @ turn * 3 + 7, UNITS) == pytest.approx(
        [0, 1, 0], abs=1e-6
    )
    assert to_face(points)[[33, 133]].mean(0) == pytest.approx([-0.5, 0])
    with pytest.raises(InputError, match="no geometric measure for AU99"):
        unit_change(points, smile, ("AU99",))


def test_landmarks_follow_every_augmentation(folder: Path) -> None:
    """Marks drawn into the image must be where the augmented landmarks say."""
    faces = read_faces(folder, 32)
    work = faces.images.shape[-1]
    y, x = torch.meshgrid(torch.arange(work) + 0.5, torch.arange(work) + 0.5, indexing="ij")
    spots = [33, 263, 61]
    blobs = []
    for i in range(len(faces.rows)):
        p = faces.landmarks[i, spots] * work
        blobs.append(torch.stack([torch.exp(-((x - px) ** 2 + (y - py) ** 2) / 4) for px, py in p.tolist()]))
    drawn = type(faces)(torch.stack(blobs).float(), faces.mattes, faces.gaps, faces.landmarks, faces.rows)
    plain = Augment(colour=0, scene=0, glasses=0, bend=0.02)
    data = PairSampler(drawn, drawn.pairs(), UNITS, 32, plain, partial=0, transfer=0)
    batch = data.batch(24, torch.Generator().manual_seed(3))
    centres = (torch.arange(32) + 0.5) / 32
    for image, marks in ((batch.source, batch.source_landmarks), (batch.target, batch.target_landmarks)):
        mass = image.sum((2, 3))
        got = (
            torch.stack([(image.sum(2) * centres).sum(-1), (image.sum(3) * centres).sum(-1)], -1)
            / mass[..., None]
        )
        want = marks[:, spots]
        inside = ((want > 0.12) & (want < 0.88)).all(-1)
        assert int(inside.sum()) > 30
        assert float((got - want).norm(dim=-1)[inside].max()) < 1.2 / 32


def test_signal_and_landmarks_agree_on_partial_strength(folder: Path) -> None:
    data = sampler(folder)
    data.augment = Augment.none()
    batch = data.batch(40, torch.Generator().manual_seed(0))
    for i in range(40):
        measured = unit_change(
            batch.source_landmarks[i].double().numpy(), batch.target_landmarks[i].double().numpy(), UNITS, 9.0
        )
        assert torch.allclose(torch.from_numpy(measured), batch.signal[i], atol=0.05)
    assert 0.3 < float(batch.paired.mean()) < 0.9


def test_excluded_people_are_not_read(folder: Path) -> None:
    faces = read_faces(folder, 32, exclude=["made/1"])
    assert {r["subject"] for r in faces.rows} == {"0", "2"}
    with pytest.raises(InputError, match="no rows are left of 6"):
        read_faces(folder, 32, only=["made/9"])
    with pytest.raises(InputError, match="no such manifest"):
        read_faces(folder / "none", 32)


PHASES = (
    Phase("motion", "generator", {"landmark": 1.0, "smooth": 0.05}, stop=4, refine=False),
    Phase(
        "joint",
        "generator",
        {"landmark": 1.0, "photometric": 8.0, "mouth_adversarial": 0.1, "mouth_features": 1.0},
        start=4,
    ),
    Phase("critic", "mouth", {"mouth_discriminator": 1.0}, start=4, fresh=False),
)


def trainer(folder: Path, out: Path, steps: int = 8) -> Trainer:
    torch.manual_seed(0)
    config = TrainConfig(steps, batch=4, bf16=False, save_every=3)
    return Trainer(Generator(TINY), sampler(folder), PHASES, config, out)


def test_the_landmark_loss_falls(folder: Path, tmp_path: Path) -> None:
    torch.manual_seed(0)
    phase = Phase("motion", "generator", {"landmark": 1.0}, refine=False, rate=5e-3)
    config = TrainConfig(40, batch=4, bf16=False)
    t = Trainer(Generator(TINY), sampler(folder), [phase], config, tmp_path / "run")
    seen = [r["motion/landmark"] for r in t.train()]
    assert np.mean(seen[-10:]) < 0.6 * np.mean(seen[:5])


def test_resuming_is_bit_exact(folder: Path, tmp_path: Path) -> None:
    straight = trainer(folder, tmp_path / "a")
    list(straight.train())
    first = trainer(folder, tmp_path / "b")
    for record in first.train():
        if record["step"] == 6:  # dies between two saves, in the middle of the adversarial phase
            break
    second = trainer(folder, tmp_path / "b")
    second.random.manual_seed(99)
    assert second.resume() == 6
    list(second.train())
    a, b = straight.named(), second.named()
    assert a.keys() == b.keys()
    assert all(torch.equal(a[k], b[k]) for k in a)
    log = [json.loads(line) for line in (tmp_path / "a" / "log.jsonl").read_text().splitlines()]
    assert [r["step"] for r in log] == list(range(8))
    assert (
        "joint/photometric" in log[-1]
        and "critic/mouth_discriminator" in log[-1]
        and "motion/landmark" in log[0]
    )


def test_state_of_another_generator_is_refused(folder: Path, tmp_path: Path) -> None:
    t = trainer(folder, tmp_path / "run")
    t.out.mkdir()
    t.save()
    other = Trainer(
        Generator(GeneratorConfig(3, size=32, width=8)),
        sampler(folder),
        PHASES,
        TrainConfig(8),
        tmp_path / "run",
    )
    with pytest.raises(CheckpointError, match="state of another generator"):
        other.resume()


def test_a_state_from_before_a_field_of_the_config_goes_on(folder: Path, tmp_path: Path) -> None:
    t = trainer(folder, tmp_path / "run")
    t.out.mkdir()
    t.save()
    tensors, facts, path = read_state(t.out)
    del facts["generator"]["paint_box"]
    write_tensors(path, tensors, facts)
    assert trainer(folder, tmp_path / "run").resume() == 0


def test_unknown_losses_are_refused(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="phase x: unknown"):
        Trainer(
            Generator(TINY),
            sampler(folder),
            [Phase("x", "generator", {"beauty": 1.0})],
            TrainConfig(8),
            tmp_path,
        )


def test_critic_learns_to_tell_and_generator_to_fool(folder: Path, tmp_path: Path) -> None:
    t = trainer(folder, tmp_path / "run")
    batch = t.data.batch(12, torch.Generator().manual_seed(0))
    fake = Generated(torch.zeros(12, 2, 32, 32), batch.source, torch.rand(12, 3, 32, 32))
    critic = t.networks["mouth"]
    before = float(losses.mouth_discriminator(batch, fake, critic).detach())
    for _ in range(30):
        t.optimizers["mouth"].zero_grad()
        losses.mouth_discriminator(batch, fake, critic).backward()
        t.optimizers["mouth"].step()
    assert float(losses.mouth_discriminator(batch, fake, critic).detach()) < before - 0.02
    image = fake.refined.clone().requires_grad_()
    losses.mouth_adversarial(batch, fake._replace(refined=image), critic).backward()
    moved = fake._replace(refined=(image - 0.5 * image.grad / image.grad.abs().max()).detach())
    assert float(losses.mouth_adversarial(batch, moved, critic).detach()) < float(
        losses.mouth_adversarial(batch, fake, critic).detach()
    )


@pytest.mark.parametrize(
    "recipe", sorted((Path(__file__).parents[1] / "recipes").glob("*.py")), ids=lambda p: p.name
)
def test_held_out_people_stay_out_of_every_recipe(recipe: Path) -> None:
    text = recipe.read_text(encoding="utf-8")
    if "read_faces" not in text:
        assert "manifest.csv" not in text and "landmarks.npy" not in text  # reads no face data at all
        return
    if "from au import HELD_OUT" not in text:
        for person in ("001", "010", "036", "090", "120", "134", "016", "045", "082", "103"):
            assert f'"{person}"' in text
    assert "exclude=HELD_OUT" in text


def test_smile_recipe_never_sees_a_held_out_person(faces_folder: Path) -> None:
    from recipes.smile import HELD_OUT
    from recipes.smile import sampler as real

    people = {f"{r['set']}/{r['subject']}" for r in real(faces_folder).faces.rows}
    assert len(HELD_OUT) == 10
    assert people.isdisjoint(HELD_OUT)
    assert len(people) == 132
