"""The workflow of other animators' frames, for ``draw_workflows.py``."""

from __future__ import annotations

from typing import Any

from graph_page import GREEN, OCHRE, VIOLET, Graph, about, photo


def lifted(info: dict[str, Any]) -> Graph:
    g = Graph(info)
    users = "**ATW Estimate Motion**, **ATW Lift** and **ATW Lift Video**"
    image = photo(g, 2048, users, "It must be the photo that your small clip was made of.", 300)
    g.column(300, skip=60)
    first = g.next
    size = {"upscale_method": "area", "width": 256, "height": 256, "crop": "disabled"}
    small = g.add("ImageScale", "256 pixels, as small animators want", image=image, **size)["IMAGE"]
    clip = g.add("ATWAnimatePortrait", "In another animator's place", image=small, frames=16)["video"]
    g.group("A small clip", first, VIOLET)
    g.below(first, 300)
    first = g.next
    g.mute(g.add("LoadVideo", "Load Video (your own small clip)"))
    g.note(
        "Your own small clip",
        "1. Click **Load Video**, press **Ctrl+M** to un-mute it, choose what LivePortrait or another "
        "animator made.\n2. Drag its **VIDEO** dot onto `video` of **Get Video Components** and of "
        "**ATW Lift Video**. Run.",
        150,
    )
    g.group("Or one of your own", first, VIOLET)
    g.column(300)
    first = g.next
    frames = g.add("GetVideoComponents", "Its frames", video=clip)["images"]
    found = g.add("ATWEstimateMotion", "How the photo moves in them", image=image, frames=frames)
    g.add("ATWMotionPreview", "Its motion", motion=found["motion"])
    g.group("Motion", first, GREEN)
    g.column(340)
    first = g.next
    one = g.add("ImageFromBatch", "One frame", image=frames, batch_index=8, length=1)["IMAGE"]
    g.add("PreviewImage", "Small", images=one)
    large = g.add("ATWLift", "At the photo's size", image=image, frames=one, frame=found["frame"])["images"]
    g.add("PreviewImage", "Large", images=large)
    told = g.add("ATWMetrics", "How much of the photo's detail it has", result=large, reference=image)
    g.add("PreviewAny", "Measured", 150, source=told["table"])
    g.group("A picture", first, GREEN)
    g.column(520)
    first = g.next
    video = g.add("ATWLiftVideo", "All of it", image=image, video=clip, frame=found["frame"])["video"]
    g.add("SaveVideo", video=video, filename_prefix="video/ATW-lifted")
    about(
        g,
        "Small frames of any animator become as sharp as the photo: its detail moves as they move, light and "
        "what is new (teeth) are theirs. A crop of the photo will do; it is found.\n\n"
        "**ATW Lift** makes an IMAGE batch, **ATW Lift Video** a clip of any length. Nothing is invented: "
        "where the photo has nothing to offer, the frame is enlarged, softly.",
        170,
    )
    g.group("A clip", first, OCHRE)
    return g
