"""The paper's Algorithm 1 as phases: five updates of the discriminators (Eq. 3 and 4), one of the generator
(Eq. 10).
"""

from __future__ import annotations

from functools import partial

from torch import Tensor, nn

from . import losses as L
from . import paper_losses as P
from .discriminators import Remembered, pair
from .networks import Generator
from .train_weights import Weights
from .training import Judges, Phase
from .types import InputError, SignalSpec


def phases(
    w: Weights, n_critic: int = 5, rate: float = 1e-4, steps: int = 1 << 60, decay: float = 1.0
) -> tuple[Phase, ...]:
    """Algorithm 1; a step is one turn of its outer loop.

    decay: share of the steps after which Adam's rate falls linearly; 1 keeps it, as the paper does.
    """
    critics = {
        "wasserstein": w.adv,
        "penalty": w.adv * w.sigma,
        "reading": w.drv,
        "reading_warp": float(w.warp > 0),
    }
    generator = {"cycle": w.cyc, "adversarial": w.adv, "driving": w.drv, "warp": w.warp, "refine": w.ref}
    generator |= {k: getattr(w, k) for k in ("landmark", "photometric", "smooth")}
    if not _used(generator):
        raise InputError("all weights of the generator's losses are 0; set one of them above 0")
    how = {"stop": steps if decay < 1 else 1 << 60, "rate": rate, "decay": decay}
    made = [Phase("generator", "generator", _used(generator), **how)]
    if _used(critics):
        made.insert(0, Phase("critics", "critics", _used(critics), repeat=n_critic, **how))
    return tuple(made)


def _used(weights: dict[str, float]) -> dict[str, float]:
    return {k: v for k, v in weights.items() if v}


def judges(generator: Generator, spec: SignalSpec, width: int = 32, layers: int = 5) -> Judges:
    """D^r and D^w for a generator, and the losses of Eq. 1-9 bound to them."""
    critics = pair(len(spec.names), generator.config.size, width, layers)
    real, warped = Remembered(critics["real"]), Remembered(critics["warp"])
    measure = P.disparity(spec.kind)

    def back(image: Tensor, signal: Tensor, mask: Tensor) -> Tensor:
        return generator(image, signal, mask).refined

    table: dict[str, L.Loss] = {
        **L.SUPERVISED,
        "wasserstein": partial(P.wasserstein, critic=real),
        "penalty": partial(P.penalty, critic=critics["real"]),
        "reading": partial(P.reading, critic=real, measure=measure),
        "reading_warp": partial(P.reading, critic=warped, measure=measure),
        "adversarial": partial(P.adversarial, critic=real),
        "driving": partial(P.driving, critic=real, measure=measure),
        "warp": partial(P.warp, critic=warped, measure=measure),
        "refine": P.refine,
        "cycle": partial(P.cycle, back=back),
    }
    networks: dict[str, nn.Module] = {"critics": critics}
    return Judges(networks, table, remembered=(real, warped))
