"""The pack as it is installed: a wheel that carries its models, a light import, any folder name."""

from __future__ import annotations

import asyncio
import importlib.util
import os
import shutil
import subprocess
import sys
import types
import zipfile
from pathlib import Path

import pytest

import atw_nodes

ROOT = Path(__file__).resolve().parents[1]
HEAVY = ("torch", "numpy", "av", "PIL", "safetensors", "huggingface_hub")


def run(code: str, cwd: Path, **env: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=cwd,
        capture_output=True,
        text=True,
        env={**os.environ, **env},
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("wheel")
    subprocess.run(
        [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(out), str(ROOT)],
        check=True,
        capture_output=True,
    )
    return next(out.glob("atw_nodes-*.whl"))


def test_wheel_carries_the_models_and_nothing_else(wheel: Path) -> None:
    names = zipfile.ZipFile(wheel).namelist()
    shipped = {p.name for p in (ROOT / "models").glob("*.safetensors")}
    assert {n.removeprefix("atw_nodes/models/") for n in names if n.endswith(".safetensors")} == shipped
    assert {n.split("/")[0] for n in names} == {"atw_nodes", f"atw_nodes-{atw_nodes.__version__}.dist-info"}


def test_installed_wheel_finds_its_checkpoint_outside_the_checkout(wheel: Path, tmp_path: Path) -> None:
    site = tmp_path / "site"
    with zipfile.ZipFile(wheel) as z:
        z.extractall(site)
    code = (
        "import atw_nodes, atw_nodes.checkpoints as c, pathlib;"
        "assert pathlib.Path(atw_nodes.__file__).is_relative_to(pathlib.Path('site').resolve()), atw_nodes.__file__;"
        "m = c.load_checkpoint(); print(m.path.relative_to(pathlib.Path('site').resolve()), m.signal.kind)"
    )
    assert run(code, tmp_path, PYTHONPATH=str(site)).split() == [
        str(Path("atw_nodes/models/atw-au-128.safetensors")),
        "relative",
    ]


def test_import_is_light(tmp_path: Path) -> None:
    code = f"import sys, atw_nodes; print(*[m for m in {HEAVY!r} if m in sys.modules])"
    assert run(code, tmp_path, PYTHONPATH=str(ROOT)) == ""


def test_help_is_light(tmp_path: Path) -> None:
    code = (
        "import sys\nfrom atw_nodes.cli import main\n"
        "try:\n    main(['animate', '--help'])\nexcept SystemExit:\n    pass\n"
        "print('HEAVY', *[m for m in ('av', 'PIL', 'huggingface_hub') if m in sys.modules])"
    )
    assert run(code, tmp_path, PYTHONPATH=str(ROOT)).splitlines()[-1] == "HEAVY"


def test_every_public_name_resolves() -> None:
    assert sorted(atw_nodes.__all__) == atw_nodes.__all__
    for name in atw_nodes.__all__:
        assert getattr(atw_nodes, name).__module__.startswith("atw_nodes.")
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = atw_nodes.nothing


def test_loads_under_any_folder_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As ComfyUI does it: the folder's path, with dots replaced, is the module's name."""
    folder = tmp_path / "some odd-name.v2"
    for item in ("atw_nodes", "models"):
        shutil.copytree(ROOT / item, folder / item)
    for item in ("__init__.py", "nodes.py"):
        shutil.copy(ROOT / item, folder / item)
    latest, api = types.ModuleType("comfy_api.latest"), types.ModuleType("comfy_api")
    latest.ComfyExtension, latest.io = type("ComfyExtension", (), {}), types.SimpleNamespace(ComfyNode=object)
    monkeypatch.setitem(sys.modules, "comfy_api", api)
    monkeypatch.setitem(sys.modules, "comfy_api.latest", latest)
    name = str(folder).replace(".", "_x_")
    spec = importlib.util.spec_from_file_location(name, folder / "__init__.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, name, module)
    spec.loader.exec_module(module)
    extension = asyncio.run(module.comfy_entrypoint())
    assert callable(extension.get_node_list)  # what it lists needs the host: tests/host
    checkpoints = importlib.import_module(f"{name}.atw_nodes.checkpoints")
    assert Path(checkpoints.__file__).is_relative_to(folder)
    assert all(p.is_relative_to(folder) for p in checkpoints.bundled().values())
    for key in [k for k in sys.modules if k.startswith(name)]:
        monkeypatch.delitem(sys.modules, key)


def test_entry_point_imports_without_the_host(tmp_path: Path) -> None:
    """The root ``__init__`` is no test's business, but pytest and type checkers may import it."""
    code = (
        "import importlib.util, sys\n"
        f"spec = importlib.util.spec_from_file_location('pack', {str(ROOT / '__init__.py')!r})\n"
        "pack = sys.modules['pack'] = importlib.util.module_from_spec(spec)\n"
        "spec.loader.exec_module(pack)\n"
        "assert not any(m.partition('.')[0] in ('comfy_api', 'torch') for m in sys.modules)\n"
        "print(*sorted(pack.__all__))"
    )
    assert run(code, tmp_path) == "WEB_DIRECTORY comfy_entrypoint"


def test_version_is_the_same_everywhere() -> None:
    text = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    assert text.split('\nversion = "')[1].split('"')[0] == atw_nodes.__version__


def test_requirements_match_the_project() -> None:
    lines = (ROOT / "requirements.txt").read_text(encoding="utf-8").splitlines()
    wanted = {line for line in lines if line and not line.startswith("#")}
    text = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    listed = text.split("\ndependencies = [")[1].split("]")[0]
    assert wanted == {part.strip().strip('",') for part in listed.splitlines() if part.strip()}
    assert not any("torch" in w for w in wanted)
