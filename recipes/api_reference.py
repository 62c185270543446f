"""docs/api.md, from the package's docstrings; nothing is imported, so it needs no torch.

python recipes/api_reference.py            writes it
python recipes/api_reference.py --check    exit code 1 if it is not what the code says
"""

from __future__ import annotations

import ast
import re
import sys
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PACKAGE, PAGE = ROOT / "atw_nodes", ROOT / "docs" / "api.md"
ROOMS = {
    "The main path": "animate generation reswarp several checkpoints networks types warp pyramid tiles "
    "kernels precision threads",
    "Faces": "faces frames tracking face_network mediapipe_landmarks video_source example_faces",
    "Signals": "signals expressions keyframes idle signal_curves signal_sources signal_files signal_csv "
    "signal_video signal_plot",
    "Pictures and clips": "images video encoders clips sound files sheets pipeline",
    "Training": "train_config train_run algorithm paper_losses losses discriminators training training_state "
    "train_weights train_card train_live distributed data pictures label_sampler manifest manifest_sources "
    "dataset_view prepare",
    "Many clips": "render_table render_jobs worker_pool ray_pool",
    "Measuring": "metrics metrics_networks flow folds peaks measuring evaluate evaluate_pairs "
    "evaluate_methods evaluate_report ab_page",
    "Small frames of other animators": "lift lift_crop lift_motion detail detail_network",
}
LEFT_OUT = ("cli_", "nodes_", "_")  # the command line and the nodes are no library, nor are these:
OTHERS = ("cli", "host", "sockets", "rendering", "driving", "terminal")
HEAD = """# API

Every public name of the library, module by module, from its docstrings (`recipes/api_reference.py`; a test
keeps this page and the code together). Names that `from atw_nodes import ...` knows are marked with a dot •.
Conventions (axes, units, the direction of a warp) are those of [`warp`](#atw_nodeswarp). The nodes have help
pages of their own in [web/docs](../web/docs), the command line answers to `--help`.
"""


def modules() -> dict[str, list[str]]:
    """{title: modules}; those that no title names come last."""
    found = {p.stem for p in PACKAGE.glob("*.py")} | {p.parent.name for p in PACKAGE.glob("*/__init__.py")}
    found = {m for m in found if not m.startswith(LEFT_OUT) and m not in OTHERS}
    table = {title: [m for m in names.split() if m in found] for title, names in ROOMS.items()}
    rest = sorted(found - {m for names in table.values() for m in names})
    return table | ({"Others": rest} if rest else {})


def source(module: str) -> str:
    path = PACKAGE / f"{module}.py"
    path = path if path.exists() else PACKAGE / module / "__init__.py"
    return path.read_text(encoding="utf-8")


def exported() -> set[str]:
    """Names of the package's ``__all__``."""
    for node in ast.parse(source(".")).body:
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "__all__":
            return set(ast.literal_eval(node.value))
    raise SystemExit("atw_nodes has no __all__")


def prose(text: str) -> list[str]:
    """A docstring as Markdown: what is indented becomes a code block, the rest is escaped."""
    out: list[str] = []
    inside = False
    for line in text.splitlines():
        code = line.startswith("    ")
        if code != inside and (line.strip() or inside):
            out += ["```" if inside else "", *([] if inside else ["```text"])]
            inside = code
        out.append(line[4:] if code else escaped(line))
    return [*out, "```"] if inside else out


def escaped(line: str) -> str:
    parts = re.split(r"(`[^`]+`)", line.replace("``", "`"))
    return "".join(p if p.startswith("`") else re.sub(r"([*_<|])", r"\\\1", p) for p in parts)


def described(node: ast.AST) -> list[str]:
    # a module's has no margin of its own to take off, and may be a table from its second line on
    text = ast.get_docstring(node, clean=not isinstance(node, ast.Module))  # type: ignore[arg-type]
    return [*prose(text), ""] if text else []


def parameters(node: ast.FunctionDef) -> list[str]:
    """Each parameter as it is written, ``self`` and ``cls`` left out."""
    a = node.args
    plain = [*a.posonlyargs, *a.args]
    defaults = [None] * (len(plain) - len(a.defaults)) + list(a.defaults)
    out = [_parameter(p, d) for p, d in zip(plain, defaults, strict=True) if p.arg not in ("self", "cls")]
    if a.vararg:
        out.append("*" + _parameter(a.vararg, None))
    elif a.kwonlyargs:
        out.append("*")
    out += [_parameter(p, d) for p, d in zip(a.kwonlyargs, a.kw_defaults, strict=True)]
    return out + (["**" + _parameter(a.kwarg, None)] if a.kwarg else [])


def _parameter(arg: ast.arg, default: ast.expr | None) -> str:
    kind = f": {ast.unparse(arg.annotation)}" if arg.annotation else ""
    if default is None:
        return arg.arg + kind
    return f"{arg.arg}{kind}{' = ' if kind else '='}{ast.unparse(default)}"


def signature(node: ast.FunctionDef) -> list[str]:
    end = f" -> {ast.unparse(node.returns)}" if node.returns else ""
    one = f"{node.name}({', '.join(parameters(node))}){end}"
    if len(one) <= 100:
        return [one]
    return [f"{node.name}(", *(f"    {p}," for p in parameters(node)), f"){end}"]


def fields(node: ast.ClassDef, lines: list[str]) -> list[str]:
    """Annotated names and members of an enumeration, with the comment behind them."""
    out = []
    for item in node.body:
        if isinstance(item, (ast.AnnAssign, ast.Assign)):
            text, end = ast.unparse(item), item.end_lineno or item.lineno
            comment = lines[end - 1][item.end_col_offset or 0 :].strip()
            if not text.startswith("_"):
                out.append(f"{text}  {comment}" if comment.startswith("#") else text)
    return out


def public(nodes: list[ast.stmt]) -> Iterator[ast.FunctionDef]:
    for node in nodes:
        if isinstance(node, ast.FunctionDef) and not node.name.startswith("_"):
            yield node


def kinds(node: ast.FunctionDef) -> str:
    names = {ast.unparse(d).split(".")[-1] for d in node.decorator_list}
    said = [w for w in ("classmethod", "staticmethod", "property") if w in names]
    return "property" if "cached_property" in names else (said[0] if said else "")


def class_section(node: ast.ClassDef, lines: list[str], dot: str) -> list[str]:
    bases = f"({', '.join(map(ast.unparse, node.bases))})" if node.bases else ""
    out = [f"### `class {node.name}`{dot}", "", "```python", f"class {node.name}{bases}"]
    out += [f"    {line}" for line in fields(node, lines)]
    init = [n for n in node.body if isinstance(n, ast.FunctionDef) and n.name == "__init__"]
    out += [f"    {line}" for n in init for line in signature(n)]
    out += ["```", "", *described(node)]
    for method in public(node.body):
        how = kinds(method)
        shown = method.name if how == "property" else signature(method)
        title = shown if isinstance(shown, str) else " ".join(s.strip() for s in shown)
        out += [f"- `{title}`{f' *({how})*' if how else ''}"]
        text = " ".join((ast.get_docstring(method) or "").split())
        out += [f"  <br>{escaped(text)}"] if text else []
    return [*out, ""]


def function_section(node: ast.FunctionDef, dot: str) -> list[str]:
    shown = signature(node)
    shown[0] = f"def {shown[0]}"
    return [f"### `{node.name}`{dot}", "", "```python", *shown, "```", "", *described(node)]


def module_section(module: str, top: set[str]) -> list[str]:
    text = source(module)
    tree, lines = ast.parse(text), text.splitlines()
    out = [f"## `atw_nodes.{module}`", "", *described(tree)]
    for node in tree.body:
        if isinstance(node, (ast.ClassDef, ast.FunctionDef)) and not node.name.startswith("_"):
            dot = " •" if node.name in top else ""
            made = class_section(node, lines, dot) if isinstance(node, ast.ClassDef) else None
            out += made or function_section(node, dot)  # type: ignore[arg-type]
    return out


def page() -> str:
    """The whole page."""
    table, top = modules(), exported()
    contents = [
        f"- **{t}**: " + ", ".join(f"[`{m}`](#atw_nodes{m})" for m in names) for t, names in table.items()
    ]
    out = [*HEAD.splitlines(), "", *contents, ""]
    for names in table.values():
        for module in names:
            out += module_section(module, top)
    return re.sub(r"\n{3,}", "\n\n", "\n".join(out)).rstrip() + "\n"


def main() -> None:
    if "--check" in sys.argv[1:]:
        if not PAGE.exists() or PAGE.read_text(encoding="utf-8") != page():
            sys.exit("docs/api.md is not what the docstrings say; run: python recipes/api_reference.py")
        return
    PAGE.parent.mkdir(exist_ok=True)
    PAGE.write_text(page(), encoding="utf-8")
    print(PAGE)


if __name__ == "__main__":
    main()
