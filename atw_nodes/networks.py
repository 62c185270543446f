"""The generator: Motion network, Refinement network, continuous zero (paper, Sec. 3.2 and Fig. 2b)."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import nullcontext
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal

import torch
from torch import Tensor, nn

from .precision import paying
from .pyramid import downsample, upsample
from .types import Generated, InputError, ShapeError, check_shape
from .warp import backward_warp, identity_points, inverted, sample


@dataclass(frozen=True)
class GeneratorConfig:
    """Everything that decides the generator's shape; stored in the checkpoint.

    signal: length of the driving signal. size: side of the low-resolution image. width: channels of the first
    layer. conditioning: "film" feeds the signal into each normalisation's scale and shift, "concat" tiles it
    beside the image (paper), "basis" predicts where one unit of each entry would move the photo, once for all
    signals: their weighted sum, inverted, is the motion. field_scale ("basis" alone): how many times finer
    than the small image the motion is made. max_displacement: bound of the motion, in fractions of the frame
    (the paper's factor on tanh). zero: signal length over which motion and refinement fade in; 0 switches
    the fade off (paper, a = 1). refine_source: the Refinement network also sees the photo, the motion and
    the signal, not O^w alone (paper). neutral_paint: what refinement adds is no greener or
    bluer than grey, unless the photo is: teeth, lips and skin are not, half-painted teeth come out so.
    paint_box: (left, top, right, bottom) in fractions of the frame: all that refinement repaints, fading in
    from the edge, for one that learnt to leave the rest alone; it costs less. Training sees the whole.
    """

    signal: int
    size: int = 128
    width: int = 32
    motion_blocks: int = 6
    refine_blocks: int = 4
    conditioning: Literal["film", "concat", "basis"] = "film"
    max_displacement: float = 0.125
    zero: float = 0.5
    refine_source: bool = True
    field_scale: int = 1
    neutral_paint: bool = False
    paint_box: tuple[float, float, float, float] | None = None

    def __post_init__(self) -> None:
        if self.signal < 1 or self.width < 1 or self.size < 8 or self.size % 4:
            raise InputError(
                f"generator of signal {self.signal}, width {self.width}, size {self.size} cannot be built; "
                "expected signal >= 1, width >= 1, and a size that is a multiple of 4, at least 8"
            )
        if self.conditioning not in ("film", "concat", "basis"):
            raise InputError(f"conditioning {self.conditioning!r} is unknown; expected film, concat or basis")
        if self.field_scale not in (1, 2, 4) or (self.field_scale > 1 and self.conditioning != "basis"):
            raise InputError(
                f"field_scale {self.field_scale} with conditioning {self.conditioning}; "
                "expected 1, or 2 or 4 with basis"
            )
        box = self.paint_box
        if box is not None and not (0 <= box[0] < box[2] <= 1 and 0 <= box[1] < box[3] <= 1):
            raise InputError(
                f"paint_box {box} holds nothing; expected left < right and top < bottom, from 0 to 1"
            )

    @classmethod
    def paper(cls, signal: int, **changes: Any) -> GeneratorConfig:  # noqa: ANN401
        """The published network: tiled signal, no fade to zero, refinement sees O^w alone, 128x128."""
        base = cls(signal, conditioning="concat", zero=0.0, refine_source=False)
        return replace(base, **changes)

    def to_json(self) -> dict[str, Any]:
        """A plain object for a checkpoint's metadata."""
        return asdict(self)

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> GeneratorConfig:
        """Inverse of ``to_json``."""
        box = data.get("paint_box")
        return cls(**{**data, "paint_box": None if box is None else tuple(box)})


class Film(nn.Module):
    """Instance normalisation whose scale and shift come from the signal."""

    def __init__(self, channels: int, signal: int) -> None:
        super().__init__()
        self.norm = nn.InstanceNorm2d(channels)
        self.map = nn.Linear(signal, 2 * channels)
        nn.init.normal_(self.map.weight, 0.0, 0.2)
        nn.init.zeros_(self.map.bias)

    def forward(self, x: Tensor, signal: Tensor) -> Tensor:
        scale, shift = self.map(signal)[:, :, None, None].to(x.dtype).chunk(2, 1)
        return self.norm(x) * (1 + scale) + shift


class _Norm(nn.Module):
    """Instance normalisation that ignores the signal (``concat`` conditioning)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.norm = nn.InstanceNorm2d(channels, affine=True)

    def forward(self, x: Tensor, signal: Tensor) -> Tensor:
        return self.norm(x)


class _Layer(nn.Module):
    """[up-sampling] -> convolution -> [normalisation] -> [activation]."""

    def __init__(
        self, conv: nn.Conv2d, norm: nn.Module | None, act: nn.Module | None, up: bool = False
    ) -> None:
        super().__init__()
        self.up = nn.Upsample(scale_factor=2, mode="nearest") if up else None
        self.conv, self.norm, self.act = conv, norm, act

    def forward(self, x: Tensor, signal: Tensor, even: Tensor | None = None) -> Tensor:
        if self.up is not None:
            x = self.up(x)
        x = self.conv(x) if even is None else _convolved(self.conv, x, even)
        if self.norm is not None:
            x = self.norm(x, signal)
        return x if self.act is None else self.act(x)


def _convolved(conv: nn.Conv2d, x: Tensor, even: Tensor) -> Tensor:
    """``conv``, which repeats the border, of ``x`` [B,C,h,w] and of channels that are ``even`` [B,N]
    everywhere: those come to a constant.
    """
    seen, steady = conv.weight.split((x.shape[1], even.shape[1]), 1)
    around = nn.functional.pad(x, (int(conv.padding[0]),) * 4, mode="replicate")
    y = nn.functional.conv2d(around, seen, conv.bias, conv.stride)
    return y + nn.functional.linear(even, steady.sum((2, 3)))[:, :, None, None]


class _Residual(nn.Module):
    def __init__(self, first: _Layer, second: _Layer) -> None:
        super().__init__()
        self.first, self.second = first, second

    def forward(self, x: Tensor, signal: Tensor) -> Tensor:
        return x + self.second(self.first(x, signal), signal)


class EncoderDecoder(nn.Module):
    """7x7 convolution, two stride-2 convolutions, residual blocks, two up-samplings, 7x7 convolution (Sec.
    3.2); ``last`` is the kernel of the last one.

    ``normalised``: instance norm and ReLU (Motion network) or ELU alone (Refinement network).
    """

    def __init__(
        self,
        inputs: int,
        outputs: int,
        blocks: int,
        config: GeneratorConfig,
        normalised: bool,
        last: int = 7,
    ) -> None:
        super().__init__()
        w = config.width

        def norm(channels: int) -> nn.Module | None:
            if not normalised:
                return None
            return Film(channels, config.signal) if config.conditioning == "film" else _Norm(channels)

        def layer(i: int, o: int, kernel: int, stride: int = 1, up: bool = False, act: bool = True) -> _Layer:
            pad = 1 if kernel == 4 else kernel // 2
            mode = "replicate" if kernel == 7 else "zeros"
            conv = nn.Conv2d(i, o, kernel, stride, pad, bias=not normalised, padding_mode=mode)
            kind = nn.ReLU() if normalised else nn.ELU(inplace=True)
            return _Layer(conv, norm(o), kind if act else None, up)

        def residual() -> _Residual:
            return _Residual(layer(4 * w, 4 * w, 3), layer(4 * w, 4 * w, 3, act=False))

        self.layers = nn.ModuleList(
            [layer(inputs, w, 7), layer(w, 2 * w, 4, 2), layer(2 * w, 4 * w, 4, 2)]  # size -> size/4
            + [residual() for _ in range(blocks)]
            + [layer(4 * w, 2 * w, 3, up=True), layer(2 * w, w, 3, up=True)]  # size/4 -> size
        )
        self.last = nn.Conv2d(w, outputs, last, padding=last // 2, padding_mode="replicate")
        if not normalised:
            self._keep_variance()
        nn.init.normal_(self.last.weight, 0.0, 1e-2 if normalised else 1e-3)  # start near "nothing moves"
        nn.init.zeros_(self.last.bias)  # type: ignore[arg-type]

    def _keep_variance(self) -> None:
        """Weights that keep the signal's size through layers without normalisation.

        With torch's defaults it shrinks threefold a layer, the biases are all that is left, and the network
        learns a tint instead of teeth.
        """
        for module in self.layers.modules():
            if isinstance(module, nn.Conv2d) and module.bias is not None:
                nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
                nn.init.zeros_(module.bias)
        for module in self.layers:
            if isinstance(module, _Residual):
                module.second.conv.weight.data.mul_(0.4)  # blocks add up: keep each one's share small

    def forward(self, x: Tensor, signal: Tensor, even: Tensor | None = None) -> Tensor:
        """even: [B,N], further inputs that are the same all over the image."""
        first, *others = self.layers
        x = first(x, signal, even)
        for layer in others:
            x = layer(x, signal)
        return self.last(x)


def warped_low(low: Tensor, field: Tensor) -> tuple[Tensor, Tensor]:
    """(O^w, the field at the size of ``low``) of a field that may be finer than ``low``.

    Where a fine field has a step, at a closed lid, its average moves ``low`` otherwise than it moves the
    photo: there O^w is the average of a fine warp. That alone would soften all the rest.
    """
    size, small = (field.shape[-2], field.shape[-1]), (low.shape[-2], low.shape[-1])
    average = field if size == small else downsample(field, small)
    coarse = backward_warp(low, average)
    if average is field:
        return coarse, field
    off = (field - upsample(average, size)).abs().amax(1, keepdim=True) * low.shape[-1]  # in pixels of low
    step = ((nn.functional.max_pool2d(downsample(off, small), 3, 1, 1) - 0.1) / 0.2).clamp(0, 1)
    if low.requires_grad or field.requires_grad or low.is_cuda:  # looking where costs more there
        return torch.lerp(coarse, downsample(backward_warp(upsample(low, size), field), small), step), average
    rows, columns = (step.amax((0, 1, d)).nonzero()[:, 0] for d in (3, 2))
    if len(rows):
        y0, y1, x0, x1 = int(rows[0]), int(rows[-1]) + 1, int(columns[0]), int(columns[-1]) + 1
        k, part = size[0] // small[0], (..., slice(y0, y1), slice(x0, x1))
        fine = (slice(None), slice(y0 * k, y1 * k), slice(x0 * k, x1 * k))
        points = identity_points(*size, like=field)[fine] + field.movedim(1, -1)[fine]
        moved = nn.functional.avg_pool2d(sample(upsample(low, size), points.to(low.dtype)), k)
        coarse[part] = torch.lerp(coarse[part], moved, step[part])
    return coarse, average


def _fade(height: int, width: int, like: Tensor) -> Tensor:
    """[height,width]: 0 at the edge, 1 from 6 pixels inside on."""
    down, across = ((torch.arange(n, device=like.device) + 0.5) for n in (height, width))
    down, across = torch.minimum(down, height - down), torch.minimum(across, width - across)
    return ((torch.minimum(down[:, None], across) - 0.5) / 6).clamp(0, 1).to(like.dtype)


class Generator(nn.Module):
    """G(I, c): predicts a motion field, warps I to O^w, refines O^w to O^r (paper, Sec. 3.2)."""

    def __init__(self, config: GeneratorConfig) -> None:
        super().__init__()
        self.config = config
        n = config.signal
        seen = 3 + (5 + n if config.refine_source else 0)  # O^w [+ I, motion, signal]
        tiled = n if config.conditioning == "concat" else 0
        fields, last = (n, 3) if config.conditioning == "basis" else (1, 7)
        self.motion = EncoderDecoder(3 + tiled, 2 * fields, config.motion_blocks, config, True, last)
        self.refine = EncoderDecoder(seen, 3, config.refine_blocks, config, False)

    def strength(self, signal: Tensor) -> Tensor:
        """a(c) [B,1,1,1]: exactly 0 at c = 0, smooth, tending to 1 as c grows; 1 when ``zero`` is 0."""
        if self.config.zero == 0:
            return signal.new_ones(len(signal), 1, 1, 1)
        squared, soft = signal.square().sum(1), 0.05
        length = squared / ((squared + soft * soft).sqrt() + soft)  # |c| with a rounded tip, exactly 0 at 0
        return -torch.expm1(-length / self.config.zero)[:, None, None, None]

    def _check(self, low: Tensor, signal: Tensor) -> None:
        c = self.config
        check_shape(low, "B3HW", "low-resolution image")
        check_shape(signal, "BN", "signal")
        if low.shape[-1] != c.size or low.shape[-2] != c.size:
            raise ShapeError(
                f"generator takes {c.size}x{c.size} images, got {low.shape[-1]}x{low.shape[-2]}; "
                f"decompose to {c.size}"
            )
        if signal.shape[1] != c.signal or len(signal) != len(low):
            raise ShapeError(
                f"signal has shape {list(signal.shape)}, expected [{len(low)}, {c.signal}]: one row an image"
            )

    def basis(self, low: Tensor) -> Tensor:
        """[B,N,2,S,S]: where one unit of each entry of the signal moves every point of ``low`` [B,3,S,S], in
        fractions of the frame, as a forward field. Only with ``conditioning="basis"``.
        """
        raw = self.motion(low * 2 - 1, low).float()
        return self.config.max_displacement * raw.unflatten(1, (-1, 2))

    def _composed(self, basis: Tensor, signal: Tensor, mask: Tensor | None) -> Tensor:
        """Backward field [B,2,kS,kS] of the weighted sum of ``basis`` [1 or B,N,2,S,S], bounded as by
        tanh.
        """
        bound, scale = self.config.max_displacement, self.config.field_scale
        forward = torch.einsum("bn,bnchw->bchw", signal.float(), basis.expand(len(signal), -1, -1, -1, -1))
        forward = bound * torch.tanh(forward / bound)
        if mask is not None:
            forward = forward * mask
        size = scale * self.config.size
        # what a network draws is smooth: half the steps that the puppet's steps need
        return inverted(upsample(forward, (size, size)), 8) if scale > 1 else inverted(forward)

    def predict_motion(
        self, low: Tensor, signal: Tensor, mask: Tensor | None = None, basis: Tensor | None = None
    ) -> Tensor:
        """Motion field [B,2,kS,kS] of ``low`` [B,3,S,S] in [0,1] under ``signal`` [B,N]; k is
        ``field_scale``.

        mask: [S,S] or [B,1,S,S], the frame's feather; it multiplies the field, so all that follows sees one
        field. basis: of ``low`` (or of the one image that ``low`` repeats), if it was made before.
        """
        self._check(low, signal)
        if self.config.conditioning == "basis":
            if basis is None:
                basis = self.basis(low[:1] if low.stride(0) == 0 else low)
            return self._composed(basis, signal, mask)
        x = low * 2 - 1
        if self.config.conditioning == "concat":
            x = torch.cat([x, signal[:, :, None, None].to(x.dtype).expand(-1, -1, *x.shape[-2:])], 1)
        raw = self.motion(x, signal).float()
        field = self.strength(signal.float()) * self.config.max_displacement * torch.tanh(raw)
        return field if mask is None else field * mask

    def refine_warped(self, low: Tensor, signal: Tensor, field: Tensor) -> tuple[Tensor, Tensor]:
        """(coarse O^w, refined O^r), each [B,3,S,S], of ``low`` under a given ``field``, as by an
        interpolated motion.

        ``signal`` is the signal this frame carries (weight times the full signal). See ``warped_low``.
        """
        self._check(low, signal)
        coarse, field = warped_low(low, field)
        if self.config.paint_box is None or self.training:
            return coarse, self.repaint(coarse, low, signal, field)
        left, top, right, bottom = (round(v * self.config.size / 4) * 4 for v in self.config.paint_box)
        parts = [x[..., top:bottom, left:right] for x in (coarse, low, field)]
        made, refined = self.repaint(parts[0], parts[1], signal, parts[2]), coarse.clone()
        refined[..., top:bottom, left:right].lerp_(made, _fade(bottom - top, right - left, made))
        return coarse, refined

    def repaint(self, coarse: Tensor, low: Tensor, signal: Tensor, field: Tensor) -> Tensor:
        """Refined O^r of a warped image O^w; all [B,*,h,w] of one size, which may be a crop."""
        x = coarse * 2 - 1
        if self.config.refine_source:
            x = torch.cat([x, low * 2 - 1, field / self.config.max_displacement], 1)
        even = signal.to(x.dtype) if self.config.refine_source else None
        with nullcontext() if self.training else paying(x):
            change = self.refine(x, signal, even).float() / 2  # the networks' [-1,1] is twice our [0,1]
        if self.config.neutral_paint:
            made = coarse + change
            least = made[:, 1:] - (coarse[:, 1:] - coarse[:, :1]).clamp_min(0)  # of red, by green and by blue
            lift = (least.amax(1, keepdim=True) - made[:, :1]).clamp_min(0)
            change = torch.cat([change[:, :1] + lift, change[:, 1:]], 1)
        return coarse + self.strength(signal.float()) * change

    def forward(
        self, low: Tensor, signal: Tensor, mask: Tensor | None = None, refine: bool = True
    ) -> Generated:
        """``low`` [B,3,S,S] in [0,1], ``signal`` [B,N]. ``refine`` off: refined is coarse."""
        field = self.predict_motion(low, signal, mask)
        if not refine:
            coarse, _ = warped_low(low, field)
            return Generated(field, coarse, coarse)
        return Generated(field, *self.refine_warped(low, signal, field))


class MouthDiscriminator(nn.Module):
    """A small patch discriminator for mouth crops; spectral norm keeps it from running ahead of 82 people."""

    def __init__(self, inputs: int = 4, width: int = 32) -> None:
        super().__init__()
        plan = [
            (inputs, width, 3, 1),
            (width, 2 * width, 4, 2),
            (2 * width, 4 * width, 4, 2),
            (4 * width, 4 * width, 3, 1),
        ]
        norm = nn.utils.parametrizations.spectral_norm
        self.layers = nn.ModuleList([norm(nn.Conv2d(i, o, k, s, 1)) for i, o, k, s in plan])
        self.score = norm(nn.Conv2d(4 * width, 1, 3, 1, 1))

    def forward(self, x: Tensor) -> list[Tensor]:
        """[B,inputs,h,w] -> the feature map of every layer, then the score map [B,1,h/4,w/4]."""
        maps: list[Tensor] = []
        for layer in self.layers:
            x = nn.functional.leaky_relu(layer(x), 0.2)
            maps.append(x)
        return [*maps, self.score(x)]
