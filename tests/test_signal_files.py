"""Signal files: exact there and back, never overwritten unasked, bounded, one door to all kinds."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from atw_nodes.expressions import BASIC, presets
from atw_nodes.keyframes import parse_keyframes
from atw_nodes.signal_files import (
    load_keyframes,
    load_signal,
    save_keyframes,
    save_signal,
    signal_from_json,
    signal_to_json,
)
from atw_nodes.signals import UNITS, pose
from atw_nodes.types import InputError, OutputError, Signal


def good() -> dict:
    return {"format": "atw-signal", "version": 1, "units": ["AU12", "AU45"], "values": [[0, 0.5], [1, 0]]}


def put(path: Path, data: object) -> Path:
    path.write_text(data if isinstance(data, str) else json.dumps(data), encoding="utf-8")
    return path


@pytest.mark.parametrize("fps", [None, 25.0, 30000 / 1001])
@pytest.mark.parametrize("absolute", [False, True])
def test_json_there_and_back_to_the_bit(tmp_path: Path, fps: float | None, absolute: bool) -> None:
    signal = Signal(torch.randn(60, 17) * 10.0 ** torch.randint(-6, 3, (60, 17)), tuple(UNITS), fps, absolute)
    path = tmp_path / "a.JSON"
    save_signal(signal, path)
    back = load_signal(path, relative=False)
    assert torch.equal(back.values, signal.values) and back.names == signal.names
    assert back.fps == fps and back.absolute == absolute and list(tmp_path.iterdir()) == [path]


def test_files_stay_small() -> None:
    text = json.dumps(signal_to_json(pose({"AU12": 0.1})))
    assert "0.1," in text and len(text) < 400


def test_an_expression_of_ones_own(tmp_path: Path) -> None:
    save_signal(pose({"AU12": 0.3, "AU14": 0.6}), tmp_path / "smirk.json")
    assert load_signal(tmp_path / "smirk.json").column("AU14").tolist() == [pytest.approx(0.6)]


def test_absolute_files_are_made_relative(tmp_path: Path) -> None:
    signal = Signal(torch.tensor([[0.25], [0.75]]), ("AU12",), 25.0, True)
    for path in (tmp_path / "a.json", tmp_path / "a.csv"):
        save_signal(signal, path)
        assert load_signal(path).values.tolist() == [[0], [0.5]] and not load_signal(path).absolute
        assert load_signal(path, relative=False).absolute
    save_signal(signal[:1], tmp_path / "one.json")
    assert load_signal(tmp_path / "one.json").values.tolist() == [[0.25]]
    assert load_signal(tmp_path / "one.json").absolute


def test_openface_comes_through_the_same_door(tmp_path: Path) -> None:
    path = put(
        tmp_path / "of.csv",
        "frame, timestamp, confidence, success, AU12_r\n1, 0.000, 0.9, 1, 1\n2, 0.040, 0.9, 1, 3\n",
    )
    signal = load_signal(path)
    assert (
        signal.names == ("AU12",)
        and signal.fps == 25
        and signal.values.flatten().tolist() == [0, pytest.approx(0.4)]
    )
    assert load_signal(path, relative=False, fps=50).fps == 50
    with pytest.raises(InputError, match="no columns AU01_r .* its columns are frame, x"):
        load_signal(put(path, "frame, x\n1, 2\n"))


def test_keyframe_files(tmp_path: Path) -> None:
    keys, path = parse_keyframes("0.5: AU12=0.8; 1 hold: AU45=1"), tmp_path / "k.json"
    save_keyframes(keys, path)
    assert load_keyframes(path) == keys and json.loads(path.read_text())["format"] == "atw-keyframes"
    signal = load_signal(path)
    assert signal.fps == 25 and len(signal) == 26 and signal.column("AU45")[-1] == 1
    assert load_signal(path, fps=10).fps == 10
    bare = put(tmp_path / "bare.json", {"0": {}, "1": {"happiness": 1}})
    assert load_signal(bare, expressions=presets()).column("AU12")[-1] == pytest.approx(
        BASIC["happiness"]["AU12"]
    )
    with pytest.raises(InputError, match="bare.json: 'happiness' is unknown"):
        load_signal(bare)
    with pytest.raises(InputError, match="a.json: loops is unknown in atw-keyframes; expected keyframes"):
        load_signal(
            put(tmp_path / "a.json", {"format": "atw-keyframes", "version": 1, "keyframes": [], "loops": 2})
        )


def test_nothing_is_overwritten_unasked(tmp_path: Path) -> None:
    path, keys = put(tmp_path / "a.json", "mine"), parse_keyframes("0: AU12=1")
    for save, what in ((save_signal, pose({})), (save_keyframes, keys)):
        with pytest.raises(OutputError, match="already exists"):
            save(what, path)  # type: ignore[arg-type]
        assert path.read_text() == "mine"
    save_keyframes(keys, path, overwrite=True)
    save_signal(pose({}), path, overwrite=True)
    assert json.loads(path.read_text())["format"] == "atw-signal" and list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("name", ["a.txt", "a", "a.json.exe"])
def test_other_endings_are_refused(tmp_path: Path, name: str) -> None:
    for work, error in (
        (lambda p: save_signal(pose({}), p), OutputError),
        (lambda p: save_keyframes(parse_keyframes("0:"), p), OutputError),
        (load_signal, InputError),
    ):
        with pytest.raises(error, match="expected"):
            work(tmp_path / name)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"format": "atw-motion"}, "there are no keyframes|keyframe|expected"),
        ({"version": 2}, "version is 2; this release reads 1"),
        ({"version": None}, "version is None"),
        ({"colour": 1}, "colour is unknown in atw-signal; expected absolute, fps, units, values"),
        ({"units": []}, "expected a list of 1 to 64 names"),
        ({"units": "AU12"}, "expected a list of 1 to 64 names"),
        ({"units": ["AU12", 3]}, "expected a list of 1 to 64 names"),
        ({"units": ["AU12", "x" * 99]}, "expected a list of 1 to 64 names"),
        ({"units": ["AU12", "AU12"]}, "AU12 more than once"),
        ({"values": []}, "values are 0 rows"),
        ({"values": 3}, "values are int"),
        ({"values": [[1]]}, r"row 0: \[1\]; expected 2 numbers"),
        ({"values": [[0, 0], [0, None]]}, "row 1"),
        ({"values": [[0, True]]}, "row 0"),
        ({"values": [[0, 1e30]]}, "row 0"),
        ({"values": [[0, 10**400]]}, "row 0"),
        ({"values": [[0, 0]] * 110_000}, "110000 rows; expected a list of 1 to 108000"),
        ({"fps": 0}, "fps is 0"),
        ({"fps": "25"}, "fps is 25; expected null"),
        ({"absolute": 1}, "absolute is 1; expected true or false"),
    ],
)
def test_bad_signals_say_what_is_wrong(tmp_path: Path, change: dict, says: str) -> None:
    path = put(tmp_path / "bad.json", {**good(), **change})
    with pytest.raises(InputError, match=f"bad.json.*({says})"):
        load_signal(path)


@pytest.mark.parametrize("data", [None, [], 3, {}, {"format": "x"}, "text"])
def test_other_objects_are_refused(data: object) -> None:
    with pytest.raises(InputError, match="format is .* expected 'atw-signal'"):
        signal_from_json(data)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "is empty"),
        ("{", "is no JSON"),
        ("[" * 100_000, "is no JSON"),
        ('{"0": {"AU12": NaN}}', "NaN is no number"),
        ('{"0": {"AU12": 1e999}}', "expected a number"),
        ('"hello"', "keyframes are no list"),
        ("[]", "no keyframes"),
        ("null", "keyframes are no list"),
    ],
)
def test_bad_json_says_so(tmp_path: Path, text: str, says: str) -> None:
    with pytest.raises(InputError, match=says):
        load_signal(put(tmp_path / "bad.json", text))


def test_what_is_no_text_or_too_large(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a.json"
    path.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(InputError, match="is no JSON"):
        load_signal(path)
    monkeypatch.setattr("atw_nodes.signal_files.MAX_BYTES", 2**20)
    with pytest.raises(InputError, match="more than 1 MB"):
        load_signal(put(path, " " * (2**20 + 1)))
    with pytest.raises(InputError, match="does not exist"):
        load_signal(tmp_path / "none.json")
