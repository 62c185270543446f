"""The ways of computing a pass agree: the fused kernel (under Triton's interpreter, or on a GPU), OpenCV's
remap, and torch's operators, which ``test_reswarp.py`` holds to the paper's formulas.
"""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from atw_nodes.frames import frame_from_box, frame_from_eyes
from atw_nodes.kernels import Pass, eager, fused_works
from atw_nodes.lift import LiftConfig
from atw_nodes.pyramid import to_float
from atw_nodes.reswarp import ReswarpConfig, in_pixels
from atw_nodes.threads import each
from atw_nodes.types import FaceFrame, InputError, MissingExtraError
from tests.conftest import photo_like, smooth_field

ROOT = Path(__file__).resolve().parents[1]
CPU = torch.device("cpu")


def passes(
    device: torch.device = CPU, height: int = 70, width: int = 300
) -> Iterator[tuple[str, Pass, tuple]]:
    """Every kind of pass, small: (name, pass, box)."""
    torch.manual_seed(0)
    whole = FaceFrame.whole(height, width)
    box, rolled = (
        frame_from_box(3, 2, 20, height, width),
        frame_from_eyes((30, 10), (35, 11), height, width),
    )
    low, add, drop = torch.rand(1, 3, 16, 16), torch.rand(1, 3, 64, 64) - 0.5, torch.rand(1, 1, 32, 32)
    for kind in (torch.uint8, torch.float32):
        image = photo_like(height, width).clamp(0, 1)
        image = ((image * 255).round().byte() if kind == torch.uint8 else image).to(device)
        field = smooth_field(32, 0.05)
        tables = {"add": add.to(device), "drop": drop.to(device)}
        for name, frame in (("whole", whole), ("box", box), ("rolled", rolled)):
            shift, at = in_pixels(field, frame).to(device), frame.bounds()
            inverse, feather = frame.inverse(), frame.feather
            yield f"{name} warp {kind}", Pass(image, shift, inverse, feather=feather), at
            yield f"{name} {kind}", Pass(image, shift, inverse, feather=feather, **tables), at
        shift, inverse = in_pixels(field, whole).to(device), whole.inverse()
        minus = Pass(image, shift, inverse, minus=low.to(device), add=low.flip(-1).to(device))
        yield f"minus {kind}", minus, whole.bounds()
        turned = ((0.7, 0.2, 3.0), (-0.1, 0.8, 9.0))
        yield f"to source {kind}", Pass(image, shift, inverse, turned), whole.bounds()


def apart(one: torch.Tensor, two: torch.Tensor) -> tuple[float, float]:
    """(largest, mean) difference in grey levels of 255."""
    scale = 1.0 if one.dtype == torch.uint8 else 255.0
    difference = (one.float() - two.float()).abs() * scale
    return float(difference.max()), float(difference.mean())


def agree(device: torch.device) -> None:
    """The fused kernel beside torch's operators, one frame and three in a launch."""
    from atw_nodes.kernels import fused

    for name, p, box in passes(device):
        assert p.fusible, name
        for out_kind in {p.source.dtype, torch.float32}:
            want = p.source.clone() if out_kind == p.source.dtype else to_float(p.source)
            got = want.clone()
            eager.run(p, want, box)
            fused.run(p, got, box)
            most, mean = apart(want, got)
            assert most <= 1 and mean < 0.02, (name, out_kind, most, mean)
            if out_kind == torch.float32:
                assert most < 0.05, (name, most)  # no rounding between them
    three = Pass(p.source, torch.cat([p.field, p.field * 0, -p.field]), p.to_canonical)
    got = torch.empty(3, *p.source.shape[1:], device=device)
    fused.run(three, got, box)
    for k in range(3):
        want = torch.empty_like(got[:1])
        eager.run(Pass(p.source, three.field[k : k + 1], p.to_canonical), want, box)
        assert apart(want, got[k : k + 1])[0] < 0.05, k


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_opencv_agrees(layout: torch.memory_format) -> None:
    """Whether pixels or planes lie together, in what is read and what is written."""
    pytest.importorskip("cv2", reason="OpenCV is not installed (the extra fast)")
    from atw_nodes.kernels import fast

    # 4 goes by 1/32 pixel, which is some greys in these pictures; W is rounded to bytes once more
    allowed = (1.0, 0.26) if fast.accurate() else (8.0, 0.4)
    for name, p, box in passes():
        for out_kind in {p.source.dtype, torch.float32}:
            want = p.source.clone() if out_kind == p.source.dtype else to_float(p.source)
            got = want.clone(memory_format=layout)
            eager.run(p, want, box)
            fast.run(replace(p, source=p.source.contiguous(memory_format=layout)), got, box)
            most, mean = apart(want, got)
            assert most <= allowed[0] + 1e-3 and mean < allowed[1], (name, out_kind, most, mean)


def test_what_computes_a_frame_can_be_chosen(monkeypatch: pytest.MonkeyPatch) -> None:
    """By name; and by itself where OpenCV is accurate, torch where there is none."""
    pytest.importorskip("cv2", reason="OpenCV is not installed (the extra fast)")
    from atw_nodes import kernels
    from atw_nodes.kernels import fast

    p, box = next((p, box) for _, p, box in passes())
    used = []
    monkeypatch.setattr(eager, "run", lambda *a: used.append("torch"))
    monkeypatch.setattr(fast, "run", lambda *a: used.append("opencv"))
    for works in (True, False):
        monkeypatch.setattr(kernels, "opencv_works", lambda works=works: works)
        for backend in kernels.BACKENDS:
            kernels.run(p, torch.empty_like(p.source), box, backend=backend)
    kernels.run(replace(p, upsample="bicubic"), torch.empty_like(p.source), box, backend="opencv")
    assert used == ["opencv", "torch", "opencv", "torch", "torch", "opencv", "torch"]
    with pytest.raises(InputError, match="backend 'cuda' is unknown; expected one of auto, torch, opencv"):
        ReswarpConfig(backend="cuda")  # type: ignore[arg-type]
    with pytest.raises(InputError, match="backend 'cuda' is unknown; expected one of auto, torch, opencv"):
        LiftConfig(backend="cuda")  # type: ignore[arg-type]


def test_a_missing_opencv_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    from atw_nodes.kernels import fast

    monkeypatch.setitem(sys.modules, "cv2", None)
    p, box = next((p, box) for _, p, box in passes())
    with pytest.raises(MissingExtraError, match="pip install opencv-python-headless"):
        fast.run(p, torch.empty_like(p.source), box)


@pytest.mark.skipif(importlib.util.find_spec("triton") is None, reason="Triton is not installed")
def test_fused_kernel_under_the_interpreter() -> None:
    code = "import torch; from tests.test_kernels import agree; agree(torch.device('cpu')); print('agreed')"
    env = {**os.environ, "TRITON_INTERPRET": "1", "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, env=env, capture_output=True, text=True, check=False
    )
    assert done.stdout == "agreed\n", done.stderr[-3000:]


def test_a_kernel_that_does_not_work_is_not_used(caplog: pytest.LogCaptureFixture) -> None:
    """Here: Triton without a GPU, or no Triton."""
    fused_works.cache_clear()
    try:
        assert not fused_works(CPU)
        assert (importlib.util.find_spec("triton") is None) or "torch does it" in caplog.text
    finally:
        fused_works.cache_clear()


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_fused_kernel_on_a_gpu() -> None:
    pytest.importorskip("triton")
    agree(torch.device("cuda"))


def test_tiles_and_threads_do_not_show() -> None:
    """Any height of tiles, any number of threads: the same frame."""
    before = torch.get_num_threads()
    try:
        for name, p, box in passes(height=150, width=1300):
            made = []
            for threads, rows in ((1, 256), (3, 256), (2, 32)):
                torch.set_num_threads(threads)
                made.append(p.source.clone())
                eager.run(p, made[-1], box, rows)
            for other in made[1:]:
                most, mean = apart(made[0], other)
                assert most <= 1 and mean < 2e-3, name
    finally:
        torch.set_num_threads(before)


def test_strided_output() -> None:
    """A frame whose channels are stored side by side is the same frame."""
    for name, p, box in passes():
        planes = p.source.clone()
        packed = p.source.clone(memory_format=torch.channels_last)
        eager.run(p, planes, box)
        eager.run(p, packed, box)
        assert torch.equal(planes, packed), name


def test_each_raises_the_first_error_and_stops() -> None:
    before = torch.get_num_threads()
    done: list[int] = []

    def work(item: int) -> None:
        if item == 3:
            raise ValueError("three")
        time.sleep(0.002)
        done.append(item)

    try:
        torch.set_num_threads(2)
        with pytest.raises(ValueError, match="three"):
            each(work, range(1000), CPU)
        assert len(done) < 900 and torch.get_num_threads() == 2
        done.clear()
        names: set[str] = set()

        def named(item: int) -> None:
            names.add(threading.current_thread().name)
            assert torch.get_num_threads() == 1 and not torch.is_grad_enabled()
            assert torch.is_inference_mode_enabled()
            done.append(item)

        with torch.inference_mode():
            each(named, range(50), CPU)
        assert sorted(done) == list(range(50)) and all(n.startswith("atw-tiles") for n in names)
        assert torch.get_num_threads() == 2  # of this thread
        seen: list[int] = []
        thread = threading.Thread(target=lambda: seen.append(torch.get_num_threads()))
        thread.start()
        thread.join()
        assert seen == [2]  # and of threads to come
    finally:
        torch.set_num_threads(before)
