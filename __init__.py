"""ComfyUI loads this folder as a package and looks for ``comfy_entrypoint`` and ``WEB_DIRECTORY``."""

WEB_DIRECTORY = "./web"

__all__ = ["WEB_DIRECTORY", "comfy_entrypoint"]


async def comfy_entrypoint():  # noqa: ANN201 (the host's type; importing it here would tie every import to the host)
    """The extension with our nodes (V3 schema)."""
    from .nodes import AtwExtension

    return AtwExtension()
