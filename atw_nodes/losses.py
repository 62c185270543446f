"""Training losses: pure, unweighted, one signature ``(batch, out) -> scalar``. Weights live in the phases.

The paper's terms carry their equation's number. The supervised terms (landmark, photometric, edges, ...) are
ours:
they need pairs of photos with landmarks and are used for the warm start. Networks come in as callables.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType

import torch
import torch.nn.functional as F
from torch import Tensor

from .types import Generated
from .warp import identity_points, sample


@dataclass(frozen=True)
class Batch:
    """One batch of training examples; S is the generator's side, positions are fractions of the frame."""

    source: Tensor  # [B,3,S,S] in [0,1]
    target: Tensor  # [B,3,S,S], the source itself where there is no true photo of the target
    signal: Tensor  # [B,N]
    source_landmarks: Tensor  # [B,L,2]
    target_landmarks: Tensor  # [B,L,2]
    landmark_weight: Tensor  # [B,L]
    person: Tensor  # [B,1,S,S] 1 where source or target shows the person
    focus: Tensor  # [B,1,S,S] 1 around the target's mouth and eyes, soft
    gap: Tensor  # [B,1,S,S] 1 between the target's inner lips: content the source may not have
    paired: Tensor  # [B] 1 where ``target`` is a true photo
    mask: Tensor  # [B,1,S,S] the frame's feather
    # for the paper's losses (paper_losses.py), None where images have no labels
    label: Tensor | None = None  # [B,N] c_s: what the source shows, absolute
    wanted: Tensor | None = None  # [B,N] c_t: what the result is to show, absolute
    back: Tensor | None = None  # [B,N] the signal that undoes ``signal``
    alpha: Tensor | None = None  # [B,1,1,1] in [0,1], for the gradient penalty

    def to(self, device: torch.device) -> Batch:
        """The same on another device."""
        tensors = {k: v.to(device) for k, v in vars(self).items() if isinstance(v, Tensor)}
        return replace(self, **tensors)

    def crop(self, corner: Tensor, side: int) -> Batch:
        """Squares of ``side`` pixels with their top left at ``corner`` [B,2] (x, y); positions follow."""
        size = self.source.shape[-1]
        images = ("source", "target", "person", "focus", "gap", "mask")
        cut = {k: crop(getattr(self, k), corner, side) for k in images}
        marks = ("source_landmarks", "target_landmarks")
        at = corner.to(self.source_landmarks.device)[:, None]
        moved = {k: (getattr(self, k) * size - at) / side for k in marks}
        return replace(self, **cut, **moved)


def crop(images: Tensor, corner: Tensor, side: int) -> Tensor:
    """[B,C,side,side] of ``images`` [B,C,S,S], top left at whole pixels ``corner`` [B,2] (x, y)."""
    return torch.stack(
        [im[:, y : y + side, x : x + side] for im, (x, y) in zip(images, corner.tolist(), strict=True)]
    )


Loss = Callable[[Batch, Generated], Tensor]
Critic = Callable[[Tensor], list[Tensor]]  # image -> feature maps, the last one being the score


def _mean(values: Tensor, weight: Tensor) -> Tensor:
    """Mean over a batch in which unpaired rows count as zero."""
    return (values * weight).mean()


def _paired(batch: Batch) -> Tensor:
    return batch.paired[:, None, None, None]


def landmark(batch: Batch, out: Generated) -> Tensor:
    """Squared error in pixels between the motion at the target's landmarks and (source - target).

    Squared, not L1: most landmarks hardly move, and the median of their motion is zero.
    """
    at = sample(out.field, batch.target_landmarks[:, :, None])[..., 0].movedim(1, -1)  # [B,L,2]
    error = (at - (batch.source_landmarks - batch.target_landmarks)) * out.field.shape[-1]
    inside = (batch.target_landmarks - 0.5).abs().amax(-1) < 0.5
    return (error.square().sum(-1) * inside * batch.landmark_weight).mean()


def smooth(batch: Batch, out: Generated) -> Tensor:
    """Squared total variation of the motion in pixels; none is asked for between the inner lips."""
    f, keep = out.field * out.field.shape[-1], 1 - batch.gap
    dx, dy = f.diff(dim=-1).square(), f.diff(dim=-2).square()
    return _mean(dx, keep[..., 1:]) + _mean(dy, keep[..., 1:, :])


def still(batch: Batch, out: Generated) -> Tensor:
    """Mean motion in pixels outside the person: the background has no reason to move."""
    return _mean(out.field.abs().sum(1, keepdim=True) * out.field.shape[-1], 1 - batch.person)


def photometric_coarse(batch: Batch, out: Generated) -> Tensor:
    """L1 of O^w to the true photo, but for the mouth's inside, which no warp can bring."""
    weight = (0.2 + batch.person + 8 * batch.focus) * (1 - batch.gap)
    return _mean((out.coarse - batch.target).abs(), weight * _paired(batch))


def photometric(batch: Batch, out: Generated) -> Tensor:
    """L1 of O^r to the true photo, mouth and eyes weighted (they are 1-2 % of the pixels), the open mouth
    most.
    """
    weight = 0.2 + batch.person + 8 * batch.focus + 12 * batch.gap
    return _mean((out.refined - batch.target).abs(), weight * _paired(batch))


def edges(batch: Batch, out: Generated) -> Tensor:
    """L1 between the image gradients of O^r and of the true photo."""
    weight = (1 + 8 * batch.focus + 12 * batch.gap) * _paired(batch)
    d = out.refined - batch.target
    return _mean(d.diff(dim=-1).abs(), weight[..., 1:]) + _mean(d.diff(dim=-2).abs(), weight[..., 1:, :])


def gap_paint(batch: Batch, out: Generated) -> Tensor:
    """L1 to the true photo between the lips, a mean over those pixels alone, and L1 of the gradients.

    The gap is 1 % of the pixels: as a part of an image's mean it is never worth painting teeth.
    """
    weight = batch.gap * _paired(batch)
    d, area = (out.refined - batch.target).abs(), weight.sum().clamp_min(1) * 3
    slope = out.refined - batch.target
    dx = (slope.diff(dim=-1).abs() * weight[..., 1:]).sum()
    dy = (slope.diff(dim=-2).abs() * weight[..., 1:, :]).sum()
    return ((d * weight).sum() + dx + dy) / area


def refine(batch: Batch, out: Generated) -> Tensor:
    """Eq. 9: |O^w - O^r|; not between the lips, where refinement has to paint."""
    return _mean((out.coarse - out.refined).abs(), 1 - batch.gap)


def refine_unpaired(batch: Batch, out: Generated) -> Tensor:
    """Eq. 9 again, on the rows that have no true photo to be compared with."""
    return _mean((out.coarse - out.refined).abs(), 1 - _paired(batch))


SUPERVISED: Mapping[str, Loss] = MappingProxyType(
    {
        f.__name__: f
        for f in (
            landmark,
            smooth,
            still,
            photometric_coarse,
            photometric,
            edges,
            gap_paint,
            refine,
            refine_unpaired,
        )
    }
)


def mouth_crop(image: Tensor, batch: Batch, height: int = 32, width: int = 48) -> Tensor:
    """[B,C,height,width] of ``image`` [B,C,S,S] around the target's mouth, 1.7 mouth widths across."""
    left, right = batch.target_landmarks[:, 61], batch.target_landmarks[:, 291]
    centre = (left + right) / 2
    half = (right - left).norm(dim=-1).clamp_min(0.05) * 0.85
    grid = (identity_points(height, width, like=centre) - 0.5) * 2  # [1,h,w,2] in -1..1
    scale = torch.stack([half, half * height / width], -1)
    return sample(image, centre[:, None, None] + grid * scale[:, None, None])


def _mouths(image: Tensor, batch: Batch) -> Tensor:
    """What the mouth's discriminator sees: the crop and where the lips should part, paired rows only."""
    both = torch.cat([image * 2 - 1, batch.gap], 1)
    return mouth_crop(both, batch)[batch.paired > 0]


def mouth_discriminator(batch: Batch, out: Generated, critic: Critic) -> Tensor:
    """Hinge loss of the mouth's discriminator: true mouths above 1, painted ones below -1."""
    if not bool(batch.paired.any()):
        return out.refined.sum() * 0
    true = critic(_mouths(batch.target, batch))[-1].float()
    fake = critic(_mouths(out.refined.detach(), batch))[-1].float()
    return F.relu(1 - true).mean() + F.relu(1 + fake).mean()


def mouth_adversarial(batch: Batch, out: Generated, critic: Critic) -> Tensor:
    """Eq. 5 on the mouth alone: -E[D(G(I, c))]."""
    if not bool(batch.paired.any()):
        return out.refined.sum() * 0
    return -critic(_mouths(out.refined, batch))[-1].float().mean()


def mouth_features(batch: Batch, out: Generated, critic: Critic) -> Tensor:
    """L1 between the discriminator's features of the painted and of the true mouth."""
    if not bool(batch.paired.any()):
        return out.refined.sum() * 0
    with torch.no_grad():
        true = critic(_mouths(batch.target, batch))[:-1]
    fake = critic(_mouths(out.refined, batch))[:-1]
    return torch.stack([(a.float() - b.float()).abs().mean() for a, b in zip(fake, true, strict=True)]).mean()
