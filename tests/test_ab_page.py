"""The blind page: in a real browser where there is one, and the counting of what it saves."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
import torch

from atw_nodes.ab_page import counted_votes, media_in, write_page
from atw_nodes.cli import main
from atw_nodes.images import write_still
from atw_nodes.types import InputError
from tests.browser.page import QUIET, chromium


@pytest.fixture
def folders(tmp_path: Path) -> list[Path]:
    """Pictures of three methods, one colour each; the last one lacks an item."""
    made = []
    for k, name in enumerate(("clips/ours", "clips/nearest", "other method")):
        folder = tmp_path / name
        folder.mkdir(parents=True)
        for item in ("a", "b c", "d&e") if k < 2 else ("a", "b c"):
            colour = torch.zeros(3, 16, 16)
            colour[k] = 1
            write_still(folder / f"{item}.png", colour)
        made.append(folder)
    return made


def data_of(page: Path) -> dict:
    text = page.read_text(encoding="utf-8")
    return json.loads(re.search(r'type="application/json">(.*?)</script>', text, re.S)[1])


def test_sides_are_random_by_the_seed_and_links_are_relative(folders: list[Path], tmp_path: Path) -> None:
    pages = [tmp_path / "pages" / f"{k}.html" for k in range(20)]
    pages[0].parent.mkdir()
    assert [write_page(p, folders[:2], seed) for seed, p in enumerate(pages)] == [3] * 20
    made = [data_of(p) for p in pages]
    firsts = [i["shown"][0] for d in made for i in d["items"]]
    assert 15 < firsts.count("ours") < 45
    for item in made[0]["items"]:
        for method, link in zip(item["shown"], item["media"], strict=True):
            assert link == f"../clips/{method}/{item['item'].replace(' ', '%20').replace('&', '%26')}.png"
    write_page(pages[1], folders[:2], 0)
    assert data_of(pages[1]) == made[0] and made[0]["id"] != made[2]["id"]


def test_what_is_not_everywhere_is_left_out(folders: list[Path], tmp_path: Path) -> None:
    assert write_page(tmp_path / "page.html", folders) == 2
    assert {i["item"] for i in data_of(tmp_path / "page.html")["items"]} == {"a", "b c"}


def test_folders_are_told_apart_by_their_paths(tmp_path: Path) -> None:
    folders = [tmp_path / p / "clips" for p in ("one", "two")]
    for folder in folders:
        folder.mkdir(parents=True)
        write_still(folder / "a.png", torch.zeros(3, 8, 8))
    write_page(tmp_path / "page.html", folders)
    assert sorted(data_of(tmp_path / "page.html")["items"][0]["shown"]) == ["one/clips", "two/clips"]
    with pytest.raises(InputError, match="given twice"):
        write_page(tmp_path / "page.html", [folders[0], folders[0]])
    (folders[1] / "a.png").rename(folders[1] / "b.png")
    with pytest.raises(InputError, match="no name in common"):
        write_page(tmp_path / "page.html", folders)
    write_still(folders[1] / "b.jpg", torch.zeros(3, 8, 8))
    with pytest.raises(InputError, match="holds b.jpg and b.png"):
        media_in(folders[1])


def test_votes_of_several_people_are_counted(tmp_path: Path) -> None:
    head = "item,choice,shown,seconds\r\n"
    first, second = tmp_path / "1.csv", tmp_path / "2.csv"
    first.write_text(head + '"a","ours","ours|b|c","1.0"\r\n"x, y","b","b|ours|c","2"\r\n')
    second.write_text(head + "a,ours,b|ours|c,1\r\nb,no preference,b|c|ours,4\r\n")
    assert counted_votes([first, second]).splitlines()[2:] == [
        "| ours | 2 | 50.0% |",
        "| b | 1 | 25.0% |",
        "| c | 0 | 0.0% |",
        "| no preference | 1 | 25.0% |",
    ]
    second.write_text(head + "a,theirs,b|ours,1\r\n")
    with pytest.raises(InputError, match="row 2: 'theirs' was not shown"):
        counted_votes([second])
    second.write_text(head)
    with pytest.raises(InputError, match="hold no vote yet"):
        counted_votes([second])


def test_the_command_makes_a_page_once(
    folders: list[Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    page = tmp_path / "page.html"
    asked = ["evaluate", "--ab", *map(str, folders[:2]), "-o", str(page)]
    assert main(asked) == 0 and "3 comparisons of 2 methods" in capsys.readouterr().err
    assert main(asked) == 2 and "exists; choose another name, or --overwrite" in capsys.readouterr().err
    assert main([*asked, "--overwrite"]) == 0
    assert main(["evaluate", "--ab", str(folders[0]), "-o", str(page), "--overwrite"]) == 2
    assert "expected 2 to 6" in capsys.readouterr().err
    assert main(["evaluate", "--ab", *map(str, folders), "-o", str(tmp_path / "page")]) == 2
    assert main(["evaluate"]) == 2 and "needs PAIRS.csv and -o OUT" in capsys.readouterr().err
    (tmp_path / "v.csv").write_text("item,choice,shown,seconds\na,ours,ours|b,1\n")
    capsys.readouterr()
    assert main(["evaluate", "--ab-votes", str(tmp_path / "v.csv")]) == 0
    assert "| ours | 1 | 100.0% |" in capsys.readouterr().out


def test_a_person_votes_by_keys_and_saves(folders: list[Path], tmp_path: Path) -> None:
    api = pytest.importorskip("playwright.sync_api")
    page_file = tmp_path / "page.html"
    write_page(page_file, folders[:2], 3, folders[2])
    items = data_of(page_file)["items"]
    if chromium() is None:
        pytest.skip("no Chromium here")
    with api.sync_playwright() as play:
        browser = play.chromium.launch(executable_path=chromium(), args=list(QUIET))
        page = browser.new_page()
        page.goto(page_file.as_uri())
        page.wait_for_function("[...document.images].every(i => i.complete && i.naturalWidth)")
        words = page.inner_text("body")
        assert "ours" not in words and "nearest" not in words
        page.keyboard.press("ArrowRight")
        page.keyboard.press("0")
        assert "3 of 3, 2 rated" in page.inner_text("#state")
        page.reload()  # votes are kept, and the first that is not rated comes up
        assert "3 of 3, 2 rated" in page.inner_text("#state")
        page.locator("figure").first.click()
        assert "all done" in page.inner_text("#state")
        page.keyboard.press("Backspace")
        page.keyboard.press("Backspace")
        page.keyboard.press("1")  # another mind about the first
        with page.expect_download() as saved:
            page.click("#save")
        saved.value.save_as(tmp_path / "votes.csv")
        browser.close()
    lines = (tmp_path / "votes.csv").read_text().splitlines()
    choices = [line.split('","')[1] for line in lines[1:]]
    assert choices == [items[0]["shown"][0], "no preference", items[2]["shown"][0]]
    assert "| no preference | 1 | 33.3% |" in counted_votes([tmp_path / "votes.csv"])
