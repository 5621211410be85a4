"""What can be known before a report is to be made: are the packages there?"""

from __future__ import annotations

from synthclip_hpc.errors import UserError
from synthclip_hpc.models.packages import missing_here, missing_in
from synthclip_hpc.place import Place

_PACKAGES = ("jinja2", "matplotlib", "PIL")


def check_place(place: Place) -> None:
    """Raise UserError when the python that makes the report lacks a package; in a container nobody can look."""
    if place.container is not None:
        return
    missing = missing_here(_PACKAGES) if place.python is None else missing_in(place.python, _PACKAGES)
    if missing:
        where = "here" if place.python is None else f"by slurm.python={' '.join(place.python)}"
        raise UserError(
            f"stage=report: {', '.join(missing)} is not found {where}; install the extra: "
            "pip install 'synthclip-hpc[report]', or name the other stages alone"
        )
