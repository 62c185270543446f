"""The ComfyUI extension (V3 schema). This release registers no node yet; see CHANGELOG.md."""

from __future__ import annotations

from comfy_api.latest import ComfyExtension, io


class AtwExtension(ComfyExtension):
    """What ComfyUI asks for our nodes."""

    async def get_node_list(self) -> list[type[io.ComfyNode]]:
        return []
