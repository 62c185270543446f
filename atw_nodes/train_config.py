"""Settings of a training run: flat keys of a TOML file, every one with a default but ``data`` and ``out``."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .networks import GeneratorConfig
from .train_weights import Weights
from .training_state import last_step
from .types import InputError, MissingExtraError

if TYPE_CHECKING:
    from .training import TrainConfig

_PLAIN = {"str": "text", "int": "a whole number", "float": "a number", "bool": "true or false"}
_PLAIN |= {"tuple[str, ...]": 'a list of texts such as ["set/subject"]'}
KINDS = ("auto", "category", "absolute", "relative")


@dataclass(frozen=True)
class RunConfig:
    """Settings of one run. Paths are relative to the file they stand in.

    data: manifest CSV (or its folder), see ``manifest.py``. out: folder of the run. signal: what drives
    the generator: category, absolute or relative action units; auto takes relative units where there are any.
    start: checkpoint to fine-tune, "" for a new generator of ``width``, ``size`` and ``conditioning``; paper
    builds the published network. steps: turns of Algorithm 1's outer loop, n_critic + 1 updates each. rate,
    beta1, beta2: Adam's. decay: share of the steps after which the rate falls; 1 keeps it. lambda_*, sigma:
    weights of the losses (``train_weights.Weights``). sample_every: steps between sample sheets, 0 for none.
    device: auto, cpu, cuda. half: bfloat16 where it is safe; auto where it pays. augment: how strongly crops
    and colours vary, 1 as designed, 0 not at all. licence: of the training data, written into the card.
    exclude: people ("set/subject" as in the manifest) who are left out, for measuring on them later.
    """

    data: str
    out: str
    signal: str = "auto"
    start: str = ""
    steps: int = 20_000
    batch: int = 10
    seed: int = 0
    size: int = 128
    width: int = 32
    conditioning: str = "film"
    paper: bool = False
    critic_width: int = 32
    critic_layers: int = 5
    n_critic: int = 5
    rate: float = 1e-4
    beta1: float = 0.5
    beta2: float = 0.999
    decay: float = 1.0
    clip: float = 0.0
    ema: float = 0.999
    lambda_cyc: float = 10.0
    lambda_adv: float = 1.0
    lambda_drv: float = 1.0
    lambda_warp: float = 1.0
    lambda_ref: float = 10.0
    lambda_landmark: float = 0.0
    lambda_photometric: float = 0.0
    lambda_smooth: float = 0.0
    sigma: float = 10.0
    augment: float = 1.0
    save_every: int = 250
    keep: int = 2
    sample_every: int = 250
    device: str = "auto"
    half: str = "auto"
    tensorboard: bool = False
    licence: str = ""
    exclude: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        for name, least in (("steps", 1), ("batch", 1), ("n_critic", 1), ("save_every", 1), ("keep", 1)):
            if getattr(self, name) < least:
                raise InputError(f"{name} is {getattr(self, name)}; expected at least {least}")
        for f in fields(self):
            value = getattr(self, f.name)
            if isinstance(value, float) and not 0 <= value < float("inf"):
                raise InputError(f"{f.name} is {value:g}; expected a number from 0")
        if self.rate == 0 or self.sample_every < 0 or self.decay > 1:
            raise InputError(
                f"rate {self.rate:g}, sample_every {self.sample_every}, decay {self.decay:g}: "
                "expected a rate above 0, sample_every from 0, decay up to 1"
            )
        for name, known in (("signal", KINDS), ("half", ("auto", "on", "off"))):
            if getattr(self, name) not in known:
                raise InputError(f"{name} is {getattr(self, name)!r}; expected one of {', '.join(known)}")

    def weights(self) -> Weights:
        """What Eq. 1, 3 and 10 are weighted with."""
        lambdas = {f.name: getattr(self, f"lambda_{f.name}") for f in fields(Weights) if f.name != "sigma"}
        return Weights(**lambdas, sigma=self.sigma)

    def generator(self, signal: int) -> GeneratorConfig:
        """Of a new generator for a signal of that length."""
        if self.paper:
            return GeneratorConfig.paper(signal, size=self.size, width=self.width)
        return GeneratorConfig(signal, self.size, self.width, conditioning=self.conditioning)  # type: ignore[arg-type]

    def trainer(self, device_type: str) -> TrainConfig:
        from .training import TrainConfig, half_pays  # nodes read settings without loading what trains

        pays = half_pays() if device_type == "cpu" else device_type == "cuda"
        half = pays if self.half == "auto" else self.half == "on"
        return TrainConfig(
            self.steps,
            self.batch,
            self.seed,
            clip=self.clip,
            ema=self.ema,
            betas=(self.beta1, self.beta2),
            bf16=half,
            save_every=self.save_every,
            keep=self.keep,
        )

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


@dataclass(frozen=True)
class Training:
    """A run as it was at a step: its settings, its folder among them. What nodes hand on (ATW_TRAINER)."""

    config: RunConfig
    step: int


def from_settings(values: Mapping[str, Any], where: str) -> RunConfig:
    """A config from flat keys; those that are unknown, missing or of a wrong type are an ``InputError``."""
    known = {f.name: f for f in fields(RunConfig)}
    unknown = sorted(set(values) - set(known))
    if unknown:
        raise InputError(f"{where}: unknown {', '.join(unknown)}; known keys are {', '.join(known)}")
    missing = [k for k in ("data", "out") if not values.get(k)]
    if missing:
        raise InputError(
            f"{where}: {' and '.join(missing)} missing; data names a manifest, out the run's folder"
        )
    return RunConfig(**{k: _typed(v, str(known[k].type), f"{where}: {k}") for k, v in values.items()})


def _typed(value: Any, kind: str, where: str) -> Any:  # noqa: ANN401
    if kind.startswith("tuple") and isinstance(value, list) and all(isinstance(v, str) for v in value):
        return tuple(value)
    if kind == "float" and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if type(value).__name__ != kind:
        raise InputError(f"{where} is {value!r}; expected {_PLAIN.get(kind, kind)}")
    return value


def read_config(path: Path, **override: Any) -> RunConfig:  # noqa: ANN401
    """The settings in a TOML file; its paths become absolute. override: keys that are set elsewhere."""
    try:
        import tomllib  # type: ignore[import-not-found,unused-ignore]
    except ModuleNotFoundError:  # Python 3.10
        try:
            import tomli as tomllib  # type: ignore[import-not-found,no-redef,unused-ignore]
        except ModuleNotFoundError as error:
            raise MissingExtraError(
                "reading TOML on Python 3.10 needs tomli; run: pip install tomli"
            ) from error
    try:
        text = Path(path).read_text(encoding="utf-8")
        values = tomllib.loads(text)
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path} cannot be read ({error}); give a TOML file with data and out") from error
    except tomllib.TOMLDecodeError as error:
        raise InputError(
            f'{path} is no TOML ({error}); expected lines such as data = "manifest.csv"'
        ) from error
    config = from_settings(values | override, str(path))
    here = Path(path).resolve().parent
    start = config.start
    if start.endswith(".safetensors") and not start.startswith("hf://"):
        start = str(here / start)
    return replace(config, data=str(here / config.data), out=str(here / config.out), start=start)


def begun(folder: Path) -> bool:
    """Whether a folder holds a run."""
    return (Path(folder) / "run.json").is_file() or last_step(folder) is not None


def settings_of(folder: Path) -> RunConfig:
    """The settings that the run in ``folder`` was begun with."""
    file = Path(folder) / "run.json"
    try:
        values = json.loads(file.read_text(encoding="utf-8"))["settings"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(f"{folder} holds no run that can be read ({error}); begin a new one") from error
    return from_settings(values, str(file))
