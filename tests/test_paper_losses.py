"""The paper's Eq. 1-10 against hand computation in float64, and what they do to a toy."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from atw_nodes import paper_losses as P
from atw_nodes.algorithm import Weights, judges, phases
from atw_nodes.discriminators import Discriminator, DiscriminatorConfig, Judged, pair
from atw_nodes.losses import Batch
from atw_nodes.networks import Generator, GeneratorConfig
from atw_nodes.types import Generated, InputError, SignalSpec

N, B, S = 3, 4, 32


def a_batch(dtype: torch.dtype = torch.float64, n: int = B) -> Batch:
    g = torch.Generator().manual_seed(0)
    image = torch.rand(n, 3, S, S, generator=g, dtype=dtype)
    label, wanted = torch.rand(n, N, generator=g, dtype=dtype), torch.rand(n, N, generator=g, dtype=dtype)
    blank = torch.zeros(n, 1, S, S, dtype=dtype)
    marks = torch.zeros(n, 0, 2, dtype=dtype)
    return Batch(
        **{"source": image, "target": image, "signal": wanted - label, "source_landmarks": marks},
        **{"target_landmarks": marks, "landmark_weight": marks[..., 0], "person": blank, "focus": blank},
        **{"gap": blank, "paired": torch.zeros(n, dtype=dtype), "mask": blank + 1, "label": label},
        **{
            "wanted": wanted,
            "back": label - wanted,
            "alpha": torch.rand(n, 1, 1, 1, generator=g, dtype=dtype),
        },
    )


def made(batch: Batch) -> Generated:
    g = torch.Generator().manual_seed(1)
    shape = batch.source.shape
    coarse, refined = (torch.rand(shape, generator=g, dtype=batch.source.dtype) for _ in range(2))
    return Generated(torch.zeros(shape[0], 2, S, S, dtype=coarse.dtype), coarse, refined)


class Linear(nn.Module):
    """A critic whose gradient is known: score = <w, image>, label = first N means of the channels."""

    def __init__(self, w: Tensor) -> None:
        super().__init__()
        self.w = nn.Parameter(w)

    def forward(self, image: Tensor) -> Judged:
        score = (image * self.w).sum((1, 2, 3))[:, None, None, None]
        return Judged(score, image.mean((2, 3)))


def critic(scale: float = 0.01) -> Linear:
    return Linear(
        torch.randn(3, S, S, generator=torch.Generator().manual_seed(2), dtype=torch.float64) * scale
    )


def test_eq_1_by_hand() -> None:
    batch, d = a_batch(), critic()
    out = made(batch)
    w = d.w.detach()
    said = [float((x * w).sum()) for x in batch.source], [float((x * w).sum()) for x in out.refined]
    gap = sum(said[1]) / B - sum(said[0]) / B
    assert float(P.wasserstein(batch, out, d).detach()) == pytest.approx(gap, rel=1e-12)
    length = float(d.w.detach().norm())  # of a linear critic's gradient, wherever it is taken
    assert float(P.penalty(batch, out, d).detach()) == pytest.approx((length - 1) ** 2, rel=1e-5)


def test_the_penalty_is_taken_on_the_line_between() -> None:
    """score = sum of x^2 / 2: the gradient is the image itself, so its length tells where it was taken."""

    def square(image: Tensor) -> Judged:
        return Judged((image.square() / 2).sum((1, 2, 3))[:, None, None, None], image.mean((2, 3)))

    batch = a_batch(torch.float32)
    out = made(batch)
    assert batch.alpha is not None
    expected = 0.0
    for real, fake, alpha in zip(batch.source, out.refined, batch.alpha, strict=True):
        between = (1 - alpha) * real + alpha * fake
        expected += (float(between.norm()) - 1) ** 2 / B
    assert float(P.penalty(batch, out, square).detach()) == pytest.approx(expected, rel=1e-5)
    assert len(set(batch.alpha.flatten().tolist())) == B, "alpha is drawn per sample"


def test_gradcheck_of_the_penalty() -> None:
    torch.manual_seed(0)
    net = Discriminator(DiscriminatorConfig(2, size=8, width=2, layers=2)).double()
    for p in net.parameters():
        p.data.mul_(3)
    real, fake = (torch.rand(2, 3, 8, 8, dtype=torch.float64) for _ in range(2))
    alpha = torch.rand(2, 1, 1, 1, dtype=torch.float64)
    weights = [p for n, p in net.named_parameters() if "driving" not in n and "bias" not in n]

    def penalty(*values: Tensor) -> Tensor:
        names = [n for n, _ in net.named_parameters() if "driving" not in n and "bias" not in n]

        def judge(image: Tensor) -> Judged:
            return torch.func.functional_call(net, dict(zip(names, values, strict=True)), (image,))

        return P.gradient_penalty(real, fake, alpha, judge)

    assert torch.autograd.gradcheck(penalty, tuple(weights), eps=1e-7, atol=1e-5)


def test_eq_2_and_4_by_hand() -> None:
    batch, d = a_batch(), critic()
    out, label = made(batch), a_batch().label
    assert label is not None
    said = batch.source.mean((2, 3))
    mse = sum((float(a) - float(b)) ** 2 for a, b in zip(label.flatten(), said.flatten(), strict=True)) / (
        B * N
    )
    assert float(P.reading(batch, out, d, P.disparity("absolute"))) == pytest.approx(mse, rel=1e-12)
    assert float(P.reading(batch, out, d, P.disparity("relative"))) == pytest.approx(mse, rel=1e-12)
    hot = F.one_hot(torch.tensor([0, 2, 1, 2]), N).double()
    entropy = 0.0
    for row, k in zip(said, (0, 2, 1, 2), strict=True):
        entropy -= float(torch.log(row.exp()[k] / row.exp().sum())) / B
    one = replace(batch, label=hot)
    assert float(P.reading(one, out, d, P.disparity("category"))) == pytest.approx(entropy, rel=1e-12)


def test_eq_5_7_8_9_by_hand() -> None:
    batch, d = a_batch(), critic()
    out, wanted = made(batch), batch.wanted
    assert wanted is not None
    score = -sum(float((x * d.w.detach()).sum()) for x in out.refined) / B
    assert float(P.adversarial(batch, out, d).detach()) == pytest.approx(score, rel=1e-12)
    measure = P.disparity("absolute")
    for loss, image in ((P.driving, out.refined), (P.warp, out.coarse)):
        expected = sum(float((image[b].mean((1, 2)) - wanted[b]).square().sum()) for b in range(B)) / (B * N)
        assert float(loss(batch, out, d, measure)) == pytest.approx(expected, rel=1e-12)
    expected = float((out.coarse - out.refined).abs().sum()) / out.coarse.numel()
    assert float(P.refine(batch, out)) == pytest.approx(expected, rel=1e-12)


def test_eq_6_goes_there_and_back() -> None:
    batch = a_batch()
    out, asked = made(batch), []

    def back(image: Tensor, signal: Tensor, mask: Tensor) -> Tensor:
        asked.append((image, signal))
        return image * 0.5

    expected = float((out.refined * 0.5 - batch.source).abs().sum()) / batch.source.numel()
    assert float(P.cycle(batch, out, back)) == pytest.approx(expected, rel=1e-12)
    assert asked[0][0] is out.refined and asked[0][1] is batch.back


def test_eq_10_is_the_weighted_sum() -> None:
    """The generator's phase has the paper's five terms at the paper's weights; 0 is an ablation."""
    critics, generator = phases(Weights())
    assert dict(generator.losses) == {"cycle": 10, "adversarial": 1, "driving": 1, "warp": 1, "refine": 10}
    assert dict(critics.losses) == {"wasserstein": 1, "penalty": 10, "reading": 1, "reading_warp": 1}
    assert critics.repeat == 5 and generator.repeat == 1 and critics.network == "critics"
    without = phases(Weights(adv=0))
    assert "adversarial" not in without[1].losses and dict(without[0].losses) == {
        "reading": 1,
        "reading_warp": 1,
    }
    no_drive = phases(Weights(drv=0, warp=0))
    assert "warp" not in no_drive[1].losses and "reading_warp" not in no_drive[0].losses


def test_the_critic_tells_real_from_fake_ever_better() -> None:
    torch.manual_seed(0)
    batch = a_batch(torch.float32, 8)
    out = made(batch)._replace(refined=batch.source * 0.3 + 0.5)  # a frozen generator that only greys
    nets = pair(N, S, 8, 3)
    adam = torch.optim.Adam(nets.parameters(), 1e-3, betas=(0.5, 0.999))
    gaps = []
    for _ in range(40):
        adam.zero_grad()
        gap = P.wasserstein(batch, out, nets["real"])
        (gap + Weights().sigma * P.penalty(batch, out, nets["real"])).backward()
        adam.step()
        gaps.append(-float(gap.detach()))
    assert gaps[-1] > gaps[0] + 0.05 and sum(gaps[-10:]) > sum(gaps[:10])


def test_a_generator_step_raises_what_the_critic_says() -> None:
    torch.manual_seed(0)
    config = GeneratorConfig(N, size=S, width=4, motion_blocks=1, refine_blocks=1)
    g, batch = Generator(config), a_batch(torch.float32)
    d = Discriminator(DiscriminatorConfig(N, size=S, width=8, layers=3))
    adam = torch.optim.Adam(g.parameters(), 1e-3)
    before = P.adversarial(batch, g(batch.source, batch.signal), d)
    before.backward()
    adam.step()
    after = P.adversarial(batch, g(batch.source, batch.signal), d)
    assert float(after.detach()) < float(before.detach()), "-D(fake) falls, so D(fake) rises"


@pytest.mark.parametrize("kind", ["category", "absolute", "relative"])
def test_all_losses_are_there_for_every_kind_of_signal(kind: str) -> None:
    torch.manual_seed(0)
    names = ("a", "b", "c")
    config = GeneratorConfig(N, size=S, width=4, motion_blocks=1, refine_blocks=1)
    g, batch = Generator(config), a_batch(torch.float32)
    if kind == "category":
        hot = F.one_hot(torch.tensor([0, 2, 1, 2]), N).float()
        batch = replace(batch, label=hot, wanted=hot.flip(0), signal=hot.flip(0), back=hot)
    table = judges(g, SignalSpec(kind, names), 4, 3).losses  # type: ignore[arg-type]
    out = g(batch.source, batch.signal)
    for phase in phases(Weights()):
        for name in phase.losses:
            value = table[name](batch, out)
            assert value.shape == () and bool(value.isfinite()), name


def test_batches_without_labels_and_critics_without_a_head_say_so() -> None:
    batch = replace(a_batch(), label=None, alpha=None)
    out = made(batch)
    with pytest.raises(InputError, match="no label"):
        P.reading(batch, out, critic(), P.disparity("absolute"))
    with pytest.raises(InputError, match="no alpha"):
        P.penalty(batch, out, critic())
    with pytest.raises(InputError, match="no head for realism"):
        P.adversarial(batch, out, partial(lambda image: Judged(None, image.mean((2, 3)))))
