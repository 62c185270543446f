"""Batches for Algorithm 1: every photo once an epoch, labels and signals by their definitions, shares that add up."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from atw_nodes.label_sampler import NOISE, Jitter, LabelSampler, labels_of, spec_of
from atw_nodes.losses import Batch
from atw_nodes.manifest import read_manifest
from atw_nodes.types import InputError

from .tiny_training import drawn


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return drawn(tmp_path_factory.mktemp("faces"))


def sampler(table: Path, kind: str = "relative", **how: object) -> LabelSampler:
    manifest = read_manifest(table)
    return LabelSampler(manifest, spec_of(manifest, kind), 32, **how)  # type: ignore[arg-type]


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_every_photo_once_an_epoch(table: Path) -> None:
    s = sampler(table)
    first = [s._next(3).tolist() for _ in range(8)]  # three epochs of eight rows
    flat = sum(first, [])
    epochs = [flat[k : k + 8] for k in (0, 8, 16)]
    assert all(sorted(e) == list(range(8)) for e in epochs) and epochs[0] != epochs[1]
    again = sampler(table)
    again.restore({"cursor": 9})
    assert again._next(4).tolist() == flat[9:13], "a saved place is gone on from"
    assert sampler(table, seed=1)._next(8).tolist() != epochs[0]


def test_labels_and_signals_of_a_relative_model(table: Path) -> None:
    batch = sampler(table).batch(8, seeded())
    assert batch.label is not None and batch.wanted is not None and batch.back is not None
    assert set(batch.label[:, 0].tolist()) == {0.0, 1.0}, "c_s: what the photo shows"
    assert torch.allclose(batch.wanted, (batch.label + batch.signal).clamp(0, 1)), "c_t = c_s + change"
    assert torch.equal(batch.back, -batch.signal), "the way back is the opposite change"
    near = torch.minimum((batch.wanted - 1).abs(), batch.wanted.abs())[:, 0]
    assert float(near.max()) <= NOISE and float(near.max()) > 0, "another row's label, with little noise"
    assert batch.alpha is not None and batch.alpha.shape == (8, 1, 1, 1)
    assert len(set(batch.alpha.flatten().tolist())) == 8


@pytest.mark.parametrize("kind", ["category", "absolute"])
def test_labels_and_signals_of_the_other_kinds(table: Path, kind: str) -> None:
    batch = sampler(table, kind).batch(8, seeded())
    assert batch.label is not None and batch.wanted is not None
    assert torch.equal(batch.signal, batch.wanted), "the generator is told what to show"
    assert batch.back is not None and torch.equal(batch.back, batch.label), (
        "and on the way back what it showed"
    )
    if kind == "category":
        assert set(batch.wanted.flatten().tolist()) == {0.0, 1.0} and bool((batch.wanted.sum(1) == 1).all())
    else:
        assert float(batch.wanted.min()) >= 0 and float(batch.wanted.max()) <= 1


def test_shares_are_the_whole(table: Path) -> None:
    """Two processes with the same random numbers make the two halves of what one makes."""
    whole = sampler(table).batch(8, seeded())
    halves = [sampler(table).batch(8, seeded(), part=(k, 2)) for k in range(2)]
    for name, value in vars(whole).items():
        both = torch.cat([getattr(h, name) for h in halves])
        assert torch.equal(value, both), name
    with pytest.raises(InputError, match="batch 5 cannot be shared out to 2 processes"):
        sampler(table).batch(5, seeded(), part=(0, 2))


def test_without_jitter_the_photo_is_the_photo(table: Path) -> None:
    s = sampler(table, jitter=Jitter.none())
    batch = s.batch(8, seeded())
    again = sampler(table)
    pixels, _ = s.pictures.get(again._next(8).tolist())
    assert torch.allclose(batch.source, pixels.float() / 255, atol=1e-5)


def test_jitter_moves_mirrors_and_recolours(table: Path) -> None:
    plain, other = (sampler(table, jitter=j).batch(8, seeded()).source for j in (Jitter.none(), Jitter()))
    assert float((plain - other).abs().mean()) > 0.02
    mirrored = sampler(table, jitter=replace(Jitter.none(), flip=1.0)).batch(8, seeded()).source
    assert torch.allclose(mirrored, plain.flip(-1), atol=1e-5)
    hue = sampler(table, jitter=replace(Jitter.none(), hue=0.5)).batch(8, seeded()).source
    luma = torch.tensor([0.299, 0.587, 0.114])
    a, b = (torch.einsum("c,bchw->bhw", luma, x) for x in (plain, hue))
    inside = ((hue > 0.01) & (hue < 0.99)).all(1)  # not clipped
    assert float((a - b).abs()[inside].max()) < 5e-3 < float((plain - hue).abs().max()), "hue keeps the luma"


def test_a_lost_photo_brings_its_stand_ins_label(table: Path, tmp_path: Path) -> None:
    other = drawn(tmp_path / "gone")
    s = sampler(other, jitter=Jitter.none())
    order = sampler(other)._next(8).tolist()
    (tmp_path / "gone" / f"{order[0]}.png").unlink()
    batch = s.batch(8, seeded())
    assert len(s.pictures.failed) == 1
    stand_in = (order[0] + 1) % 8
    assert batch.label is not None and torch.equal(batch.label[0], s.labels[stand_in])


def supervised(folder: Path) -> LabelSampler:
    """A set as ``prepare`` makes it: landmarks beside the table, a margin, people with two photos."""
    table = drawn(folder, side=96)
    marks = np.random.default_rng(0).uniform(30, 66, (8, 478, 2)).astype(np.float32)
    np.save(folder / "landmarks.npy", marks)
    return sampler(table, supervised=True, jitter=Jitter.none())


def test_pairs_have_their_true_photo_and_landmarks(tmp_path: Path) -> None:
    s = supervised(tmp_path)
    assert s.manifest.margin == 1.5
    batch: Batch = s.batch(40, seeded())
    paired = batch.paired > 0
    assert 8 < int(paired.sum()) < 32, "about half"
    assert torch.equal(batch.target[~paired], batch.source[~paired])
    assert batch.label is not None and batch.wanted is not None
    assert bool((batch.label[paired, 0] != batch.wanted[paired, 0]).all()), "the other photo, its own label"
    assert not batch.landmark_weight[~paired].any() and bool(batch.landmark_weight[paired].all())
    assert batch.source_landmarks.shape == (40, 478, 2)
    marks = torch.from_numpy(np.load(tmp_path / "landmarks.npy")) / 96
    canonical = (marks - 0.5) * 1.5 + 0.5
    row = int((canonical - batch.source_landmarks[0]).abs().sum((1, 2)).argmin())
    assert torch.allclose(canonical[row], batch.source_landmarks[0], atol=1e-5)


def test_supervision_needs_landmarks(table: Path) -> None:
    with pytest.raises(InputError, match=r"landmarks.npy: .*set those weights to 0"):
        sampler(table, supervised=True)


def test_a_manifest_that_cannot_drive_says_so(tmp_path: Path) -> None:
    table = drawn(tmp_path)
    lines = table.read_text().splitlines()
    table.write_text("\n".join(",".join(line.split(",")[:1]) for line in lines))
    bare = read_manifest(table)
    with pytest.raises(InputError, match="0 categories .none.; expected at least 2"):
        spec_of(bare, "category")
    with pytest.raises(InputError, match='no AU columns; expected some of AU01.* or signal = "category"'):
        spec_of(bare, "relative")
    table.write_text("\n".join(lines).replace("neutral", "", 1))
    some = read_manifest(table)
    with pytest.raises(InputError, match="1 of 8 rows have no category"):
        labels_of(some, spec_of(some, "category"))
