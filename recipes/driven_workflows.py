"""Workflows of signals, of several faces, of videos and of training, for ``draw_workflows.py``."""

from __future__ import annotations

from typing import Any

from graph_page import BLUE, BOTH, GREEN, OCHRE, UNITS_MODEL, VIOLET, Graph, Socket, about, photo


def face_and_model(g: Graph, image: Socket) -> dict[str, Socket]:
    """Face, the model of action units, decomposition."""
    g.column(260, skip=60)
    first = g.next
    frame = g.add("ATWFaceFrame", image=image)["frame"]
    model = g.add("ATWLoadModel", checkpoint=UNITS_MODEL)["model"]
    parts = g.add("ATWDecompose", image=image, frame=frame)
    g.group("Face and model", first, BLUE)
    return {"frame": frame, "model": model, "residuals": parts["residuals"], "low": parts["low"]}


def editor(info: dict[str, Any]) -> Graph:
    g = Graph(info)
    image = photo(g, 1600, "**ATW Face Frame**, **ATW Decompose** and **ATW Action Units**")
    n = face_and_model(g, image)
    g.column(330)
    first = g.next
    look = {"AU01": 0.4, "AU02": 0.4, "AU06": 0.4, "AU12": 0.6, "AU45": 0.0}
    wires = {"image": image, "model": n["model"], "frame": n["frame"]}
    signal = g.add("ATWActionUnits", "Sliders", **wires, **look)["signal"]
    g.group("Expression", first, GREEN)
    g.column(260)
    first = g.next
    made = g.add("ATWGenerator", model=n["model"], low=n["low"], signal=signal, frame=n["frame"])
    warped = {"residuals": n["residuals"], "motion": made["motion"], "refined": made["refined"]}
    final = g.add("ATWResWarp", **warped)["images"]
    g.group("Animate", first, GREEN)
    g.column(480)
    first = g.next
    g.add("SaveImage", "At the photo's size", room=240, images=final, filename_prefix="ATW/expression")
    about(
        g,
        "Seventeen sliders, one an action unit; hover over one to read what it does. The preview below them "
        "follows at once with *Run (On Change)*.\n\n`preset` adds a named expression.",
        140,
    )
    g.group("Result", first, OCHRE)
    return g


def keyframed(info: dict[str, Any]) -> Graph:
    g = Graph(info)
    n = face_and_model(g, photo(g, 1024, BOTH))
    g.column(330)
    first = g.next
    keys = g.add("ATWKeyframes", "Keyframes", room=64)["signal"]
    alive = g.add("ATWIdleMotion", "Blinks and idle motion", frames=68, seed=3)["signal"]
    both = g.add("ATWBlendSignals", "Both", a=keys, b=alive)["signal"]
    g.add("ATWSaveSignal", "Keep the signal", signal=both)
    g.group("Signal", first, GREEN)
    g.column(330)
    first = g.next
    g.add("ATWSignalPlot", "What moves when", signal=both)
    wires = {"model": n["model"], "residuals": n["residuals"], "signal": both}
    video = g.add("ATWRenderVideo", **wires)["video"]
    g.group("Plot and frames", first, GREEN)
    g.column(440)
    first = g.next
    g.add("SaveVideo", video=video, filename_prefix="video/ATW-keyframes")
    about(
        g, "A line is a moment: `seconds: units and expressions`. The face breathes and blinks between them."
    )
    g.group("Clip", first, OCHRE)
    return g


def driven(info: dict[str, Any]) -> Graph:
    g = Graph(info)
    n = face_and_model(g, photo(g, 1024, BOTH))
    g.column(330)
    first = g.next
    talk = g.add("ATWSignalFromCSV", "A table (OpenFace)", file="example: talking.csv")["signal"]
    mood = g.add("ATWLoadSignal", "A kept expression", file="example: delighted.json")["signal"]
    signal = g.add("ATWBlendSignals", "Talking, delighted", a=talk, b=mood, amount=0.5)["signal"]
    g.mute(g.add("ATWSignalFromVideo", "Or: a driving video"))
    g.mute(g.add("ATWSignalFromLandmarks", "Or: landmarks of ComfyUI's detector"))
    g.group("Who drives", first, GREEN)
    g.column(330)
    first = g.next
    wires = {"model": n["model"], "residuals": n["residuals"], "signal": signal, "fps": 25.0}
    video = g.add("ATWRenderVideo", **wires)["video"]
    g.group("Frames", first, GREEN)
    g.column(440)
    first = g.next
    g.add("SaveVideo", video=video, filename_prefix="video/ATW-driven")
    about(
        g,
        "A table of action units moves the face: one row, one frame. For a video, connect *Load Video* to "
        "**ATW Signal from Video**, un-mute it (Ctrl+M) and drag its signal here; its sound goes to `audio`.",
        150,
    )
    g.group("Clip", first, OCHRE)
    return g


def two_faces(info: dict[str, Any]) -> Graph:
    g = Graph(info)
    image = photo(g, 1024, BOTH, "Your photo may show as many faces as you like.")
    g.column(260, skip=60)
    first = g.next
    other = g.add("ImageFlip", "The other one", image=image, flip_method="y-axis: horizontally")["IMAGE"]
    both = g.add("ImageStitch", "Two in one photo", image1=image, image2=other)["IMAGE"]
    frame = g.add("ATWFaceFrame", "All faces, numbered", image=both, where="all faces")["frame"]
    g.group("A photo of two", first, BLUE)
    g.column(280)
    first = g.next
    model = g.add("ATWLoadModel", checkpoint=UNITS_MODEL)["model"]
    smile = g.add("ATWExpression", "Face 1", expression="happiness")["signal"]
    awe = g.add("ATWExpression", "Face 2", expression="surprise", strength=0.8)["signal"]
    signal = g.add("ATWSignalPerFace", signal_1=smile, signal_2=awe)["signal"]
    g.group("Who does what", first, BLUE)
    g.column(280)
    first = g.next
    parts = g.add("ATWDecompose", image=both, frame=frame)
    made = g.add("ATWGenerator", model=model, low=parts["low"], signal=signal, frame=frame)
    g.group("Motion", first, GREEN)
    g.column(560)
    first = g.next
    wires = {"residuals": parts["residuals"], "motion": made["motion"], "refined": made["refined"]}
    final = g.add("ATWResWarp", **wires)["images"]
    g.add("SaveImage", "At the photo's size", images=final, filename_prefix="ATW/two-faces")
    about(
        g,
        "Several faces in one photo, each with an expression of its own. Without **ATW Signal Per Face** one "
        "signal serves all.\n\nThe numbers in **ATW Face Frame**'s picture say who is who.",
        140,
    )
    g.group("Result", first, OCHRE)
    return g


def of_a_video(info: dict[str, Any]) -> Graph:
    g = Graph(info)
    image = photo(g, 640, "**ATW Animate Portrait**")
    g.column(300)
    first = g.next
    clip = g.add("ATWAnimatePortrait", "A video to begin with", image=image, frames=16)["video"]
    g.group("Video", first, BLUE)
    g.column(300)
    first = g.next
    model = g.add("ATWLoadModel", checkpoint=UNITS_MODEL)["model"]
    text = "0:\n0.2: AU01=0.8, AU02=0.8\n0.4: AU01=0.8, AU02=0.8, AU45=1\n0.6: AU04=0.6"
    brows = g.add("ATWKeyframes", "Brows and a blink", room=64, text=text)["signal"]
    wires = {"video": clip, "signal": brows, "model": model}
    made = g.add("ATWAnimateVideo", **wires)["video"]
    g.group("Animate every frame", first, GREEN)
    g.column(520)
    first = g.next
    g.add("SaveVideo", video=made, filename_prefix="video/ATW-of-a-video")
    about(
        g,
        "A video in the place of the photo: faces are followed, the signal is added on top, sound is kept. "
        "Here brows move and eyes blink while the smile of the first clip comes and goes.\n\n"
        "For a video of your own, add *Load Video* and connect it to **ATW Animate Video**.",
        150,
    )
    g.group("Result", first, OCHRE)
    return g


def of_a_driver(info: dict[str, Any]) -> Graph:
    g = Graph(info)
    image = photo(g, 1024, BOTH)
    g.column(280, skip=60)
    first = g.next
    other = g.add("ImageFlip", "Another face", image=image, flip_method="y-axis: horizontally")["IMAGE"]
    model = g.add("ATWLoadModel", checkpoint=UNITS_MODEL)["model"]
    acts = {"expression": "surprise", "frames": 32, "model": model}
    clip = g.add("ATWAnimatePortrait", "It is surprised: the driving video", image=other, **acts)["video"]
    g.group("Who drives", first, VIOLET)
    g.column(280)
    first = g.next
    frame = g.add("ATWFaceFrame", image=image)["frame"]
    parts = g.add("ATWDecompose", image=image, frame=frame)
    g.group("Who is driven", first, BLUE)
    g.below(first, 280)
    first = g.next
    g.mute(g.add("LoadVideo", "Load Video (your own driver)"))
    g.note(
        "Your own driving video",
        "1. Click **Load Video**, press **Ctrl+M** to un-mute it, choose a file.\n"
        "2. Drag its **VIDEO** dot onto `video` of **ATW Signal From Video**. Run.",
        120,
    )
    g.group("Or a driver of your own", first, VIOLET)
    g.column(330)
    first = g.next
    read = g.add("ATWSignalFromVideo", video=clip, smoothing=0.04)
    g.add("ATWSignalPlot", "What was read", signal=read["signal"])
    g.group("Follow", first, GREEN)
    g.column(330)
    first = g.next
    wires = {"model": model, "residuals": parts["residuals"]}
    wires |= {"signal": read["signal"], "audio": read["audio"]}
    video = g.add("ATWRenderVideo", **wires)["video"]
    g.group("Animate", first, GREEN)
    g.column(520)
    first = g.next
    g.add("SaveVideo", video=video, filename_prefix="video/ATW-driven-by-a-video")
    about(
        g,
        "The face in a video moves the face in a photo: frame by frame, at the photo's resolution, with the "
        "video's rate and sound.\n\n*relative* takes the changes from the video's first frame, so begin with "
        "a calm face; *absolute* takes what is shown. `gain` makes it weaker or stronger.",
        150,
    )
    g.group("Result", first, OCHRE)
    return g


def trained(info: dict[str, Any]) -> Graph:
    g = Graph(info)
    image = photo(g, 640, "**ATW Animate Portrait**")
    g.column(400, skip=60)
    first = g.next
    data = g.add("ATWDataset", "What it learns from", source="example: drawn faces")["dataset"]
    g.note(
        "Your own faces",
        "1. In `ComfyUI/input`, make a folder with one subfolder an expression: `mine/neutral`, "
        "`mine/smiling`.\n"
        "2. Fill them with head shots, all cut alike; `python -m atw_nodes prepare` cuts and aligns any "
        "photos. Or put a table (CSV) there: `image`, `category`, `AU12`...\n"
        "3. Press **R**, choose `mine` in **ATW Dataset**, and give the run in **ATW Trainer** another name, "
        "`size` 128 and `width` 32.\n\n"
        "The example is one drawn face in four colours, its smile made by our own model: a stand-in that "
        "nothing of use is learned from.",
        270,
    )
    g.group("1  Data", first, BLUE)
    g.column(300, skip=190)  # below the wire from the data to the steps
    first = g.next
    small = {"run": "try-it", "batch": 4, "size": 64, "width": 8}
    run = g.add("ATWTrainer", "A small run", **small)["trainer"]
    about(
        g,
        "Trains a model of your own. **Run** trains three steps, saves, and animates the portrait with the "
        "result; Run again goes on from there. Cancel whenever you like: nothing is lost.\n\n"
        "It begins with random motion, so the face is torn at first: three steps teach nothing yet. For a "
        "model, set `steps` to thousands, on a graphics card; loss and sheet show where it goes. To begin "
        "from ours instead, connect **ATW Load Model** to **ATW Trainer**.\n\n"
        "The run lies in `ComfyUI/output/ATW-training`.",
        280,
    )
    g.group("2  Run", first, BLUE)
    g.column(460, skip=60)
    first = g.next
    made = g.add("ATWTrainStep", "Three steps a press of Run", room=270, trainer=run, dataset=data, steps=3)
    g.add("LossGraphNode", "Plot Loss Graph", loss=made["loss"], filename_prefix="ATW-loss")
    g.group("3  Train", first, GREEN)
    g.column(440)
    first = g.next
    smiling = g.add("ATWAnimatePortrait", "Use it", image=image, model=made["model"], frames=1)["image"]
    g.add("PreviewImage", "What it does so far", room=120, images=smiling)
    g.add("ATWSaveModel", "Keep it, with its card", model=made["model"], name="try-it")
    g.group("4  Use", first, OCHRE)
    return g
