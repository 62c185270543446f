"""``render --ray`` on a local cluster of two workers, one of them killed while it works."""

from __future__ import annotations

import os
import signal
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

from atw_nodes import extras
from atw_nodes.cli import main
from atw_nodes.clips import read_frames
from tests.rendering_many import at_work, begun, furnished, hidden, processes, row, summary, table, until

LONG = 150
needs_ray = pytest.mark.skipif(find_spec("ray") is None, reason='Ray is not installed: pip install "ray"')
posix = pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="looks for processes in /proc")


@needs_ray
@posix
def test_an_actor_killed_while_it_works_costs_nothing_but_time(tmp_path: Path) -> None:
    folder = furnished(tmp_path)
    jobs = table(folder, row("a.gif", LONG), row("b.gif", LONG), row("c"), row("d.gif", 3, "900,900,50"))
    # Ray starts its workers at niceness 15, which on a busy machine is next to never
    with begun(jobs, "--ray", "local", "--workers", "2", RAY_worker_niceness="0") as child:
        busy: list[int] = []
        until(lambda: bool(busy.extend(at_work(processes("ray::", child.pid))) or busy), child, 240)
        os.kill(busy[0], signal.SIGKILL)
        assert not (folder / "a.gif").exists() or not (folder / "b.gif").exists()
        err = child.communicate()[1]
        assert f"3 done, 0 skipped, 1 failed; {2 * LONG + 3} frames" in err
        assert child.returncode == 1
    made = summary(folder)
    assert sorted(r["attempts"] for r in made.values()) == ["1", "1", "1", "2"]
    assert made["d.gif"]["status"] == "failed" and "outside the photo" in made["d.gif"]["error"]
    assert all(len(list(read_frames(folder / name))) == LONG for name in ("a.gif", "b.gif"))
    assert len(list((folder / "c").iterdir())) == 3 and not hidden(folder)
    assert len({r["worker"] for r in made.values()}) >= 2


@needs_ray
def test_addresses_where_nobody_listens_are_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    jobs = table(furnished(tmp_path), row("a.gif"))
    for address, message in (
        ("here", "expected local, auto, host:port"),
        ("127.0.0.1:1", "nobody listens there"),
    ):
        assert main(["render", str(jobs), "--ray", address]) == 2
        assert message in capsys.readouterr().err


def test_missing_ray_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(extras.MissingExtraError, match='pip install "ray"'):
        extras.ray_module()
    jobs = table(furnished(tmp_path), row("a.gif"))
    assert main(["render", str(jobs), "--ray", "local"]) == 2
    assert 'pip install "ray"' in capsys.readouterr().err
