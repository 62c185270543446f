"""Runs in processes of their own: killed at any moment, several as one, stopped from the keyboard."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import textwrap
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from atw_nodes.checkpoints import load_checkpoint
from atw_nodes.train_run import Run, read_log
from atw_nodes.training_state import last_step, read_state

from .test_train_run import finished, same
from .tiny_training import drawn, tiny

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> Iterator[None]:
    """Sums are equal to the bit at equal thread counts only: one, here and in every process."""
    before, kept = torch.get_num_threads(), os.environ.get("OMP_NUM_THREADS")
    torch.set_num_threads(1)
    os.environ["OMP_NUM_THREADS"] = "1"
    yield
    torch.set_num_threads(before)
    if kept is None:
        del os.environ["OMP_NUM_THREADS"]
    else:
        os.environ["OMP_NUM_THREADS"] = kept


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return drawn(tmp_path_factory.mktemp("faces"))


KILLS = """
    import json, os, random, signal, sys, time
    import torch
    import torch._dynamo  # Adam does at its first step: twenty times, if not here
    torch.set_num_threads(1)
    from pathlib import Path
    sys.path.insert(0, ROOT)
    from atw_nodes.train_config import begun
    from atw_nodes.train_run import Run
    from atw_nodes.training_state import states
    from tests.tiny_training import tiny
    out, rng, seen = Path(OUT), random.Random(1), []

    def whole(found):
        # every state has all the bytes that its header speaks of; without torch, since a process that has used
        # its threads must not fork
        for path in found.values():
            data = path.read_bytes()
            length = int.from_bytes(data[:8], "little")
            header = json.loads(data[8 : 8 + length])
            ends = [v["data_offsets"][1] for k, v in header.items() if k != "__metadata__"]
            assert 8 + length + max(ends) == len(data), path
        return max(found)

    config = tiny(Path(DATA), out, steps=100000, save_every=2, sample_every=3)
    for kill in range(20):
        reader, writer = os.pipe()
        child = os.fork()
        if not child:
            run = Run(config, begun(out))
            for record in run.train():
                os.write(writer, b"%d\\n" % record["step"])
            os._exit(1)
        os.close(writer)
        with os.fdopen(reader) as told:
            for _ in range(rng.randint(1, 4)):  # it is under way, at whatever speed
                step = told.readline()
            time.sleep(rng.uniform(0.0, 0.1))
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)
            step = (told.read().split() or [step])[-1]
        seen.append((int(step) + 1, whole(states(out))))
    print(json.dumps(seen))
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork, so that twenty starts cost one import")
def test_twenty_kills_lose_little_and_break_nothing(data: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    code = textwrap.dedent(KILLS).replace("ROOT", repr(str(ROOT))).replace("OUT", repr(str(out)))
    code = code.replace("DATA", repr(str(data)))
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=240, check=False
    )
    assert done.returncode == 0, done.stderr[-2000:]
    seen = json.loads(done.stdout)
    assert len(seen) == 20 and seen[-1][1] > 2
    for (made, saved), (_, later) in zip(seen, [*seen[1:], seen[-1]], strict=True):
        assert made - saved <= 2, "at most the steps since the last save are lost"
        assert later >= saved, "and nothing that was saved"
    run = Run(tiny(data, out, steps=seen[-1][1] + 2), resume=True)
    assert not list(out.glob(".*.partial*")), "what a killed process was writing is swept away"
    finished(run)
    straight = finished(Run(tiny(data, tmp_path / "straight", steps=seen[-1][1] + 2)))
    same(straight.out, out)  # twenty deaths later it is the run that never died
    steps = [json.loads(x)["step"] for x in (out / "log.jsonl").read_text().splitlines()]
    assert steps == list(range(len(steps)))


def free_port() -> int:
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


@pytest.mark.skipif(not torch.distributed.is_available(), reason="this torch has no torch.distributed")
def test_two_processes_are_one(data: Path, tmp_path: Path) -> None:
    """2 x batch 5 under torchrun agrees with 1 x batch 10 after three turns."""
    keys = {"size": 32, "width": 4, "critic_width": 4, "critic_layers": 3, "batch": 10, "steps": 3}
    keys |= {
        "n_critic": 5,
        "save_every": 3,
        "sample_every": 0,
        "device": "cpu",
        "half": "off",
        "signal": "relative",
    }
    made = {}
    for name, count in (("one", 1), ("two", 2)):
        values = {**keys, "data": str(data), "out": str(tmp_path / name)}
        file = tmp_path / f"{name}.toml"
        file.write_text("".join(f"{k} = {json.dumps(v)}\n" for k, v in values.items()))
        run = [*("-m", "torch.distributed.run", "--nproc-per-node", "2", "--master-addr", "127.0.0.1")]
        run += ["--master-port", str(free_port())]
        command = [
            sys.executable,
            *(run if count == 2 else []),
            "-m",
            "atw_nodes",
            "train",
            str(file),
            "--quiet",
        ]
        env = {**os.environ, "PYTHONPATH": str(ROOT)}
        done = subprocess.run(
            command, capture_output=True, text=True, env=env, cwd=ROOT, timeout=240, check=False
        )
        assert done.returncode == 0, done.stderr[-2000:]
        made[name] = read_state(tmp_path / name)[0]
    assert made["one"].keys() == made["two"].keys()
    for key, value in made["one"].items():
        if value.is_floating_point() and not key.startswith("adam"):
            assert float((value - made["two"][key]).abs().max()) <= 1e-5, key
    logs = [read_log(tmp_path / name) for name in ("one", "two")]
    for key, values in logs[0].items():
        assert values == pytest.approx(logs[1][key], abs=1e-4), key


@pytest.mark.skipif(os.name != "posix", reason="sends SIGINT")
def test_ctrl_c_saves(data: Path, tmp_path: Path) -> None:
    file = tmp_path / "run.toml"
    config = tiny(data, tmp_path / "run", steps=100_000, save_every=100_000)
    keys = {k: v for k, v in config.to_json().items() if k != "exclude"}
    file.write_text("".join(f"{k} = {json.dumps(v)}\n" for k, v in keys.items()))
    log, command = tmp_path / "run" / "log.jsonl", [sys.executable, "-m", "atw_nodes", "train", str(file)]

    def listens() -> None:  # whatever started these tests may have told its children to ignore Ctrl+C
        signal.signal(signal.SIGINT, signal.default_int_handler)

    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True, cwd=ROOT, preexec_fn=listens) as child:
        assert child.stderr is not None
        until = time.monotonic() + 120
        while not (log.exists() and log.read_text().count("\n") > 2):
            assert child.poll() is None and time.monotonic() < until
            time.sleep(0.05)
        child.send_signal(signal.SIGINT)
        rest = child.stderr.read()
        assert child.wait(60) == 130 and "--resume goes on from there" in rest
    step = last_step(tmp_path / "run")
    assert step is not None and step >= 3 and f"saved at step {step}" in rest
    assert load_checkpoint(tmp_path / "run" / "model.safetensors").training["steps"] == step
    straight = finished(Run(tiny(data, tmp_path / "straight", steps=step)))
    same(straight.out, tmp_path / "run")  # a whole number of steps
