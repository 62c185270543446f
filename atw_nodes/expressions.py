"""Named expressions as combinations of action units, as targets: what a face shows, not how it changes.

The eight basic ones are the combinations of EMFACS (Friesen & Ekman 1983), as far as 17 symmetric units go:
contempt is one-sided on a real face. The compound ones are the 17 that Benitez-Quiroz, Srinivasan & Martinez
(EmotioNet, CVPR 2016, Table 1) list beside the six basic emotions; 15 of them are those of Du, Tao & Martinez
(PNAS 2014), happily sad and happily fearful came later. EmotioNet's files have 26 labels for 22 names, all of
which are here. The strengths are ours: they are to read clearly without being a grimace.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from .signals import UNITS
from .types import InputError, SignalSpec

# What else changes between the neutral photo and the smile of 82 people, on average, for each 0.9 of AU12
# measured (recipes/smile_units.py): a mouth at rest is drawn down and held, and a smile lets go of that.
SMILE_BRINGS: dict[str, float] = {"AU10": 0.6, "AU15": -0.5, "AU20": 0.2, "AU23": -0.25}
BASIC: dict[str, dict[str, float]] = {
    "neutral": {},
    "happiness": {"AU06": 0.5, "AU12": 0.9, "AU25": 0.25, **SMILE_BRINGS},
    "sadness": {"AU01": 0.8, "AU04": 0.5, "AU15": 0.7},
    "surprise": {"AU01": 0.8, "AU02": 0.8, "AU05": 0.7, "AU26": 0.6},
    "fear": {
        **{"AU01": 0.7, "AU02": 0.4, "AU04": 0.5, "AU05": 0.8, "AU07": 0.2, "AU20": 0.6, "AU26": 0.3},
    },
    "anger": {"AU04": 0.9, "AU05": 0.4, "AU07": 0.5, "AU23": 0.6},
    "disgust": {"AU09": 0.8, "AU10": 0.6, "AU15": 0.3, "AU17": 0.4},
    "contempt": {"AU12": 0.25, "AU14": 0.7},
}
# What the neutral and smiling photos of people differ by, measured (models/atw-smile-128.md).
SMILING: dict[str, float] = {"AU10": 0.44, "AU12": 0.68, "AU25": 0.48}

# name: the two basic expressions it mixes, and the units that EmotioNet's table gives it
_COMPOUND: dict[str, tuple[tuple[str, str], tuple[int, ...]]] = {
    "happily sad": (("happiness", "sadness"), (4, 6, 12, 25)),
    "happily surprised": (("happiness", "surprise"), (1, 2, 12, 25)),
    "happily disgusted": (("happiness", "disgust"), (10, 12, 25)),
    "happily fearful": (("happiness", "fear"), (1, 2, 12, 25, 26)),
    "sadly fearful": (("sadness", "fear"), (1, 4, 15, 25)),
    "sadly angry": (("sadness", "anger"), (4, 7, 15)),
    "sadly surprised": (("sadness", "surprise"), (1, 4, 25, 26)),
    "sadly disgusted": (("sadness", "disgust"), (4, 10)),
    "fearfully angry": (("fear", "anger"), (4, 20, 25)),
    "fearfully surprised": (("fear", "surprise"), (1, 2, 5, 20, 25)),
    "fearfully disgusted": (("fear", "disgust"), (1, 4, 10, 20, 25)),
    "angrily surprised": (("anger", "surprise"), (4, 25, 26)),
    "angrily disgusted": (("anger", "disgust"), (4, 10, 17)),
    "disgustedly surprised": (("disgust", "surprise"), (1, 2, 5, 10)),
    "awed": (("fear", "surprise"), (1, 2, 5, 25)),
    "appalled": (("anger", "disgust"), (4, 9, 10)),
    "hatred": (("anger", "disgust"), (4, 7, 10)),
}
WHOLE = "atw-au-128"  # the bundled checkpoint with all units, for those whose own lacks some
_ELSE = 0.4  # strength of a unit that neither of the two has


def _blend(parents: tuple[str, str], units: tuple[int, ...]) -> dict[str, float]:
    """The units of a compound, each as strong as in whichever of the two shows it more."""
    names = [f"AU{n:02d}" for n in units]
    return {n: max(BASIC[p].get(n, 0.0) for p in parents) or _ELSE for n in names}


COMPOUND: dict[str, dict[str, float]] = {name: _blend(*made_of) for name, made_of in _COMPOUND.items()}
EXPRESSIONS: dict[str, dict[str, float]] = {**BASIC, "smiling": SMILING, **COMPOUND}
ALIASES: dict[str, str] = {
    **{"happy": "happiness", "sad": "sadness", "surprised": "surprise", "fearful": "fear"},
    **{"angry": "anger", "disgusted": "disgust", "contemptuous": "contempt", "smile": "smiling"},
}


def expression_name(text: str) -> str:
    """A name as the tables spell it: case, underscores and adjectives (``Happily_Surprised``, ``sad``)."""
    plain = " ".join(text.replace("_", " ").replace("-", " ").lower().split())
    return ALIASES.get(plain, plain)


def presets(names: Sequence[str] = tuple(UNITS)) -> dict[str, dict[str, float]]:
    """{expression: {unit: value}} of every expression all of whose units are among ``names``."""
    return {name: dict(units) for name, units in EXPRESSIONS.items() if units.keys() <= set(names)}


def presets_of(spec: SignalSpec) -> dict[str, dict[str, float]]:
    """Every expression that a checkpoint can show; its own presets come before the table's.

    For one-hot signals, each category is an expression.
    """
    if spec.kind == "category":
        table = {name: {n: float(n == name) for n in spec.names} for name in spec.names}
    else:
        table = presets(spec.names)
    return {**table, **{name: dict(units) for name, units in spec.presets.items()}}


def with_presets(spec: SignalSpec) -> SignalSpec:
    """The same signal, knowing the table's expressions as well; ``preset`` and ``toward`` take them all."""
    return replace(spec, presets=presets_of(spec))


def expression(name: str, spec: SignalSpec) -> dict[str, float]:
    """{unit: value} of an expression that a checkpoint knows; else ``InputError`` says what it knows."""
    known = presets_of(spec)
    key = name if name in known else expression_name(name)
    if key in known:
        return known[key]
    able = f"it knows {', '.join(known) or 'none'}"
    if spec.kind != "category" and key in EXPRESSIONS:
        missing = ", ".join(u for u in EXPRESSIONS[key] if u not in spec.names)
        raise InputError(
            f"expression {key!r} needs {missing}, which this checkpoint has no units for; "
            f"{able} and has {', '.join(spec.names)}. {WHOLE} has them: choose it as the checkpoint "
            "(in ComfyUI: ATW Load Model, connected to model)"
        )
    raise InputError(f"expression {name!r} is unknown to this checkpoint; {able}")
