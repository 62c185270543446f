"""What one driven frame costs with the networks of other methods, from a checkout that the user has.

    python benchmarks/rivals.py NAME CHECKOUT [--threads N] [--seconds N] [--device cpu|cuda]

Random weights, for the cost alone, and no weights or code are copied: the networks are imported from the
checkout in a process of their own. What is done once a clip (encoding the source) is done before, where the
method allows it; the driving step runs in turns with our whole frame at 1024².
"""

from __future__ import annotations

import argparse
import contextlib
import importlib
import json
import subprocess
import sys
import types
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

ROOT = Path(__file__).resolve().parents[1]
if __name__ == "__main__":
    sys.path.insert(0, str(ROOT))

from benchmarks.timing import Span, Step, interleaved, synchronised  # noqa: E402

OURS_SIDE, OURS_FRAMES = 1024, 24


class Rival(NamedTuple):
    title: str
    side: int
    build: Callable[[Path, torch.device], Step]


class Measured(NamedTuple):
    """Seconds a frame of the rival and of ours, and their quotient; or why there are none."""

    rival: Span | None = None
    ours: Span | None = None
    ratio: Span | None = None
    reason: str = ""


def _yaml(path: Path) -> dict[str, dict[str, dict[str, object]]]:
    import yaml

    return yaml.safe_load(path.read_text(encoding="utf-8"))


def _images(*sides: int, device: torch.device) -> list[Tensor]:
    return [torch.rand(1, 3, side, side, device=device) for side in sides]


def live_portrait(checkout: Path, device: torch.device) -> Step:
    """Motion extractor, warping network, SPADE decoder: 256² in, 512² out. Appearance features once."""
    modules = "src.modules."
    made = _yaml(checkout / "src/config/models.yaml")["model_params"]

    def network(module: str, name: str, key: str) -> nn.Module:
        kind = getattr(importlib.import_module(modules + module), name)
        return kind(**made[f"{key}_params"]).to(device).eval()

    features = network(
        "appearance_feature_extractor", "AppearanceFeatureExtractor", "appearance_feature_extractor"
    )
    extractor = network("motion_extractor", "MotionExtractor", "motion_extractor")
    warping = network("warping_network", "WarpingNetwork", "warping_module")
    decoder = network("spade_generator", "SPADEDecoder", "spade_generator")
    source, driving = _images(256, 256, device=device)
    volume, points = features(source), extractor(source)["kp"].view(1, -1, 3)

    def step() -> Tensor:
        moved = extractor(driving)["kp"].view(1, -1, 3)
        return decoder(feature=warping(volume, kp_source=points, kp_driving=moved)["out"])

    return step


def first_order(checkout: Path, device: torch.device) -> Step:
    """Key-point detector and generator, vox-256; the published generator encodes the source every frame."""
    made = _yaml(checkout / "config/vox-256.yaml")["model_params"]
    detector = importlib.import_module("modules.keypoint_detector").KPDetector
    generator = importlib.import_module("modules.generator").OcclusionAwareGenerator
    find = detector(**made["kp_detector_params"], **made["common_params"]).to(device).eval()
    draw = generator(**made["generator_params"], **made["common_params"]).to(device).eval()
    source, driving = _images(256, 256, device=device)
    points = find(source)
    return lambda: draw(source, kp_source=points, kp_driving=find(driving))["prediction"]


def ganimation(checkout: Path, device: torch.device) -> Step:
    """The generator and its attention mask, 17 units."""
    del checkout
    _stub("networks.networks", NetworkBase=nn.Module)  # written for Python 2
    kind = importlib.import_module("networks.generator_wasserstein_gan").Generator
    net, (source,) = kind(conv_dim=64, c_dim=17).to(device).eval(), _images(128, device=device)
    units = torch.rand(1, 17, device=device)

    def step() -> Tensor:
        colour, mask = net(source, units)
        return mask * source + (1 - mask) * colour

    return step


def x2face(checkout: Path, device: torch.device) -> Step:
    """The driving network and the sampling of the embedded face, which is made once (inner size 128)."""
    sys.path.insert(0, str(checkout / "UnwrapMosaic"))
    module = importlib.import_module("NoSkipNet_X2Face")
    module.init_weights = lambda *_, **__: None  # asks for a range that torch refuses today; cost is the same
    net = module.define_G(3, 2, 64, "unet_256", "batch", False, "xavier", [], inner_nc=128).to(device).eval()
    embedded, driving = _images(256, 256, device=device)
    grid = F.affine_grid(torch.eye(2, 3, device=device)[None], [1, 3, 256, 256], align_corners=True)

    def step() -> Tensor:
        sampler = torch.tanh(net(driving)[0]).permute(0, 2, 3, 1)
        return F.grid_sample(embedded, sampler + grid, align_corners=True)

    return step


def vid2vid(checkout: Path, device: torch.device) -> Step:
    """The generator at 512² by the published face options, after the first frame: its weights are made."""
    del checkout
    for name in ("apex", "torchvision", "lmdb", "dominate"):
        _stub(name)
    _stub("apex.parallel", SyncBatchNorm=nn.BatchNorm2d)
    _stub("torchvision.models")
    _stub("torchvision.transforms")
    parser = argparse.ArgumentParser()
    importlib.import_module("options.base_options").BaseOptions().initialize(parser)
    faces = importlib.import_module("data.fewshot_face_dataset").FewshotFaceDataset
    faces.modify_commandline_options(parser, False)
    flags = "--loadSize 512 --fineSize 512 --adaptive_spade --warp_ref --spade_combine"
    options = parser.parse_args(flags.split())
    options.isTrain, options.for_face = False, False
    net = importlib.import_module("models.networks.generator").FewShotGenerator(options)
    net.init_temporal_network()
    net = net.to(device).eval()
    label = torch.rand(1, options.label_nc or options.input_nc, 512, 512, device=device)
    (image,) = _images(512, device=device)
    prev = [label, image]
    net(label, label[:, None], image[:, None], prev, t=0)
    return lambda: net(label, label[:, None], image[:, None], prev, t=1)[0]


RIVALS = {
    "liveportrait": Rival("LivePortrait", 512, live_portrait),
    "fomm": Rival("first-order-motion", 256, first_order),
    "ganimation": Rival("GANimation", 128, ganimation),
    "x2face": Rival("X2Face", 256, x2face),
    "vid2vid": Rival("few-shot vid2vid", 512, vid2vid),
}


def _stub(name: str, **attributes: object) -> None:
    """An empty module in place of one that cannot be imported and that no forward pass needs."""
    try:
        importlib.import_module(name)
    except (ImportError, SyntaxError):
        made = types.ModuleType(name)
        made.__path__ = []  # type: ignore[attr-defined]
        made.__dict__.update(attributes)
        sys.modules[name] = made
        parent, _, leaf = name.rpartition(".")
        if parent:
            setattr(sys.modules[parent], leaf, made)


def our_frames(device: torch.device, side: int = OURS_SIDE, frames: int = OURS_FRAMES) -> Step:
    """A clip of ``frames`` whole frames as a user gets it: each its own signal, motion and refinement.

    What is done once a clip is in it.
    """
    from atw_nodes.animate import animate
    from atw_nodes.checkpoints import DEFAULT, load_checkpoint
    from benchmarks.cases import photo
    from benchmarks.stages import signals

    checkpoint = load_checkpoint(DEFAULT)
    checkpoint.generator.to(device)
    image = photo(side).to(device)
    asked, out = signals(checkpoint, frames), torch.empty_like(image)

    def step() -> None:
        for _ in animate(image, checkpoint, asked, out=out):
            pass

    return step


@torch.no_grad()
def measure_here(name: str, checkout: Path, device: torch.device, seconds: float) -> Measured:
    """In this process, whose import path and modules are spoilt by it."""
    sys.path.insert(0, str(checkout))
    if device.type == "cpu":  # a few of them ask for a GPU by name
        torch.Tensor.cuda = lambda self, *_, **__: self  # type: ignore[method-assign,assignment]
        nn.Module.cuda = lambda self, *_, **__: self  # type: ignore[method-assign,assignment]
    rival = synchronised(RIVALS[name].build(checkout, device), device)
    ours = synchronised(our_frames(device), device)
    rounds = interleaved({"rival": rival, "ours": ours}, seconds)
    frame = {
        "rival": rounds.seconds["rival"],
        "ours": [s / OURS_FRAMES for s in rounds.seconds["ours"]],
    }
    each = type(rounds)(frame)
    return Measured(each.time("rival"), each.time("ours"), each.ratio("rival", "ours"))


def measure(
    name: str, checkout: Path | None, threads: int, seconds: float, device: str = "cpu", limit: float = 300
) -> Measured:
    """In a child process; every failure becomes the reason that the table gives."""
    if checkout is None:
        return Measured(reason=f"no checkout given (--{name} PATH)")
    if not checkout.is_dir():
        return Measured(reason=f"{checkout.name}: no such folder")
    options = ["--threads", threads, "--seconds", seconds, "--device", device]
    command = [sys.executable, __file__, name, checkout.resolve(), *options]
    try:
        done = subprocess.run(list(map(str, command)), capture_output=True, text=True, timeout=limit)
    except subprocess.TimeoutExpired:
        return Measured(reason=f"a few frames took more than {limit:g} s")
    if done.returncode:
        last = (done.stderr.strip().splitlines() or [f"ended with {done.returncode}"])[-1]
        return Measured(reason=last[:160].replace(str(checkout.resolve()), "CHECKOUT").replace("|", "/"))
    spans = json.loads(done.stdout.splitlines()[-1])
    return Measured(*(Span(*s) for s in spans))


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("name", choices=RIVALS)
    parser.add_argument("checkout", type=Path)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--seconds", type=float, default=20)
    parser.add_argument("--device", default="cpu")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    warnings.simplefilter("ignore")
    with contextlib.redirect_stdout(sys.stderr):  # some of them talk
        found = measure_here(args.name, args.checkout, torch.device(args.device), args.seconds)
    print(json.dumps(found[:3]))


if __name__ == "__main__":
    main()
