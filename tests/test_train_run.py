"""Runs: Algorithm 1 in order, resumed to the bit, fine-tuned, refused in words."""

from __future__ import annotations

import json
import re
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from atw_nodes.checkpoints import load_checkpoint
from atw_nodes.manifest import read_manifest
from atw_nodes.train_config import begun, read_config, settings_of
from atw_nodes.train_run import Run, read_log
from atw_nodes.training_state import last_step, read_state, states
from atw_nodes.types import CheckpointError, InputError, MissingExtraError

from .tiny_training import drawn, tiny


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return drawn(tmp_path_factory.mktemp("faces"))


def finished(run: Run) -> Run:
    list(run.train())
    run.close()
    return run


def same(a: Path, b: Path) -> None:
    (one, _, _), (two, _, _) = read_state(a), read_state(b)
    assert one.keys() == two.keys()
    assert [k for k in one if not torch.equal(one[k], two[k])] == []


def test_a_step_is_a_turn_of_algorithm_1(data: Path, tmp_path: Path) -> None:
    """Batch, D^r and D^w updated n times, then another batch and G once; each on data of its own."""
    run = Run(tiny(data, tmp_path / "run", n_critic=5))
    drawn_rows, order, trainer = [], [], run.trainer
    batch, update = trainer.data.batch, trainer._update
    trainer.data.batch = lambda *a, **k: drawn_rows.append(1) or batch(*a, **k)  # type: ignore[method-assign]
    trainer._update = lambda phase, net: order.append(phase.network) or update(phase, net)  # type: ignore[method-assign]
    before = {k: v.clone() for k, v in trainer.generator.state_dict().items()}
    for _ in range(5):
        trainer.run(trainer.phases[0])
    assert all(torch.equal(v, before[k]) for k, v in trainer.generator.state_dict().items()), "G is held"
    critics = {k: v.clone() for k, v in trainer.networks["critics"].state_dict().items()}
    trainer.run(trainer.phases[1])
    assert all(torch.equal(v, critics[k]) for k, v in trainer.networks["critics"].state_dict().items())
    assert not all(torch.equal(v, before[k]) for k, v in trainer.generator.state_dict().items())
    order.clear(), drawn_rows.clear()
    trainer.one()
    assert order == ["critics"] * 5 + ["generator"] and len(drawn_rows) == 6
    run.close()


@pytest.mark.parametrize("kind", ["category", "absolute", "relative"])
def test_every_kind_of_signal_trains_and_loads(data: Path, tmp_path: Path, kind: str) -> None:
    run = finished(Run(tiny(data, tmp_path / "run", signal=kind, sample_every=2)))
    model = load_checkpoint(run.out / "model.safetensors")
    assert model.signal.kind == kind
    assert model.signal.names == (("neutral", "smiling") if kind == "category" else ("AU12", "AU25"))
    assert model.training["steps"] == 4 and model.training["settings"]["signal"] == kind
    text = (run.out / "model.md").read_text()
    assert model.sha in text and "4 steps" in text and "| generator/driving |" in text
    assert str(tmp_path) not in text and str(tmp_path) not in json.dumps(dict(model.training))
    assert [p.name for p in sorted(run.out.glob("sheet-*"))] == ["sheet-00000002.png", "sheet-00000004.png"]


def test_the_log_has_every_loss_of_every_step(data: Path, tmp_path: Path) -> None:
    run = finished(Run(tiny(data, tmp_path / "run")))
    lines = [json.loads(x) for x in (run.out / "log.jsonl").read_text().splitlines()]
    assert [x["step"] for x in lines] == [0, 1, 2, 3]
    critics = {f"critics/{k}" for k in ("wasserstein", "penalty", "reading", "reading_warp")}
    generator = {f"generator/{k}" for k in ("cycle", "adversarial", "driving", "warp", "refine")}
    assert all(critics | generator <= set(x) for x in lines)
    assert {k: len(v) for k, v in read_log(run.out).items()}["generator/cycle"] == 4


def test_ablation_is_a_weight_of_zero(data: Path, tmp_path: Path) -> None:
    run = finished(Run(tiny(data, tmp_path / "run", lambda_cyc=0.0, lambda_ref=0.0, steps=2)))
    assert not {"generator/cycle", "generator/refine"} & set(read_log(run.out))
    assert "generator/driving" in read_log(run.out)


def test_resuming_is_bit_exact(data: Path, tmp_path: Path) -> None:
    straight = finished(Run(tiny(data, tmp_path / "a", steps=6, save_every=3)))
    config = tiny(data, tmp_path / "b", steps=6, save_every=3)
    first = Run(config)
    for record in first.train():
        if record["step"] == 4:  # two steps beyond the last save are lost and made again
            break
    first.close()
    torch.manual_seed(99)  # nobody else's randomness matters
    second = Run(config, resume=True)
    assert second.step == 3
    finished(second)
    same(straight.out, second.out)
    assert (straight.out / "log.jsonl").read_text().count("\n") == 6
    for a, b in zip(
        *((p / "log.jsonl").read_text().splitlines() for p in (straight.out, second.out)), strict=True
    ):
        a, b = json.loads(a), json.loads(b)
        assert a.pop("images_per_s") and b.pop("images_per_s") and a == b


def test_more_steps_later_are_what_they_would_have_been(data: Path, tmp_path: Path) -> None:
    straight = finished(Run(tiny(data, tmp_path / "a", steps=4)))
    finished(Run(tiny(data, tmp_path / "b", steps=2)))
    finished(Run(tiny(data, tmp_path / "b", steps=4), resume=True))
    same(straight.out, tmp_path / "b")


def test_only_the_last_states_are_kept_and_a_damaged_one_is_passed_over(data: Path, tmp_path: Path) -> None:
    config = tiny(data, tmp_path / "run", steps=6, save_every=1, keep=2)
    finished(Run(config))
    assert list(states(tmp_path / "run")) == [5, 6]
    newest = states(tmp_path / "run")[6]
    newest.write_bytes(newest.read_bytes()[:1000])
    run = Run(config, resume=True)
    assert run.step == 5
    run.close()
    for path in states(tmp_path / "run").values():
        path.write_bytes(b"junk")
    with pytest.raises(CheckpointError, match="none of 2 states can be read"):
        Run(config, resume=True)


def test_a_run_is_never_begun_over_another(data: Path, tmp_path: Path) -> None:
    config = tiny(data, tmp_path / "run", steps=2)
    finished(Run(config))
    with pytest.raises(InputError, match="already holds a run, 2 steps long; resume it .* or"):
        Run(config)
    with pytest.raises(InputError, match="holds no run to resume"):
        Run(tiny(data, tmp_path / "other"), resume=True)
    with pytest.raises(CheckpointError, match="another generator"):
        Run(replace(config, width=8), resume=True)
    with pytest.raises(CheckpointError, match="another critics"):
        Run(replace(config, critic_width=8), resume=True)
    assert settings_of(tmp_path / "run") == config


def test_stop_saves_where_it_is(data: Path, tmp_path: Path) -> None:
    run = Run(tiny(data, tmp_path / "run", steps=50, save_every=40))
    for record in run.train():
        if record["step"] == 2:
            break
    run.stop()
    run.close()
    assert last_step(tmp_path / "run") == 3
    assert load_checkpoint(tmp_path / "run" / "model.safetensors").training["steps"] == 3


def test_fine_tuning_begins_from_a_model(data: Path, tmp_path: Path) -> None:
    first = finished(Run(tiny(data, tmp_path / "a", signal="relative", steps=2)))
    start = first.out / "model.safetensors"
    again = Run(tiny(data, tmp_path / "b", start=str(start), steps=2))
    old = load_checkpoint(start).generator.state_dict()
    assert all(torch.equal(v, old[k]) for k, v in again.trainer.generator.state_dict().items())
    finished(again)
    new = load_checkpoint(again.out / "model.safetensors")
    assert new.training["from"] == "model" and new.signal == first.spec
    assert not all(torch.equal(v, old[k]) for k, v in new.generator.state_dict().items())
    start.unlink()  # a run goes on without what it began from
    assert finished(Run(tiny(data, tmp_path / "b", start=str(start), steps=3), resume=True)).step == 3
    start = tmp_path / "b" / "model.safetensors"
    with pytest.raises(InputError, match="signal is category, but model.safetensors takes relative"):
        Run(tiny(data, tmp_path / "c", start=str(start), signal="category"))


def test_people_can_be_left_out(data: Path, tmp_path: Path) -> None:
    run = Run(tiny(data, tmp_path / "run", exclude=("p0", "p2")))
    assert {r.subject for r in run.manifest.rows} == {"p1", "p3"}
    run.close()
    with pytest.raises(InputError, match="exclude names nobody; .* has p0, p1, p2, p3"):
        Run(tiny(data, tmp_path / "other", exclude=("nobody",)))


def test_training_ends_in_words_where_gradients_are_none(data: Path, tmp_path: Path) -> None:
    run = Run(tiny(data, tmp_path / "run", steps=100))
    with torch.no_grad():
        next(run.trainer.networks["critics"].parameters()).fill_(float("nan"))
    with pytest.raises(InputError, match="the gradients of critics were not finite 25 times in a row"):
        list(run.train())
    run.close()


def test_pairs_can_teach_beside_the_discriminators(tmp_path: Path) -> None:
    """Landmarks of a person's other photo as a further weight: the motion comes to follow them."""
    table = drawn(tmp_path, side=96)
    marks = np.random.default_rng(0).uniform(30, 66, (8, 478, 2)).astype(np.float32)
    marks[1::2] = marks[0::2] + [3.0, 0.0]  # the smiling photo: all 3 of 96 pixels to the right
    np.save(tmp_path / "landmarks.npy", marks)
    weights = {"lambda_landmark": 1.0, "lambda_photometric": 1.0, "lambda_adv": 0.0, "lambda_cyc": 0.0}
    weights |= {"lambda_ref": 0.0, "augment": 0.0, "rate": 5e-3, "steps": 30, "save_every": 30}
    run = finished(Run(tiny(table, tmp_path / "run", signal="relative", **weights)))
    seen = read_log(run.out)["generator/landmark"]
    assert sum(seen[-8:]) < 0.6 * sum(seen[:8])
    assert "generator/photometric" in read_log(run.out)


def test_an_extra_that_is_missing_names_its_command(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    with pytest.raises(MissingExtraError, match="pip install tensorboard"):
        Run(tiny(data, tmp_path / "run", tensorboard=True))
    assert not begun(tmp_path / "run"), "nothing was begun"


def test_a_run_killed_before_its_first_state_begins_again(data: Path, tmp_path: Path) -> None:
    config = tiny(data, tmp_path / "run", steps=2)
    Run(config).close()
    for path in states(tmp_path / "run").values():
        path.unlink()
    assert begun(tmp_path / "run")
    assert finished(Run(config, resume=True)).step == 2


def test_left_out_people_take_their_categories_along(data: Path, tmp_path: Path) -> None:
    table = drawn(tmp_path / "faces")
    table.write_text(table.read_text().replace("smiling,p3", "winking,p3"))
    assert read_manifest(table).categories == ("neutral", "smiling", "winking")
    run = Run(tiny(table, tmp_path / "run", signal="category", exclude=("p3",)))
    assert run.spec.names == ("neutral", "smiling")
    run.close()


def test_the_cards_settings_are_settings(data: Path, tmp_path: Path) -> None:
    run = finished(Run(tiny(data, tmp_path / "run", exclude=("p0",), licence='mine, "all"', steps=1)))
    (block,) = re.findall(r"```toml\n(.*?)```", (run.out / "model.md").read_text(), re.DOTALL)
    file = tmp_path / "again.toml"
    file.write_text('data = "d"\nout = "o"\n' + block)
    again = read_config(file)
    assert (again.exclude, again.licence, again.width) == (("p0",), 'mine, "all"', 4)


def test_devices_that_are_none_are_named(data: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="gpu: not usable here"):
        Run(tiny(data, tmp_path / "run", device="gpu"))
