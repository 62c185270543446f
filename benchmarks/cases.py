"""What is measured: our steps and what people would use instead, all on one photo and one motion."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor, nn

from atw_nodes.checkpoints import Checkpoint
from atw_nodes.kernels import Backend, fused_works, opencv_works
from atw_nodes.pyramid import downsample, to_float
from atw_nodes.reswarp import Residuals, ReswarpConfig, ReswarpMode, decompose, reswarp
from atw_nodes.types import FaceFrame, Motion
from benchmarks.timing import Step

PORTRAIT = Path(__file__).resolve().parents[1] / "assets" / "portrait-4k.jpg"
LOW = 128
MODES = tuple(m.value for m in (ReswarpMode.VANILLA, ReswarpMode.ALIGNED, ReswarpMode.MULTISCALE))
_LEVEL = 1024  # side of the pyramid level that a reducing pass needs to read: 8 pixels a cell
_CLIP = 256  # frames a call


def backends(device: torch.device) -> dict[str, Backend]:
    """The ways of computing a frame that this machine has, the default first: {name: what to ask for}."""
    if device.type == "cpu":
        return {"opencv": "opencv", "torch": "torch"} if opencv_works() else {"torch": "torch"}
    return {"triton": "auto", "torch": "torch"} if fused_works(device) else {"torch": "torch"}


def floor_bytes(mode: str, pixels: float) -> float:
    """What a mode cannot help reading and writing for a frame of so many pixels, uint8 in and out.

    Vanilla reads and writes once (6 bytes a pixel). Multiscale does so an octave: a third more. Aligned also
    reads a level of the photo's pyramid, 1024² or less, for down(W).
    """
    if mode == "aligned":
        return 6 * pixels + 3 * min(pixels, _LEVEL**2)
    return (8 if mode == "multiscale" else 6) * pixels


def config(mode: str, backend: Backend | None = None) -> ReswarpConfig:
    """A mode on a scene in which all is new content, whose detail would be the dearest part: it is left out.
    backend: one of ``backends``; None is what users get.
    """
    return ReswarpConfig(ReswarpMode(mode), backend=backend or "auto", detail="none")


def photo(side: int) -> Tensor:
    """The example portrait at [1,3,side,side], uint8, its pixels one after the other, as files have them."""
    with Image.open(PORTRAIT) as image:
        image.draft("RGB", (side, side))
        image = image.convert("RGB").resize((side, side), Image.Resampling.BICUBIC)
        return torch.from_numpy(np.asarray(image).copy()).permute(2, 0, 1)[None]


def smooth_field(amount: float = 0.05) -> Tensor:
    """[1,2,LOW,LOW]: a smooth random motion, at most ``amount`` of the frame: as far as a jaw drops."""
    cells = torch.randn(1, 2, 6, 6, generator=torch.Generator().manual_seed(0))
    field = F.interpolate(cells, size=(LOW, LOW), mode="bicubic")
    return field * amount / field.abs().max()


def box(side: int, share: float) -> FaceFrame:
    """A square frame in the middle of the photo that covers ``share`` of its pixels; 1 is the whole image."""
    if share == 1:
        return FaceFrame.whole(side, side)
    part = side * share**0.5
    left = (side - part) / 2
    return FaceFrame(((part, 0.0, left), (0.0, part, left)), side, side)


@dataclass
class Scene:
    """One photo, one motion, one refined result; and what a frame is written into."""

    photo: Tensor  # [1,3,H,W] uint8
    field: Tensor  # [1,2,LOW,LOW]
    refined: Tensor  # [1,3,LOW,LOW]
    out: Tensor

    @classmethod
    def of(cls, side: int, device: torch.device) -> Scene:
        image = photo(side).to(device)
        refined = downsample(image, (LOW, LOW)).flip(-1)  # differs from the photo: every term counts
        return cls(image, smooth_field().to(device), refined, torch.empty_like(image))

    @property
    def side(self) -> int:
        return self.photo.shape[-1]

    def residuals(self, share: float = 1.0) -> Residuals:
        return decompose(self.photo, box(self.side, share), LOW)

    def ours(self, mode: str, share: float = 1.0, backend: Backend = "torch") -> Step:
        """A frame of ResWarp in a running clip: uint8 in, uint8 out."""
        residuals, settings = self.residuals(share), config(mode, backend)
        field = self.field * residuals.mask() if share < 1 else self.field
        motion = Motion(field.expand(_CLIP, -1, -1, -1), torch.ones(_CLIP))
        refined = self.refined.expand(_CLIP, -1, -1, -1)

        def clip() -> Iterator[Tensor]:
            while True:
                yield from reswarp(residuals, motion, refined, settings, out=self.out)

        frames = clip()
        if share < 1:
            next(frames)  # the first one copies what lies outside the box
        return lambda: next(frames)

    def residual(self) -> Tensor:
        """What naive ResWarp keeps of the photo: I - up(L), [1,3,H,W] float32."""
        low = downsample(self.photo, (LOW, LOW))
        planes = to_float(self.photo).contiguous()  # which suits grid_sample best
        return planes.sub_(F.interpolate(low, size=self.photo.shape[-2:], mode="bilinear"))

    def grid(self) -> Tensor:
        """[1,H,W,2] of the up-sampled motion, as ``grid_sample`` takes it."""
        side = self.side
        motion = F.interpolate(self.field, size=(side, side), mode="bilinear")
        at = (torch.arange(side, device=motion.device) + 0.5) * (2 / side) - 1
        y, x = torch.meshgrid(at, at, indexing="ij")
        return torch.stack([x + 2 * motion[0, 0], y + 2 * motion[0, 1]], -1)[None]

    def naive(self, residual: Tensor) -> Step:
        """Vanilla ResWarp as one would write it down: four operations on full-size float tensors."""

        def frame() -> Tensor:
            grid = self.grid()
            warped = F.grid_sample(residual, grid, padding_mode="border", align_corners=False)
            return F.interpolate(self.refined, size=(self.side, self.side), mode="bilinear") + warped

        return frame

    def sampling(self, residual: Tensor) -> Step:
        """Of which the sampling alone."""
        grid = self.grid()
        return lambda: F.grid_sample(residual, grid, padding_mode="border", align_corners=False)

    def enlarging(self) -> Step:
        return lambda: F.interpolate(self.refined, size=(self.side, self.side), mode="bicubic")

    def opencv(self) -> Step | None:
        """The photo moved by OpenCV, nothing added: motion enlarged, coordinates added, uint8 remapped. None
        where there is no OpenCV, or the photo is too large for it.
        """
        if importlib.util.find_spec("cv2") is None or self.photo.is_cuda or self.side > 32767:
            return None
        import cv2

        cv2.setNumThreads(torch.get_num_threads())
        side = self.side
        image = np.ascontiguousarray(self.photo[0].permute(1, 2, 0).numpy())
        out, at = np.empty_like(image), np.arange(side, dtype=np.float32)
        field = self.field[0].numpy() * side

        def frame() -> object:
            x = cv2.resize(field[0], (side, side), interpolation=cv2.INTER_LINEAR)
            y = cv2.resize(field[1], (side, side), interpolation=cv2.INTER_LINEAR)
            x += at
            y += at[:, None]
            return cv2.remap(image, x, y, cv2.INTER_LINEAR, dst=out, borderMode=cv2.BORDER_REPLICATE)

        return frame


class Rrdb(nn.Module):
    """A x4 super-resolution network of residual-in-residual dense blocks (Wang et al. 2018, ESRGAN: 23
    blocks, 64 features, growth 32). Random weights: for its cost alone.
    """

    def __init__(self, blocks: int = 23, features: int = 64, growth: int = 32) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, features, 3, padding=1)
        dense = [
            nn.ModuleList(
                nn.Conv2d(features + k * growth, growth if k < 4 else features, 3, padding=1)
                for k in range(5)
            )
            for _ in range(3 * blocks)
        ]
        self.dense = nn.ModuleList(dense)
        self.trunk, self.up1, self.up2, self.high = (
            nn.Conv2d(features, features, 3, padding=1) for _ in range(4)
        )
        self.last = nn.Conv2d(features, 3, 3, padding=1)

    def _block(self, x: Tensor, layers: nn.ModuleList) -> Tensor:
        seen = [x]
        for layer in layers[:4]:
            seen.append(F.leaky_relu(layer(torch.cat(seen, 1)), 0.2))
        return x + 0.2 * layers[4](torch.cat(seen, 1))

    def forward(self, x: Tensor) -> Tensor:
        """[B,3,h,w] -> [B,3,4h,4w]."""
        first = x = self.first(x)
        for k in range(0, len(self.dense), 3):
            inner = x
            for layers in self.dense[k : k + 3]:
                inner = self._block(inner, layers)
            x = x + 0.2 * inner
        x = first + self.trunk(x)
        for layer in (self.up1, self.up2):
            x = F.leaky_relu(layer(F.interpolate(x, scale_factor=2.0, mode="nearest")), 0.2)
        return self.last(F.leaky_relu(self.high(x), 0.2))


def generator_step(
    checkpoint: Checkpoint, batch: int, half: bool, device: torch.device, refine_only: bool = False
) -> Step:
    """Motion and refinement of ``batch`` frames, each with its own signal. refine_only: the motion is there
    already (one motion, interpolated).
    """
    net = checkpoint.generator.to(device)
    low = downsample(photo(512), (LOW, LOW)).to(device)
    signal = torch.full((batch, len(checkpoint.signal.names)), 0.4, device=device)
    image = low.expand(batch, -1, -1, -1)
    with torch.no_grad():
        basis = net.basis(low) if net.config.conditioning == "basis" else None
        kept = net.predict_motion(image, signal, None, basis)

    @torch.no_grad()
    def step() -> object:
        with torch.autocast(device.type, torch.bfloat16, enabled=half):
            field = kept if refine_only else net.predict_motion(image, signal, None, basis)
            return net.refine_warped(image, signal, field)

    return step
