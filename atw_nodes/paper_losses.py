"""The paper's training losses, Eq. 1-9, as pure functions ``(batch, out) -> scalar``.

Eq. 3, 4 and 10 are their weighted sums and live in the phases (``algorithm.py``). Networks come in as
callables.

Signs and names. Eq. 1 is printed with the critic's sign reversed against Eq. 5: minimised as printed, D would
lower what it says of real images while G lowers it for its own. Here it is WGAN-GP's (Gulrajani et al. 2017,
Eq. 3): E[D(G(I, c_t))] - E[D(I)] + sigma E[(|grad D(I^)|_2 - 1)^2]. "D^r" in Eq. 7 means its driving head.
"lambda_rec" in the paper's text is Eq. 10's lambda_cyc.

Signals. Driving heads always say what a face shows. ``batch.label`` is that of the photo, c_s;
``batch.wanted`` that of the result, c_t: for a relative signal c_s plus the change, within the labels' range.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from .discriminators import Judged
from .losses import Batch
from .types import Generated, InputError, SignalKind

Judge = Callable[[Tensor], Judged]
Disparity = Callable[[Tensor, Tensor], Tensor]  # (wanted labels [B,N], what a head says [B,N]) -> scalar


def disparity(kind: SignalKind) -> Disparity:
    """The paper's D(c, c'): cross-entropy for categories, mean squared error for action units."""
    if kind == "category":
        return lambda wanted, said: F.cross_entropy(said, wanted)
    return lambda wanted, said: F.mse_loss(said, wanted)


def _label(value: Tensor | None, name: str) -> Tensor:
    if value is None:
        raise InputError(f"this batch has no {name}; the paper's losses need labelled images")
    return value


def _score(judged: Judged) -> Tensor:
    if judged.score is None:
        raise InputError("this discriminator has no head for realism; Eq. 1 and 5 need D^r, not D^w")
    return judged.score


def gradient_penalty(real: Tensor, fake: Tensor, alpha: Tensor, critic: Judge) -> Tensor:
    """Eq. 1, last term, without its sigma: E[(|grad D(I^)|_2 - 1)^2] at I^ = (1 - alpha) I + alpha O^r.

    alpha [B,1,1,1] in [0,1], one a row. The norm is that of a row's whole gradient; the score of a row is the
    mean of its patches. Single precision: half loses the second derivative.
    """
    with torch.autocast(real.device.type, enabled=False):
        whole = torch.promote_types(real.dtype, torch.float32)  # bfloat16 -> float32, float64 stays
        between = torch.lerp(real.to(whole), fake.to(whole), alpha.to(whole)).requires_grad_()
        score = _score(critic(between)).mean((1, 2, 3)).sum()
        (slope,) = torch.autograd.grad(score, between, create_graph=True)
        return (slope.flatten(1).norm(dim=1) - 1).square().mean()


def wasserstein(batch: Batch, out: Generated, critic: Judge) -> Tensor:
    """Eq. 1 but for the penalty: E[D(O^r)] - E[D(I)]. Its negative is the critic's gap, real minus fake."""
    return _score(critic(out.refined)).mean() - _score(critic(batch.source)).mean()


def penalty(batch: Batch, out: Generated, critic: Judge) -> Tensor:
    """The gradient penalty of Eq. 1 on this batch, between its photos and what was made of them."""
    return gradient_penalty(batch.source, out.refined.detach(), _label(batch.alpha, "alpha"), critic)


def reading(batch: Batch, out: Generated, critic: Judge, measure: Disparity) -> Tensor:
    """Eq. 2 (of D^r) and Eq. 4 (of D^w): how far the driving head is off on photos, D(c_s, D_drv(I))."""
    return measure(_label(batch.label, "label"), critic(batch.source).label)


def adversarial(batch: Batch, out: Generated, critic: Judge) -> Tensor:
    """Eq. 5: -E[D^r_adv(G(I, c_t))]."""
    return -_score(critic(out.refined)).mean()


def driving(batch: Batch, out: Generated, critic: Judge, measure: Disparity) -> Tensor:
    """Eq. 7: D(c_t, D^r_drv(O^r))."""
    return measure(_label(batch.wanted, "wanted label"), critic(out.refined).label)


def warp(batch: Batch, out: Generated, critic: Judge, measure: Disparity) -> Tensor:
    """Eq. 8: D(c_t, D^w(O^w))."""
    return measure(_label(batch.wanted, "wanted label"), critic(out.coarse).label)


def refine(batch: Batch, out: Generated) -> Tensor:
    """Eq. 9: |O^w - O^r|."""
    return (out.coarse - out.refined).abs().mean()


def cycle(batch: Batch, out: Generated, back: Callable[[Tensor, Tensor, Tensor], Tensor]) -> Tensor:
    """Eq. 6: |G(G(I, c_t), c_s) - I|. back: (O^r, signal, mask) -> G's refined image.

    For a relative signal the way back is the opposite change (``batch.back``).
    """
    again = back(out.refined, _label(batch.back, "signal back"), batch.mask)
    return (again - batch.source).abs().mean()
