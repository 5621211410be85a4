"""How CLIP is trained on the images and captions."""

# ruff: noqa: UP045
# Optional[X]: see slurm.py.

from __future__ import annotations

from dataclasses import dataclass
from typing import Optional

from synthclip_hpc.config.roles import execution, identity

# Model configurations that ship with the package; any name of open_clip's and the path of a JSON file are valid too.
BUILT_IN_TRAIN_MODELS = ("synthclip-vit-b-16", "synthclip-vit-s-16", "resnet-tiny")
NORMALIZATIONS = ("imagenet", "openai")
INTERPOLATIONS = ("bilinear", "bicubic")
LOSSES = ("full", "tiled")


@dataclass(frozen=True)
class TrainConfig:
    """How CLIP is trained on the images and captions."""

    data: Optional[str] = identity(None)
    """What to train on, in place of the run's own data set: folders of WebDataset tars (a finished `dataset` of another
    run too), with a comma between them and each with a cap on its samples where wanted: `DIR` or `DIR:100000`."""
    mix: Optional[str] = identity(None)
    """Samples that each source gives an epoch, e.g. `render:11200000,cc12m:8800000` (default: each sample once)."""
    model: str = identity("synthclip-vit-b-16")
    """`synthclip-vit-b-16` (the paper's), `synthclip-vit-s-16`, `resnet-tiny` (for CPUs), a name of open_clip's, or the
    path of a JSON file of its form."""
    init: Optional[str] = identity(None)
    """Weights to start from, with a new schedule: a file or folder that open_clip loads (`RUN/train/export`), or a tag
    of its pretrained models such as `openai`."""
    epochs: int = identity(40)
    """Times that the data set is gone through."""
    batch_size: int = identity(4096)
    """Pairs in a step, over all GPUs."""
    lr: float = identity(5e-4)
    """Highest learning rate."""
    warmup_epochs: float = identity(1.0)
    """Epochs in which the learning rate rises, linearly."""
    warmup_lr: float = identity(1e-6)
    """Learning rate of the first step."""
    final_lr: float = identity(1e-5)
    """Learning rate of the last step; on the way to it a cosine."""
    weight_decay: float = identity(0.5)
    """Of AdamW; none for vectors, biases and norms."""
    beta1: float = identity(0.9)
    """AdamW's first beta."""
    beta2: float = identity(0.98)
    """AdamW's second beta."""
    eps: float = identity(1e-8)
    """AdamW's epsilon."""
    grad_clip: float = identity(0.0)
    """Longest gradient, by its norm (0 = any)."""
    gather_grad: bool = identity(True)
    """Let gradients flow to both sides of every pair of the batch. The paper's code held the other GPUs' features
    fixed."""
    loss: str = identity("tiled")
    """How the same loss is computed: `tiled` (a few rows of the matrix at a time) or `full`."""
    loss_tile: int = identity(1024)
    """Rows of the matrix at a time with `train.loss=tiled`."""
    accumulate: int = identity(1)
    """Parts that a rank's share of a batch goes through the model in, when it does not fit at once; the negatives stay
    all of the batch's."""
    checkpoint_activations: bool = identity(False)
    """Compute activations anew in the backward pass, instead of keeping them: less memory, a third slower."""
    compile: bool = identity(False)
    """Compile the model with torch.compile."""
    channels_last: bool = identity(False)
    """Memory layout of images and convolutions."""
    device: str = identity("cuda")
    """Where the model trains: `cuda` or `cpu`."""
    precision: str = identity("auto")
    """`float32`, `bfloat16`, `float16` (with loss scaling), or `auto`: bfloat16 on a GPU, float32 on the CPU."""
    threads: int = identity(1)
    """CPU threads of a rank: the order of a sum depends on them."""
    normalize: str = identity("imagenet")
    """Mean and standard deviation of the pixels: `imagenet` (the paper's) or `openai`."""
    interpolation: str = identity("bilinear")
    """How crops are resized: `bilinear` (the paper's) or `bicubic`."""
    crop_min: float = identity(0.5)
    """Smallest part of an image that a random crop covers (1 = the whole image)."""
    color_jitter: float = identity(0.0)
    """Random colours: saturation and brightness of a sample are multiplied by 1 - x to 1 + x each (0 = as they are)."""
    chunk_samples: int = identity(128)
    """Neighbouring samples that are read at once and stay together in the order of an epoch until they are shuffled
    within their group."""
    group_chunks: int = identity(8)
    """Chunks whose samples are shuffled together: what a rank keeps in memory, twice, for each of its lanes."""
    lanes: int = identity(16)
    """Places of the epoch that a batch is taken from at once; ranks that share them out need not read the same."""
    loader_workers: int = execution(2)
    """Processes of each rank that read and decode images (0 = none of their own)."""
    prefetch_batches: int = execution(2)
    """Batches that each of them is ahead."""
    processes_per_node: int = execution(0)
    """Ranks on a node (0 = one for each of its GPUs, one on the CPU). Another number goes on with the same batches, and
    other rounding."""
    start_timeout_s: int = execution(600)
    """How long ranks wait for one another to come up."""
    checkpoint_min: float = execution(15.0)
    """Minutes between checkpoints (0 = only at the end of epochs)."""
    checkpoint_steps: int = execution(0)
    """Steps between checkpoints, beside those by time (0 = by time alone)."""
    keep_checkpoints: int = execution(2)
    """Newest checkpoints to keep, 2 at least."""
    mark_epochs: int = execution(0)
    """Keep the checkpoint at the end of every so many epochs for good (0 = none but the last)."""
    log_steps: int = execution(20)
    """Steps between looks at the metrics; each look waits for the GPU."""
    tensorboard: bool = execution(False)
    """Write the metrics for TensorBoard as well."""
    wandb: Optional[str] = execution(None)
    """Project of Weights & Biases to send the metrics to as well."""
