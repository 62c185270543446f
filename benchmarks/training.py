"""How fast does it learn? Images a second of one turn of Algorithm 1 (5 D + 1 G) beside GANimation's.

    python benchmarks/training.py [--ganimation CHECKOUT] [--width N] [--batch N] [--turns N] [--markdown F]

CHECKOUT: of the published GANimation, whose step has the same schedule (Pumarola et al. 2018; the paper's
baseline). Its model file is read as it is but for what a processor without CUDA and a Python after 3.6 need.
Turns alternate, so that both see the same load. Random images; no data set is needed.
"""

from __future__ import annotations

import argparse
import importlib
import re
import statistics
import sys
import tempfile
import time
import types
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import torch

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from atw_nodes.algorithm import Weights, judges, phases  # noqa: E402
from atw_nodes.losses import Batch  # noqa: E402
from atw_nodes.networks import Generator, GeneratorConfig  # noqa: E402
from atw_nodes.training import TrainConfig, Trainer  # noqa: E402
from atw_nodes.types import SignalSpec  # noqa: E402

UNITS, SIDE = 17, 128


class Noise:
    """Batches of random images and labels."""

    def batch(self, n: int, g: torch.Generator, /, **how: object) -> Batch:
        image = torch.rand(n, 3, SIDE, SIDE, generator=g)
        label, wanted = torch.rand(n, UNITS, generator=g), torch.rand(n, UNITS, generator=g)
        blank, none = torch.zeros(n, 1, SIDE, SIDE), torch.zeros(n, 0, 2)
        return Batch(
            image, image, wanted, none, none, none[..., 0], blank, blank, blank, torch.zeros(n), blank + 1,
            label, wanted, label, torch.rand(n, 1, 1, 1, generator=g),
        )  # fmt: skip


def ours(batch: int, width: int, critic: tuple[int, int], folder: Path) -> Callable[[], object]:
    torch.manual_seed(0)
    spec = SignalSpec("absolute", tuple(f"u{k}" for k in range(UNITS)))
    generator = Generator(GeneratorConfig.paper(UNITS, width=width))
    made = phases(Weights())
    trainer = Trainer(
        generator,
        Noise(),
        made,
        TrainConfig(1 << 30, batch, clip=0.0),
        folder,
        judges(generator, spec, *critic),
    )
    return trainer.one


def theirs(checkout: Path, batch: int, width: int) -> Callable[[], object]:
    """One turn of GANimation's: five updates of D, of which the last is followed by one of G."""
    copy = Path(tempfile.mkdtemp())
    for name in ("models", "networks", "utils"):
        for file in (checkout / name).glob("*.py"):
            text = file.read_text(encoding="utf-8").replace("async=True", "non_blocking=True")
            text = re.sub(r"^(\s*)print (?!\()(.+)$", r"\1print(\2)", text, flags=re.MULTILINE)
            target = copy / name / file.name
            target.parent.mkdir(exist_ok=True)
            target.write_text(text.replace(".cuda()", ".cpu()"), encoding="utf-8")
    for name in ("plots", "util", "cv_utils", "face_utils", "tb_visualizer"):  # drawing, not training
        (copy / "utils" / f"{name}.py").write_text("", encoding="utf-8")
    sys.path.insert(0, str(copy))
    sys.modules.setdefault("utils", types.ModuleType("utils")).__path__ = [str(copy / "utils")]  # type: ignore[attr-defined]
    model = importlib.import_module("models.ganimation")
    networks = importlib.import_module("networks.networks")
    build = networks.NetworksFactory.get_by_name
    networks.NetworksFactory.get_by_name = staticmethod(lambda n, **k: build(n, conv_dim=width, **k))
    model.NetworksFactory = networks.NetworksFactory
    options = SimpleNamespace(
        gpu_ids=[], is_train=True, checkpoints_dir="", name="", cond_nc=UNITS, lr_G=1e-4, lr_D=1e-4,
        G_adam_b1=0.5, G_adam_b2=0.999, D_adam_b1=0.5, D_adam_b2=0.999, load_epoch=0, batch_size=batch,
        image_size=SIDE, do_saturate_mask=False, lambda_D_prob=1, lambda_D_cond=4000, lambda_cyc=10,
        lambda_mask=0.1, lambda_mask_smooth=1e-5, lambda_D_gp=10,
    )  # fmt: skip
    torch.manual_seed(0)
    net = model.GANimation(options)
    net.set_train()

    def turn() -> None:
        for k in range(5):
            net._input_real_img.copy_(torch.rand(batch, 3, SIDE, SIDE))
            net._input_real_cond.copy_(torch.rand(batch, UNITS))
            net._input_desired_cond.copy_(torch.rand(batch, UNITS))
            net.optimize_parameters(train_generator=k == 4)

    return turn


def timed(turns: dict[str, Callable[[], object]], count: int, batch: int) -> dict[str, float]:
    """Images a second, the median of ``count`` turns each, in turns."""
    seconds: dict[str, list[float]] = {name: [] for name in turns}
    for k in range(count + 1):
        for name, turn in turns.items():
            begun = time.perf_counter()
            turn()
            if k:  # the first warms up
                seconds[name].append(time.perf_counter() - begun)
    return {name: 6 * batch / statistics.median(s) for name, s in seconds.items()}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--ganimation", type=Path)
    parser.add_argument("--width", type=int, default=64, help="GANimation's; 64 as published")
    parser.add_argument("--batch", type=int, default=4)
    parser.add_argument("--turns", type=int, default=3)
    parser.add_argument("--markdown", type=Path)
    args = parser.parse_args()
    folder = Path(tempfile.mkdtemp())
    turns = {
        "ours, width 32 (default)": ours(args.batch, 32, (32, 5), folder),
        f"ours, width 32, discriminators of width {args.width}, 6 layers": ours(
            args.batch, 32, (args.width, 6), folder
        ),
    }
    rival = f"GANimation, width {args.width}" + " (as published)" * (args.width == 64)
    if args.ganimation:
        turns[rival] = theirs(args.ganimation, args.batch, args.width)
    speed = timed(turns, args.turns, args.batch)
    base = speed.get(rival)
    lines = [
        f"| batch {args.batch}, {SIDE} x {SIDE} | images/s of a turn | times GANimation |",
        "|---|---|---|",
    ]
    lines += [f"| {n} | {v:.2f} | {'-' if base is None else f'{v / base:.2f}'} |" for n, v in speed.items()]
    text = "\n".join(lines) + "\n"
    sys.stdout.write(text)
    if args.markdown:
        args.markdown.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
