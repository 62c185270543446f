"""The ComfyUI extension (V3 schema): what ``atw_nodes/nodes_*.py`` define."""

from __future__ import annotations

from comfy_api.latest import ComfyExtension, io


class AtwExtension(ComfyExtension):
    """What ComfyUI asks for our nodes."""

    async def get_node_list(self) -> list[type[io.ComfyNode]]:
        from .atw_nodes import (
            nodes_clip,
            nodes_dataset,
            nodes_lift,
            nodes_metrics,
            nodes_motion,
            nodes_parts,
            nodes_several,
            nodes_signals,
            nodes_sources,
            nodes_training,
            nodes_units,
        )
        from .atw_nodes.host import register_models

        register_models()
        signals = [*nodes_units.NODES, *nodes_signals.NODES, *nodes_sources.NODES]
        training = [*nodes_dataset.NODES, *nodes_training.NODES]
        parts = [*nodes_parts.NODES, *nodes_motion.NODES, *nodes_clip.NODES]
        return [*parts, *signals, *nodes_several.NODES, *nodes_metrics.NODES, *nodes_lift.NODES, *training]
