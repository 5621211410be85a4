"""How captions become images."""

# ruff: noqa: UP045
# Optional[X]: see slurm.py.

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Optional

from synthclip_hpc.config.roles import execution, identity

RENDERERS = ("glyphs", "diffusion")
STYLES = ("twemoji", "openmoji")
RENDER_PRESETS = ("sd15", "sd-turbo", "sdxl-turbo", "lcm")
RESAMPLES = ("bicubic", "lanczos", "bilinear", "area", "nearest")
SUBSAMPLINGS = ("4:2:0", "4:2:2", "4:4:4")


@dataclass(frozen=True)
class DiffusionConfig:
    """The `diffusion` renderer. What is left out is the preset's."""

    model: Optional[str] = identity(None)
    """Text-to-image pipeline: a local folder or a hub id."""
    revision: Optional[str] = identity(None)
    """Branch, tag or commit of a hub id (default: the one in the local cache's `main`)."""
    scheduler: Optional[str] = identity(None)
    """Scheduler class of diffusers, e.g. `DDIMScheduler` (`own` = the one saved with the pipeline)."""
    steps: Optional[int] = identity(None)
    """Denoising steps."""
    guidance: Optional[float] = identity(None)
    """Scale of classifier-free guidance (below or at 1 = none)."""
    native_size: Optional[int] = identity(None)
    """Width and height that the pipeline draws at, in pixels; resized to `render.size` then."""
    compile: bool = identity(False)
    """Compile the denoiser and the decoder once an attempt: slower to start, faster from then on."""
    channels_last: bool = identity(True)
    """Memory layout of the denoiser and the decoder."""
    safety_checker: bool = identity(False)
    """Reject images that the pipeline's own safety checker flags; for pipelines that have one."""
    device_batch_items: int = execution(0)
    """Images on a GPU at once (0 = the whole batch); it halves by itself when the GPU runs out of memory."""
    local_copy: Optional[str] = execution(None)
    """Folder on the node's own disk to copy the model to first, once a node; e.g. `$TMPDIR`."""


@dataclass(frozen=True)
class GlyphsConfig:
    """The `glyphs` renderer."""

    redrawn: float = identity(0.5)
    """Share of the drawings that are recoloured, outlined or reshaped: what carries a model over to another art
    style."""


@dataclass(frozen=True)
class RenderConfig:
    """How captions become images."""

    renderer: str = identity("glyphs")
    """What draws the images: `glyphs` (emoji artwork composed from the caption's words), `diffusion`, or a renderer of
    your own as `module:function`."""
    preset: Optional[str] = identity(None)
    """Numbers of a known pipeline, each of which `render.diffusion.*` overrides: `sd15` (the paper's: Stable Diffusion
    v1.5, DDIM 50, guidance 2), `sd-turbo`, `sdxl-turbo`, `lcm`."""
    style: str = identity("twemoji")
    """Artwork of `glyphs`: `twemoji` or `openmoji`."""
    size: int = identity(256)
    """Width and height of the images, in pixels."""
    resample: str = identity("bicubic")
    """How an image of another size is resized: `bicubic` (what the paper's code used), `lanczos`, `bilinear`, `area`,
    `nearest`."""
    jpeg_quality: int = identity(95)
    """JPEG quality, 1 to 100 (the paper's code: 75)."""
    jpeg_subsampling: str = identity("4:2:0")
    """Chroma subsampling of the JPEGs: `4:2:0`, `4:2:2`, `4:4:4`."""
    batch_items: int = identity(16)
    """Images drawn together: what a kill costs."""
    max_tries: int = identity(3)
    """Seeds tried until an image is usable."""
    device: str = identity("cuda")
    """Where a diffusion pipeline runs: `cuda` or `cpu`."""
    dtype: str = identity("auto")
    """`float32`, `bfloat16`, `float16`, or `auto`: bfloat16 on a GPU, float32 on the CPU."""
    threads: int = identity(1)
    """CPU threads of a renderer: the order of a sum depends on them."""
    renderers: int = execution(1)
    """Renderers side by side in one worker, each on a GPU of its own: for clusters that give whole nodes."""
    reuse: Optional[str] = execution(None)
    """Run directory whose images are taken over where caption, seed and everything that makes them are equal."""
    items_per_s: float = execution(0.0)
    """Slow a worker down to so many images a second, for trials and drills (0 = full speed)."""
    diffusion: DiffusionConfig = field(default_factory=DiffusionConfig)
    glyphs: GlyphsConfig = field(default_factory=GlyphsConfig)
