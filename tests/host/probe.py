"""A single-file pack that the tests put beside ours: images of every kind, signals, landmarks, wrong things;
measures of what comes out. Runs in ComfyUI's Python.
"""

from __future__ import annotations

import gc
import json
import sys

import torch

ANY = type(
    "Any", (str,), {"__ne__": lambda a, b: False, "__eq__": lambda a, b: True, "__hash__": str.__hash__}
)("*")


def ours(module):
    """A module of our pack as the host loaded it."""
    return next(m for n, m in sys.modules.items() if n.endswith(f".atw_nodes.{module}"))


class Probe:
    CATEGORY, FUNCTION = "probe", "run"


class Picture(Probe):
    """kind: bytes, float, half, wide (beyond 0..1), nan; channels, batch as given."""

    RETURN_TYPES = ("IMAGE",)

    @classmethod
    def INPUT_TYPES(cls):  # noqa: N802
        return {
            "required": {"kind": ("STRING", {}), "width": ("INT", {}), "height": ("INT", {})},
            "optional": {"channels": ("INT", {}), "batch": ("INT", {})},
        }

    def run(self, kind, width, height, channels=3, batch=1):
        g = torch.Generator().manual_seed(7)
        image = torch.rand(batch, height, width, channels, generator=g)
        if kind == "bytes":
            image = (image * 255).round() / 255
        if kind == "half":
            image = image.half()
        if kind == "wide":
            image = image * 1.5 - 0.25
        if kind == "nan":
            image[..., height // 2, width // 2, 0] = float("nan")
        return (image,)


class Thing(Probe):
    """Any Python value, given as JSON, on any socket."""

    RETURN_TYPES = (ANY,)

    @classmethod
    def INPUT_TYPES(cls):  # noqa: N802
        return {"required": {"json": ("STRING", {})}}

    def run(self, json):
        return (globals()["json"].loads(json),)


class Listed(Probe):
    """The same, one value of a list after the other."""

    RETURN_TYPES, OUTPUT_IS_LIST = (ANY,), (True,)

    @classmethod
    def INPUT_TYPES(cls):  # noqa: N802
        return {"required": {"json": ("STRING", {})}}

    def run(self, json):
        return (globals()["json"].loads(json),)


class Steps(Probe):
    """ATW_SIGNAL of T steps: rows of values as JSON."""

    RETURN_TYPES = ("ATW_SIGNAL",)

    @classmethod
    def INPUT_TYPES(cls):  # noqa: N802
        fields = {
            "names": ("STRING", {}),
            "values": ("STRING", {}),
            "fps": ("FLOAT", {}),
            "absolute": ("BOOLEAN", {}),
        }
        return {"required": fields}

    def run(self, names, values, fps, absolute):
        rows = torch.tensor(json.loads(values))
        return (ours("types").Signal(rows, tuple(names.split()), fps or None, absolute),)


class Landmarks(Probe):
    """FACE_LANDMARKS as ComfyUI's own detector gives them, of a recorded face put into boxes.

    faces: JSON, a list of [left, top, side]. form: numpy, list or tensor; or what is wrong with it.
    """

    RETURN_TYPES = ("FACE_LANDMARKS",)

    @classmethod
    def INPUT_TYPES(cls):  # noqa: N802
        fields = {"file": ("STRING", {}), "faces": ("STRING", {}), "form": ("STRING", {})}
        return {"required": fields | {"width": ("INT", {}), "height": ("INT", {})}}

    def run(self, file, faces, form, width, height):
        import numpy as np

        with open(file, encoding="utf-8") as f:
            points = np.asarray(json.load(f), np.float32)  # [478,2] in the face's own square, 0..1
        shaped = {"list": lambda a: a.tolist(), "tensor": torch.from_numpy}.get(form, lambda a: a)
        found = []
        for left, top, side in json.loads(faces):
            at = points * side + np.float32([left, top])
            if form == "nan":
                at[5] = np.nan
            if form == "few":
                at = at[:68]
            low, high = at.min(0), at.max(0)
            found.append(
                {
                    "bbox_xyxy": np.concatenate([low, high]),
                    "blendshapes": {"mouthSmileLeft": 0.1, "mouthSmileRight": 0.1, "jawOpen": 0.0},
                    "landmarks_xy": shaped(at),
                    "landmarks_3d": np.zeros((478, 3), np.float32),
                    "presence": 9.0,
                    "score": 0.9,
                    "transformation_matrix": np.eye(4, dtype=np.float32),
                }
            )
        sets = {"lips": frozenset({(61, 146)})}
        return ({"frames": [found], "image_size": (height, width), "connection_sets": sets},)


class Full(Probe):
    """Lets the card run full in the first ``fails`` tries of our rendering; passes its input on."""

    RETURN_TYPES = (ANY,)

    @classmethod
    def INPUT_TYPES(cls):  # noqa: N802
        return {"required": {"thing": (ANY,), "fails": ("INT", {})}}

    def run(self, thing, fails):
        true = getattr(ours("animate").frames_of, "true", ours("animate").frames_of)
        left = [fails]

        def full(*args):
            for k, frame in enumerate(true(*args)):
                if k == 0 and left[0]:
                    left[0] -= 1
                    raise torch.cuda.OutOfMemoryError("CUDA out of memory, says the test")
                yield frame

        full.true = true
        ours("animate").frames_of = full
        return (thing,)


class Hub(Probe):
    """A Hub without a network: every address has a file of ``size`` bytes, which is ``file``; 0 ends it."""

    RETURN_TYPES, OUTPUT_NODE = (), True

    @classmethod
    def INPUT_TYPES(cls):  # noqa: N802
        return {"required": {"size": ("INT", {}), "file": ("STRING", {})}}

    def run(self, size, file):
        import huggingface_hub as hub

        names = ("get_hf_file_metadata", "hf_hub_download", "try_to_load_from_cache")
        true = hub.__dict__.setdefault("_atw_true", {n: getattr(hub, n) for n in names})
        metadata = type("Metadata", (), {"size": size})
        made = (lambda *a, **k: metadata, lambda *a, **k: file, lambda *a, **k: None)
        hub.__dict__.update(zip(names, made, strict=True) if size else true)
        return {}


class Measure(Probe):
    """How far two images are apart, outside a mask, and how they lie; as text."""

    RETURN_TYPES, OUTPUT_NODE = (), True

    @classmethod
    def INPUT_TYPES(cls):  # noqa: N802
        return {"required": {"a": ("IMAGE",), "b": ("IMAGE",)}, "optional": {"mask": ("MASK",)}}

    def run(self, a, b, mask=None):
        n = min(a.shape[-1], b.shape[-1])
        apart = (a[..., :n].double() - b[..., :n].double()).abs()
        out = {"shape": list(a.shape), "type": str(a.dtype), "apart": float(apart.max())}
        if mask is not None:
            out["outside"] = float(apart[:, mask[0] == 0].max())
        out["low"], out["high"] = float(a.min()), float(a.max())
        return {"ui": {"text": [json.dumps(out)]}}


class Held(Probe):
    """Bytes that an object says it holds, and whether it can be changed."""

    RETURN_TYPES, OUTPUT_NODE = (), True

    @classmethod
    def INPUT_TYPES(cls):  # noqa: N802
        return {"required": {"thing": (ANY,)}}

    def run(self, thing):
        import dataclasses

        name = dataclasses.fields(thing)[0].name
        try:
            setattr(thing, name, None)
            frozen = False
        except dataclasses.FrozenInstanceError:
            frozen = True
        held = thing.get_ram_usage() if hasattr(thing, "get_ram_usage") else None
        gc.collect()
        return {"ui": {"text": [json.dumps({"frozen": frozen, "held": held, "kind": type(thing).__name__})]}}


NODE_CLASS_MAPPINGS = {
    f"Probe{c.__name__}": c for c in (Picture, Thing, Listed, Steps, Landmarks, Full, Hub, Measure, Held)
}
