"""What is told before a diffusion job starts."""

from __future__ import annotations

import functools
import sys
from dataclasses import replace

import pytest

from synthclip_hpc.errors import UserError
from synthclip_hpc.models import packages
from synthclip_hpc.place import Place
from synthclip_hpc.rendering.diffusion.folder import find_pipeline
from synthclip_hpc.rendering.diffusion.preflight import check_place
from synthclip_hpc.rendering.diffusion.recipe import settled

pytestmark = pytest.mark.engines
HERE = Place("local", num_gpus=0)


@functools.cache
def asked(python, question, arguments):
    return packages.ask(python, question, arguments)


@pytest.fixture(autouse=True)
def ask_once(monkeypatch):
    """Another python imports diffusers for seconds; what it says of one pipeline it says once."""
    monkeypatch.setattr(
        "synthclip_hpc.rendering.diffusion.preflight.ask",
        lambda python, question, arguments: asked(tuple(python), question, tuple(arguments)),
    )


def test_a_pipeline_that_can_be_opened_passes(configure):
    check_place(configure(), HERE)
    check_place(configure(scheduler="own"), Place("local", num_gpus=0, python=[sys.executable]))


def test_a_scheduler_that_does_not_fit_is_told_with_those_that_do(configure):
    with pytest.raises(UserError, match=r"scheduler=DDIMSheduler: does not fit tiny.*did you mean 'DDIMScheduler'"):
        check_place(configure(scheduler="DDIMSheduler"), HERE)


def test_a_pipeline_that_the_installed_diffusers_does_not_have_is_told(configure):
    files = find_pipeline(settled(configure()))
    with pytest.raises(UserError, match="the diffusers installed there has no FuturePipeline; install a newer one"):
        check_place(configure(), HERE, replace(files, pipeline="FuturePipeline"))


def test_a_missing_gpu_is_told(configure):
    with pytest.raises(UserError, match=r"render.device=cuda: this machine has no GPU"):
        check_place(configure(device="cuda"), HERE)
    with pytest.raises(UserError, match=r"1 GPU is needed, and the job asks for no GPU; set slurm.gres=gpu:1"):
        check_place(configure(device="cuda"), Place("slurm", num_gpus=0))
    check_place(configure(device="cuda", scheduler="own"), Place("slurm", num_gpus=1))


def test_several_renderers_need_as_many_gpus(configure):
    four = replace(configure(device="cuda", scheduler="own"), renderers=4)
    with pytest.raises(UserError, match=r"render.renderers=4: 4 GPUs are needed, .* 2; use render.renderers=2"):
        check_place(four, Place("local", num_gpus=2))
    with pytest.raises(UserError, match=r"4 GPUs are needed \(render.renderers=4, .*asks for 2; .*gpus_per_node=4"):
        check_place(four, Place("slurm", num_gpus=2))
    check_place(four, Place("slurm", num_gpus=4))
    check_place(replace(configure(scheduler="own"), renderers=4), HERE)


def test_a_missing_package_is_told_with_its_extra(configure, monkeypatch):
    import importlib.util

    real = importlib.util.find_spec
    monkeypatch.setattr(
        "importlib.util.find_spec", lambda name, *more: None if name == "diffusers" else real(name, *more)
    )
    with pytest.raises(UserError, match=r"diffusers is not installed here; .*synthclip-hpc\[render\]"):
        check_place(configure(), HERE)
    check_place(configure(), Place("slurm", num_gpus=0, container="image.sif"))


def test_looking_at_a_pipeline_loads_no_torch(pipelines):
    import subprocess

    program = (
        "import sys\n"
        "from synthclip_hpc.config.render import DiffusionConfig, RenderConfig\n"
        "from synthclip_hpc.rendering.diffusion import folder, identity, preflight, recipe\n"
        "from synthclip_hpc.place import Place\n"
        f"own = DiffusionConfig(model={str(pipelines['tiny'])!r}, scheduler='own')\n"
        "render = RenderConfig(preset='sd15', device='cpu', diffusion=own)\n"
        "files = folder.find_pipeline(recipe.settled(render))\n"
        "identity.identity_of(render, files)\n"
        "preflight.check_place(render, Place('local', num_gpus=0), files)\n"
        "print([name for name in ('torch', 'diffusers', 'transformers', 'numpy') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
