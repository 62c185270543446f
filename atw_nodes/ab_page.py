"""Blind ratings, as in the paper's Table 1: a page that shows clips of several methods side by side without
their names, and the percentages of what people chose.

The page is one file; clips are linked relative to it. Votes stay in the browser until they are saved as CSV.
"""

from __future__ import annotations

import csv
import hashlib
import json
import os
import random
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from urllib.parse import quote

from .files import atomic_path, file_head, reason, unwritable
from .types import InputError, OutputError

CLIPS = (".mp4", ".webm", ".mov")
PICTURES = (".png", ".jpg", ".jpeg", ".webp", ".gif", ".avif")
COLUMNS = ("item", "choice", "shown", "seconds")
NONE = "no preference"


def write_page(path: Path, folders: Sequence[Path], seed: int = 0, photos: Path | None = None) -> int:
    """Write the page; how many comparisons it holds: the names that every folder has a clip or picture of.

    seed: of the order of the comparisons, and of who stands where. photos: shown above, by the same names.
    """
    found = {name: media_in(folder) for name, folder in zip(_names(folders), folders, strict=True)}
    common = sorted(set.intersection(*(set(f) for f in found.values())))
    if not common:
        raise InputError(
            f"{', '.join(map(str, folders))} have no name in common; give clips of one photo one name in each"
        )
    beside = media_in(photos) if photos else {}
    home, chance, items = Path(os.path.abspath(path)).parent, random.Random(seed), []
    for name in common:
        order = chance.sample(list(found), len(found))
        media = [_link(found[m][name], home) for m in order]
        photo = _link(beside[name], home) if name in beside else None
        items.append({"item": name, "shown": order, "media": media, "photo": photo})
    chance.shuffle(items)
    identity = hashlib.sha256(json.dumps(items).encode()).hexdigest()[:16]
    data = json.dumps({"id": identity, "items": items}).replace("</", "<\\/")
    with atomic_path(path) as temp, unwritable(path):
        temp.write_text(_PAGE.replace("@DATA@", data).replace("@COUNT@", str(len(items))), encoding="utf-8")
    return len(items)


def media_in(folder: Path) -> dict[str, Path]:
    """{name without suffix: file} of what a browser shows; ``InputError`` where two have one name."""
    if not folder.is_dir():
        raise InputError(f"{folder} is not a folder; expected one with clips or pictures")
    found: dict[str, Path] = {}
    for file in sorted(folder.iterdir()):
        if file.suffix.lower() in (*CLIPS, *PICTURES) and not file.name.startswith("."):
            if file.stem in found:
                raise InputError(f"{folder} holds {found[file.stem].name} and {file.name}; keep one of them")
            found[file.stem] = file
    if not found:
        raise InputError(f"{folder} holds no clip or picture; expected {', '.join((*CLIPS, *PICTURES))}")
    return found


def _names(folders: Sequence[Path]) -> list[str]:
    """What each folder is called, with as much of its path as tells them apart."""
    parts = [Path(os.path.abspath(f)).parts for f in folders]
    for length in range(1, max(map(len, parts)) + 1):
        names = ["/".join(p[-length:]) for p in parts]
        if len(set(names)) == len(names):
            return names
    raise InputError("a folder is given twice; give each method its own")


def _link(file: Path, home: Path) -> str:
    """``file`` as the page refers to it."""
    try:
        return quote(Path(os.path.relpath(os.path.abspath(file), home)).as_posix())
    except ValueError as error:  # another drive
        raise OutputError(f"{file} cannot be linked from {home} ({reason(error)}); use one drive") from error


def counted_votes(files: Sequence[Path]) -> str:
    """A table in Markdown: how many ratings of all files favour each method, and what part that is."""
    votes: Counter[str] = Counter()
    for path in files:
        votes.update(_votes(path))
    total = sum(votes.values())
    if not total:
        raise InputError(f"{', '.join(map(str, files))} hold no vote yet; choose something on the page first")
    ranked = sorted(votes.items(), key=lambda v: (v[0] == NONE, -v[1], v[0]))
    lines = [f"| {name} | {count} | {count / total:.1%} |" for name, count in ranked]
    return "\n".join(["| method | ratings in favour | share |", "|---|---|---|", *lines])


def _votes(path: Path) -> Counter[str]:
    file_head(path)
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            rows = list(csv.DictReader(file, strict=True))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"{path} cannot be read ({reason(error)}); expected the page's CSV") from error
    if rows and not {"item", "choice", "shown"} <= set(rows[0]):
        raise InputError(f"{path} has other columns than {', '.join(COLUMNS)}; expected the page's CSV")
    counted: Counter[str] = Counter()
    for number, row in enumerate(rows, 2):
        shown = (row["shown"] or "").split("|")
        if row["choice"] not in (*shown, NONE):
            raise InputError(
                f"{path}, row {number}: {row['choice']!r} was not shown; expected the page's CSV"
            )
        counted.update(dict.fromkeys(shown, 0))
        counted[row["choice"] or NONE] += 1
    return counted


_STYLE = """
body { margin: 0; font: 16px system-ui, sans-serif; background: #fff; color: #222; text-align: center; }
header { padding: 12px; color: #555; }
#photo img { max-height: 24vh; }
#sides { display: flex; flex-wrap: wrap; gap: 12px; justify-content: center; padding: 12px; }
figure { margin: 0; flex: 1 1 300px; max-width: 720px; cursor: pointer; }
figure video, figure img { width: 100%; max-height: 64vh; object-fit: contain; background: #eee; }
figure.chosen video, figure.chosen img { outline: 4px solid #1f5fa8; }
figcaption { padding: 6px; }
button { font: inherit; padding: 6px 14px; margin: 4px; }
"""
_SCRIPT = """
const data = JSON.parse(document.getElementById('data').textContent);
const key = 'atw-votes-' + data.id, none = 'no preference';
let votes = {}, at = 0, since = Date.now(), save = true;
try { votes = JSON.parse(localStorage.getItem(key)) || {}; } catch (e) { save = false; }
const $ = id => document.getElementById(id);
const clip = /\\.(mp4|webm|mov)$/i;

function shown(link) {
  const tag = document.createElement(clip.test(link) ? 'video' : 'img');
  if (tag.tagName === 'VIDEO') tag.autoplay = tag.loop = tag.muted = tag.playsInline = true;
  tag.src = link;
  return tag;
}

function draw() {
  const item = data.items[at], done = Object.keys(votes).length;
  $('state').textContent = (at + 1) + ' of ' + data.items.length + ', ' + done + ' rated'
    + (done === data.items.length ? ': all done, save the votes' : '')
    + (save ? '' : ' (not kept when the page is closed)');
  $('photo').replaceChildren(...(item.photo ? [shown(item.photo)] : []));
  $('sides').replaceChildren(...item.media.map((link, k) => {
    const figure = document.createElement('figure'), words = document.createElement('figcaption');
    words.textContent = 'key ' + (k + 1);
    figure.append(shown(link), words);
    figure.onclick = () => choose(k);
    const vote = votes[item.item];
    figure.classList.toggle('chosen', !!vote && vote.choice === item.shown[k]);
    return figure;
  }));
  since = Date.now();
}

function choose(k) {
  const item = data.items[at];
  if (k >= item.shown.length) return;
  const choice = k < 0 ? none : item.shown[k];
  votes[item.item] = {choice, seconds: ((Date.now() - since) / 1000).toFixed(1)};
  if (save) localStorage.setItem(key, JSON.stringify(votes));
  go(1);
}

function go(by) {
  at = Math.min(Math.max(at + by, 0), data.items.length - 1);
  draw();
}

function cell(text) { return '"' + String(text).replaceAll('"', '""') + '"'; }

function table() {
  const rows = data.items.filter(i => votes[i.item]).map(i =>
    [i.item, votes[i.item].choice, i.shown.join('|'), votes[i.item].seconds].map(cell).join(','));
  return ['item,choice,shown,seconds', ...rows].join('\\r\\n') + '\\r\\n';
}

function download() {
  const link = document.createElement('a');
  link.href = URL.createObjectURL(new Blob([table()], {type: 'text/csv'}));
  link.download = 'votes.csv';
  link.click();
}

document.addEventListener('keydown', e => {
  if (e.ctrlKey || e.metaKey || e.altKey) return;
  const two = data.items[at].shown.length === 2;
  if (e.key >= '1' && e.key <= '9') choose(Number(e.key) - 1);
  else if (e.key === '0') choose(-1);
  else if (e.key === 'ArrowLeft' && two) choose(0);
  else if (e.key === 'ArrowRight' && two) choose(1);
  else if (e.key === 'Backspace') go(-1);
  else if (e.key === ' ') go(1);
  else return;
  e.preventDefault();
});
$('none').onclick = () => choose(-1);
$('back').onclick = () => go(-1);
$('next').onclick = () => go(1);
$('save').onclick = download;
at = Math.max(0, data.items.findIndex(i => !votes[i.item]));
draw();
"""
_PAGE = f"""<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<title>Which is best? @COUNT@ comparisons</title>
<style>{_STYLE}</style>
<header>
Which shows the expression best: like a real recording, and still the same person? <span id="state"></span>
</header>
<div id="photo"></div>
<div id="sides"></div>
<button id="none">No preference (0)</button>
<button id="back">Back (Backspace)</button>
<button id="next">Skip (space)</button>
<button id="save">Save votes</button>
<script id="data" type="application/json">@DATA@</script>
<script>{_SCRIPT}</script>
</html>
"""
