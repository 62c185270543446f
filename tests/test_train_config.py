"""Settings: a TOML file with flat keys, every mistake named."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from atw_nodes.algorithm import Weights
from atw_nodes.networks import GeneratorConfig
from atw_nodes.train_config import RunConfig, read_config
from atw_nodes.types import InputError

ROOT = Path(__file__).resolve().parents[1]


def written(folder: Path, text: str) -> Path:
    file = folder / "run.toml"
    file.write_text(text, encoding="utf-8")
    return file


def test_two_keys_are_enough_and_paths_are_the_files(tmp_path: Path) -> None:
    config = read_config(written(tmp_path, 'data = "d/m.csv"\nout = "r"\nbatch = 3\nrate = 1\n'))
    assert config.data == str(tmp_path / "d/m.csv") and config.out == str(tmp_path / "r")
    assert config.batch == 3 and config.rate == 1.0 and isinstance(config.rate, float)
    assert (config.n_critic, config.sigma, config.beta1, config.beta2) == (5, 10.0, 0.5, 0.999)
    assert read_config(tmp_path / "run.toml", steps=7).steps == 7


def test_the_papers_weights_are_the_defaults() -> None:
    assert RunConfig("d", "o").weights() == Weights(cyc=10, adv=1, drv=1, warp=1, ref=10, sigma=10)
    assert RunConfig("d", "o", paper=True).generator(3) == GeneratorConfig.paper(3)
    assert RunConfig("d", "o").batch == 10 and RunConfig("d", "o").rate == 1e-4


def test_the_readmes_settings_are_settings(tmp_path: Path) -> None:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    (block,) = re.findall(r"```toml\n(.*?)```", text, re.DOTALL)
    config = read_config(written(tmp_path, block))
    assert config.start == "atw-au-128" and config.exclude == ("set/subject",)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("lamda_cyc = 1", "unknown lamda_cyc; known keys are data, out"),
        ('batch = "many"', "batch is 'many'; expected a whole number"),
        ("batch = true", "batch is True; expected a whole number"),
        ('rate = "x"', "rate is 'x'; expected a number"),
        ("paper = 1", "paper is 1; expected true or false"),
        ("start = 3", "start is 3; expected text"),
        ('exclude = "me"', "exclude is 'me'; expected a list"),
        ("steps = 0", "steps is 0; expected at least 1"),
        ("lambda_ref = -1", "lambda_ref is -1; expected a number from 0"),
        ("rate = 0", "expected a rate above 0"),
        ("decay = 1.5", "decay 1.5"),
        ('signal = "mood"', "signal is 'mood'; expected one of auto, category"),
        ('half = "yes"', "half is 'yes'; expected one of auto, on, off"),
        ("data = ", "is no TOML"),
    ],
)
def test_mistakes_are_named(tmp_path: Path, line: str, message: str) -> None:
    rest = "" if line.startswith("data") else 'data = "d"\n'
    with pytest.raises(InputError, match=re.escape(message)):
        read_config(written(tmp_path, f'{rest}out = "o"\n{line}\n'))


def test_what_is_missing_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="out missing; data names a manifest"):
        read_config(written(tmp_path, 'data = "d"\n'))
    with pytest.raises(InputError, match="cannot be read"):
        read_config(tmp_path / "none.toml")
