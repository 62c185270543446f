"""A shared workflow is a stranger's input: names that lead out, sizes beyond bounds, values of no kind."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from .prompts import changed, images, node, parts, picture, reswarp, saved, video
from .server import ROOT, RefusedError, Server


def refused(server: Server, prompt: dict[str, Any]) -> str:
    """The message, whether the host refuses the prompt or the node fails."""
    try:
        return server.error(prompt)
    except RefusedError as e:
        return str(e)


NAMES = [
    *("../../etc/passwd", "/etc/passwd", "../models/atw-smile-128.safetensors", "nul\0.safetensors", ""),
    *("/outside.safetensors", "a/../../outside.safetensors", "atw-face-128", "x" * 5000),
]


@pytest.mark.parametrize("name", NAMES, ids=lambda n: repr(n[:24]))
def test_checkpoints_come_from_their_folders(server: Server, name: str) -> None:
    file = server.folder / "outside.safetensors"
    file.write_bytes((ROOT / "models" / "atw-smile-128.safetensors").read_bytes())
    with pytest.raises(RefusedError, match="no such checkpoint|missing"):
        server.start(images(parts(n2_checkpoint=name), ["6", 1]))


def test_a_link_that_leads_out_is_no_checkpoint(server: Server) -> None:
    outside = server.folder / "outside" / "outside.safetensors"
    outside.parent.mkdir(exist_ok=True)
    outside.write_bytes((ROOT / "models" / "atw-smile-128.safetensors").read_bytes())
    for name in ("linked.safetensors", "folder/outside.safetensors"):
        link = server.folder / "models" / "atw" / name.split("/")[0]
        if not link.is_symlink():
            link.symlink_to(outside if "/" not in name else outside.parent)
        with pytest.raises(RefusedError, match="leads out of ComfyUI's folders"):
            server.start(images(parts(n2_checkpoint=name), ["6", 1]))
        link.unlink()


HUBS = [
    *("owner/repo", "owner/repo/model.bin", "owner/repo/../../x.safetensors", "../repo/x.safetensors"),
    *("owner/repo/a/..b/x.safetensors", "/etc/x/y.safetensors", "https://evil.example/a/b.safetensors"),
    *(
        "owner/repo/x.safetensors?download",
        "owner/repo/x.safetensors\n",
        "owner//x.safetensors",
        "o/r/\0.safetensors",
    ),
    *("owner/repo/.hidden/x.safetensors", "file:///etc/passwd", "o" * 400 + "/r/x.safetensors"),
]


@pytest.mark.parametrize("hub", [h for h in HUBS if h.strip() == h], ids=lambda h: repr(h[:32]))
def test_hub_addresses_name_a_safetensors_file(server: Server, hub: str) -> None:
    with pytest.raises(RefusedError, match=r"expected owner/repo/file\.safetensors"):
        server.start(images(parts(n2_hub=hub), ["6", 1]))


def test_a_hub_name_over_a_wire_is_checked_when_it_runs(server: Server) -> None:
    for value in ("o/r/../x.safetensors", ["o", "r"]):
        prompt = parts(n2_hub=["90", 0]) | {"90": node("ProbeThing", json=json.dumps(value))}
        assert "expected owner/repo/file.safetensors" in server.error(images(prompt, ["6", 1]))
    prompt = parts(n2_checkpoint=["90", 0]) | {"90": node("ProbeThing", json=json.dumps("/etc/passwd"))}
    assert "no such checkpoint" in server.error(images(prompt, ["6", 1]))


def test_a_download_says_what_it_fetches_and_has_a_limit(server: Server) -> None:
    file = str(ROOT / "models" / "atw-smile-128.safetensors")
    prompt = images(parts(n2_hub="owner/a-repo/some/file.safetensors", n2_checkpoint="gone"), ["6", 1])
    try:
        server.good({"1": node("ProbeHub", size=5 << 30, file=file)})
        text = server.error(prompt)
        assert "owner/a-repo/some/file.safetensors has 5.0 GB, which is no ATW checkpoint" in text
        server.good({"1": node("ProbeHub", size=7 << 20, file=file)})
        server.good(prompt)
        assert "fetching owner/a-repo/some/file.safetensors (7 MB) from the Hugging Face Hub" in server.text()
    finally:
        server.good({"1": node("ProbeHub", size=0, file="")})


PREFIXES = [
    *(
        "../out",
        "/tmp/out_atw/out",
        "a/../../out",
        "link/out",
        "link/new/folder/out",
        "link",
        "%year%/../../out",
    ),
    *("nul\0name", "new\nline", "x" * 3000, "..", "video/../../out_%width%"),
]


@pytest.mark.parametrize("prefix", PREFIXES, ids=lambda p: repr(p[:24]))
def test_results_stay_in_the_output_folder(server: Server, prefix: str) -> None:
    link, outside = server.folder / "output" / "link", server.folder.parent / "elsewhere"
    outside.mkdir(exist_ok=True)
    if not link.exists():
        link.symlink_to(outside)
    assert refused(server, saved(parts(), filename_prefix=prefix))
    assert not list(outside.iterdir()), "not even a folder"
    assert not list(server.folder.parent.glob("out*")) and not Path("/tmp/out_atw").exists()


def test_the_format_is_no_way_out_either(server: Server) -> None:
    for value in ("/../../../out.mp4", "mp4/../../../../out.mp4", "exe", ""):
        text = refused(server, saved(parts(), format=value))
        assert "expected one of mp4" in text or "not in" in text
    prompt = saved(parts(), format=["90", 0]) | {"90": node("ProbeThing", json='"/../../../out.mp4"')}
    assert "expected one of mp4" in server.error(prompt)
    assert not list(server.folder.parent.glob("out*"))


@pytest.mark.parametrize(
    ("change", "values"),
    [
        ("n1_size", [10**9, -1, 0, 1e30, "many", 256.5]),
        ("n3_index", [-1, 10**12]),
        ("n3_side", [0, 10**9]),
        ("n4_size", [0, 10**6, 7]),
        ("n4_upsampling", ["../x", 7]),
        ("n5_strength", [1e9, -1.0, float("nan"), float("inf")]),
        ("n5_expression", ["__class__", "smiling; rm"]),
        ("n7_frames", [0, -5, 10**9, 10**30]),
        ("n7_curve", ["eval", ""]),
        ("n7_end", [float("nan"), 1e9]),
    ],
)
def test_sizes_and_choices_are_bounded_over_a_wire_too(
    server: Server, change: str, values: list[Any]
) -> None:
    end = images(reswarp(parts(n3_where="box", n3_x=40, n3_y=40, n3_side=180)), ["8", 0])
    for value in values:
        prompt = json.loads(json.dumps(end))
        prompt["8"]["inputs"]["motion"] = ["7", 0]
        prompt = changed(prompt, **{change: ["90", 0]})
        prompt["90"] = node("ProbeThing", json=json.dumps(value))
        text = server.error(prompt)
        assert "; expected " in text or "expected one of" in text, value
        assert refused(server, changed(prompt, **{change: value})), value


def test_nan_in_a_widget_is_refused(server: Server) -> None:
    for change in ("n5_strength", "n7_start"):
        prompt = images(reswarp(parts(**{change: float("nan")})), ["8", 0])
        prompt["8"]["inputs"]["motion"] = ["7", 0]
        assert "expected 0.0 to 1.5" in server.error(prompt)
    assert "fps is nan" in server.error(saved(parts(), fps=float("nan")))


def test_a_clip_too_large_for_images_names_the_way_out(server: Server) -> None:
    prompt = reswarp(parts(n1_size=512, n7_frames=100_000))
    prompt["8"]["inputs"]["motion"] = ["7", 0]
    text = server.error(images(prompt, ["8", 0]))
    assert "GB are free; ATW Render Video writes a clip of any length" in text
    prompt = parts(n7_frames=100_000)
    prompt["8"] = node("ATWGenerator", model=["2", 0], low=["4", 0], signal=["5", 0], motion=["7", 0])
    assert "give fewer frames" in server.error(images(prompt, ["8", 1]))
    prompt["8"] = node("ATWMotionPreview", motion=["7", 0], size=2048)
    assert "choose a smaller size or fewer frames" in server.error(images(prompt, ["8", 0]))


@pytest.mark.parametrize(
    ("number", "name", "source"),
    [
        ("6", "model", "ATW Load Model"),
        ("6", "signal", "ATW Expression"),
        ("4", "frame", "ATW Face Frame"),
        ("7", "motion", "ATW Generator"),
        ("8", "residuals", "ATW Decompose"),
    ],
)
def test_wrong_things_on_our_sockets(server: Server, number: str, name: str, source: str) -> None:
    for value in ({"photo": "/etc/passwd"}, [1, 2], "text"):
        prompt = changed(reswarp(parts()), **{f"n{number}_{name}": ["90", 0], "n8_motion": ["7", 0]})
        prompt["90"] = node("ProbeThing", json=json.dumps(value))
        assert source in server.error(images(prompt, ["8", 0]))


def test_nothing_on_a_wire(server: Server) -> None:
    for change in ("n3_image", "n6_low", "n8_refined"):
        prompt = changed(reswarp(parts()), **{change: ["90", 0]}) | {"90": node("ProbeThing", json="null")}
        assert "is missing; connect" in server.error(images(prompt, ["8", 0]))


def test_weights_of_every_kind(server: Server) -> None:
    for value in (["a"], [float("nan")], [1e9], {"a": 1}, "text"):
        prompt = video(parts(n7_weights=["90", 0])) | {"90": node("ProbeThing", json=json.dumps(value))}
        prompt["9"] = node("SaveVideo", video=["8", 0], filename_prefix="w", format="auto", codec="auto")
        assert "numbers from -10 to 10" in server.error(prompt)


def test_errors_say_what_to_do(server: Server) -> None:
    for wires in ({}, {"n6_motion": ["90", 0]}):
        prompt = images(parts(n4_size=64, **wires), ["6", 1])
        if wires:
            prompt["90"] = node(
                "ATWGenerator", model=["2", 0], low=["91", 0], signal=["5", 0], frame=["3", 0]
            )
            prompt["91"] = parts()["4"]
        text = server.error(prompt)
        assert "low is 1 of 64x64, this model takes one image of 128x128; decompose to 128" in text
    Image.new("RGB", (300, 200), (90, 120, 90)).save(server.folder / "input" / "empty.png")
    prompt = parts()
    prompt["1"] = node("LoadImage", image="empty.png")
    text = server.error(images(prompt, ["3", 2]))
    assert "no face number 1" in text and "choose where = box" in text
    prompt = {"1": node("LoadImage", image="empty.png"), "2": animate(["1", 0])}
    prompt["3"] = node("PreviewImage", images=["2", 1])
    assert "in ATW Face Frame" in server.error(prompt)


def animate(image: list[Any]) -> dict[str, Any]:
    values = {"expression": "smiling", "strength": 1.0, "frames": 2, "fps": 24.0, "curve": "pulse"}
    return node("ATWAnimatePortrait", image=image, **values, mode="aligned", note=True)


def test_parts_of_different_sizes(server: Server) -> None:
    prompt = reswarp(parts())
    prompt["90"] = node("ATWDecompose", image=["1", 0], frame=["3", 0], size=256, upsampling="bilinear")
    text = server.error(images(changed(prompt, n8_residuals=["90", 1]), ["8", 0]))
    assert "refined is 128x128, the photo was decomposed to 256; use one size" in text
    prompt = video(parts(n7_motion=["6", 0]))
    prompt["9"] = node("SaveVideo", video=["8", 0], filename_prefix="w", format="auto", codec="auto")
    prompt["90"] = node("ATWDecompose", image=["1", 0], frame=["3", 0], size=96, upsampling="bilinear")
    text = server.error(changed(prompt, n8_residuals=["90", 1]))
    assert "128 wide, the photo was decomposed to 96; use one size" in text or "takes 128x128" in text
    prompt = reswarp(parts())
    prompt["8"]["inputs"]["motion"] = ["7", 0]  # five frames, and the one image of the first generator
    assert "motion has 5 frames but refined has 1" in server.error(images(prompt, ["8", 0]))


def test_a_frame_of_another_photo(server: Server) -> None:
    prompt = parts(n4_image=["90", 0]) | {"90": picture("bytes", 200, 200)}
    text = server.error(images(prompt, ["4", 0]))
    assert "the frame belongs to a photo of 256x256, this one is 200x200" in text
