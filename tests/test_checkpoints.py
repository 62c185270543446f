"""Checkpoints: round trip, strictness, sources. Each refusal names the file and the way out."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from atw_nodes.checkpoints import (
    FACE,
    bundled,
    find_checkpoint,
    load_checkpoint,
    read_tensors,
    save_checkpoint,
    write_tensors,
)
from atw_nodes.files import model_folders
from atw_nodes.types import CheckpointError, SignalSpec
from tests.conftest import tiny_generator, tiny_spec


def test_round_trip(tiny_checkpoint: Path) -> None:
    loaded = load_checkpoint(tiny_checkpoint)
    original = tiny_generator().to(memory_format=torch.channels_last)  # or sums have another order
    low, signal = torch.rand(1, 3, 32, 32), torch.ones(1, 3)
    assert loaded.signal == tiny_spec()
    assert loaded.training["licence"] == "MIT"
    torch.manual_seed(0)
    original.load_state_dict(loaded.generator.state_dict())
    for a, b in zip(loaded.generator(low, signal), original(low, signal), strict=True):
        assert torch.equal(a, b)
    assert not loaded.generator.training


def altered(path: Path, change) -> Path:  # noqa: ANN001
    tensors, meta = read_tensors(path)
    change(tensors, meta)
    out = path.with_name("altered.safetensors")
    write_tensors(out, tensors, meta)
    return out


FIRST = "motion.last.weight"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda t, m: m.update(version=9), "version 9; this release reads format 'atw', version 1"),
        (lambda t, m: m.update(format="other"), "format 'other'"),
        (lambda t, m: m.pop("generator"), "unreadable metadata"),
        (lambda t, m: m["generator"].update(depth=3), "unreadable metadata"),
        (lambda t, m: m["signal"].update(kind="mood"), "unreadable metadata"),
        (lambda t, m: m["generator"].update(size=10**6), "size is 1000000; expected at most 2048"),
        (lambda t, m: m["generator"].update(motion_blocks=10**9), "motion_blocks is 1000000000"),
        (lambda t, m: m["generator"].update(width=1024), r"is \[.*\], expected \[.*1024"),
        (lambda t, m: m["generator"].update(width="wide"), "unreadable metadata"),
        (lambda t, m: t.pop(FIRST), f"missing weights \\['{FIRST}'\\]"),
        (lambda t, m: t.update(extra=torch.ones(1)), "unexpected \\['extra'\\]"),
        (lambda t, m: t.update({FIRST: torch.ones(1, 2)}), r"is \[1, 2\], expected \[2, 4, 7, 7\]"),
        (lambda t, m: t.update({FIRST: t[FIRST] * torch.nan}), "holds NaN or infinity"),
        (lambda t, m: t.update({FIRST: t[FIRST] + 1}), "do not match their sha"),
        (lambda t, m: m["generator"].update(width=8), "expected"),
    ],
)
def test_a_wrong_file_is_refused_by_name(tiny_checkpoint: Path, change, message: str) -> None:  # noqa: ANN001
    path = altered(tiny_checkpoint, change)
    with pytest.raises(CheckpointError, match=message) as e:
        load_checkpoint(path)
    assert str(path) in str(e.value)


def test_not_a_checkpoint(tmp_path: Path) -> None:
    text = tmp_path / "text.safetensors"
    text.write_text("hello")
    with pytest.raises(CheckpointError, match="damaged or not a safetensors file"):
        load_checkpoint(text)
    foreign = tmp_path / "foreign.safetensors"
    save_file({"a": torch.ones(2)}, foreign)
    with pytest.raises(CheckpointError, match="without ATW metadata"):
        load_checkpoint(foreign)
    with pytest.raises(CheckpointError, match="no such checkpoint; give a file"):
        load_checkpoint(tmp_path / "none.safetensors")


def test_a_failed_write_leaves_the_old_file(tiny_checkpoint: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = tiny_checkpoint.read_bytes()

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("atw_nodes.checkpoints.save_file", full)
    with pytest.raises(OSError, match="No space left"):
        save_checkpoint(tiny_checkpoint, tiny_generator(), tiny_spec(), {})
    assert tiny_checkpoint.read_bytes() == before
    assert [p.name for p in tiny_checkpoint.parent.iterdir()] == [tiny_checkpoint.name]


def test_signal_and_generator_must_agree(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="signal has 1 names, the generator takes 3"):
        save_checkpoint(tmp_path / "x.safetensors", tiny_generator(), SignalSpec("relative", ("AU12",)), {})


def test_search_order(tmp_path: Path, tiny_checkpoint: Path) -> None:
    assert find_checkpoint("tiny", [tmp_path]) == tiny_checkpoint
    assert find_checkpoint("tiny.safetensors", [tmp_path]) == tiny_checkpoint
    assert find_checkpoint(tiny_checkpoint) == tiny_checkpoint
    name = next(iter(bundled()))
    (tmp_path / f"{name}.safetensors").write_bytes(b"impostor")
    assert find_checkpoint(name, [tmp_path]) == bundled()[name]  # bundled first


def test_hub_source(monkeypatch: pytest.MonkeyPatch, tiny_checkpoint: Path) -> None:
    import huggingface_hub

    asked = []

    def download(repo: str, file: str) -> str:
        asked.append((repo, file))
        return str(tiny_checkpoint)

    monkeypatch.setattr(huggingface_hub, "hf_hub_download", download)
    assert find_checkpoint("hf://someone/faces/sub/smile.safetensors") == tiny_checkpoint
    assert asked == [("someone/faces", "sub/smile.safetensors")]
    for bad in ("hf://someone/faces", "hf://someone/faces/weights.bin", "hf://a//x.safetensors"):
        with pytest.raises(CheckpointError, match="expected hf://owner/repo/file.safetensors"):
            find_checkpoint(bad)


def test_hub_offline_is_one_clear_error(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    import huggingface_hub

    def offline(*_: str) -> str:
        raise huggingface_hub.errors.LocalEntryNotFoundError(
            "cannot find the requested file in the cache\nmore"
        )

    monkeypatch.setattr(huggingface_hub, "hf_hub_download", offline)
    with pytest.raises(CheckpointError, match=r"could not be fetched \(cannot find the requested file") as e:
        find_checkpoint("hf://someone/faces/smile.safetensors")
    assert "\n" not in str(e.value)


def test_bundled_checkpoint_loads_and_has_a_card() -> None:
    checkpoint = load_checkpoint()
    assert checkpoint.path.stat().st_size < 25e6
    assert checkpoint.signal.kind == "relative"
    assert {"smiling", "neutral"} <= set(checkpoint.signal.presets)
    assert "CC BY" in checkpoint.training["data"]
    card = checkpoint.path.with_suffix(".md").read_text(encoding="utf-8")
    assert checkpoint.sha in card
    json.dumps(dict(checkpoint.training))


@pytest.mark.parametrize("name", sorted(p.stem for f in model_folders() for p in f.glob("*.safetensors")))
def test_every_file_has_a_card_with_its_sha_and_is_small(name: str) -> None:
    (path,) = (p for f in model_folders() for p in f.glob(f"{name}.safetensors"))
    _, meta = read_tensors(path)
    card = path.with_suffix(".md").read_text(encoding="utf-8")
    assert meta["sha"] in card and "@" not in card
    assert "CC BY" in card and "## Limits" in card
    assert path.stat().st_size < (4e6 if name == FACE else 25e6)
