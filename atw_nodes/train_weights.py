"""What the losses of Eq. 1, 3 and 10 are weighted with."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Weights:
    """The lambdas of Eq. 3 and 10; 0 leaves a term out (Table 2). cyc is the text's lambda_rec.

    sigma is Eq. 1's. The rest is ours (``losses.py``); landmark and photometric need pairs of photos of one
    person with landmarks.
    """

    cyc: float = 10.0
    adv: float = 1.0
    drv: float = 1.0
    warp: float = 1.0
    ref: float = 10.0
    sigma: float = 10.0
    landmark: float = 0.0
    photometric: float = 0.0
    smooth: float = 0.0

    @property
    def supervised(self) -> bool:
        """Whether a term needs pairs with landmarks."""
        return self.landmark > 0 or self.photometric > 0
