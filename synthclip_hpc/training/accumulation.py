"""One backward pass over a batch that is too large for the model at once, with all of its negatives.

The contrastive loss of parts is not the loss of the whole: each pair is compared with the pairs of all other parts. So
the features of all parts are computed without a graph first, the loss gives the gradient for each feature, and then
each part goes through the model once more, with a graph, to carry its features' gradients to the weights (GradCache,
arXiv 2101.06983). It costs one more forward pass and holds one part's activations.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

Loss = Callable[[Tensor, Tensor, Tensor], Tensor]
"""From image features, text features and scale to the loss."""


def forward_backward(
    model: nn.Module,
    micro_batches: Sequence[tuple[Tensor, Tensor]],
    loss_fn: Loss,
    *,
    no_sync: Callable[[], AbstractContextManager[Any]],
    autocast: Callable[[], AbstractContextManager[Any]] = nullcontext,
    scaled: Callable[[Tensor], Tensor] | None = None,
) -> Tensor:
    """Add the gradients of the loss over all micro-batches to the model's parameters; return the loss, without a graph.

    `micro_batches` are the (images, tokens) that the model takes, in order and of any sizes. `model(images, tokens)` is
    open_clip's CLIP, alone or in DistributedDataParallel: it returns features and the scale, as a tuple or as a dict.
    `loss_fn` gets the features of all micro-batches, in their order. `no_sync` is DistributedDataParallel's: it is
    entered for all micro-batches but the last. `autocast` is entered anew for each forward pass and for the loss; do
    not call this function inside another autocast, whose casts of weights made without a graph would be taken for
    those with one. `scaled` (a GradScaler's `scale`) is applied to what the gradients are taken of, not to what is
    returned.

    Both passes of a micro-batch see the same random numbers and leave their mark on the model's buffers, such as the
    means of batch norms, once. Batch norms see one micro-batch at a time.

    Raises ValueError for no micro-batches.
    """
    if not micro_batches:
        raise ValueError("no micro-batches: wanted one at least")
    if len(micro_batches) == 1:
        with autocast():
            loss = loss_fn(*_outputs(model, micro_batches[0]))
        _for_gradients(loss, scaled).backward()
        return loss.detach()

    # Not through DistributedDataParallel, whose exchanges are for passes that have gradients.
    bare = model.module if isinstance(model, DistributedDataParallel) else model
    first_pass: list[tuple[Tensor, Tensor, Tensor]] = []
    random_states: list[list[Tensor]] = []
    with torch.no_grad(), _buffers_kept(bare):
        for micro_batch in micro_batches:
            random_states.append(_random_state(micro_batch[0].device))
            with autocast():
                first_pass.append(_outputs(bare, micro_batch))

    image_parts, text_parts, scales = zip(*first_pass, strict=True)
    images, texts = torch.cat(image_parts).requires_grad_(), torch.cat(text_parts).requires_grad_()
    scale = scales[-1].detach().clone().requires_grad_()
    with autocast():
        loss = loss_fn(images, texts, scale)
    of_images, of_texts, of_scale = torch.autograd.grad(_for_gradients(loss, scaled), [images, texts, scale])

    sizes = [len(part) for part in image_parts]
    gradients = list(zip(of_images.split(sizes), of_texts.split(sizes), strict=True))
    last = len(micro_batches) - 1
    for place, (micro_batch, state) in enumerate(zip(micro_batches, random_states, strict=True)):
        with nullcontext() if place == last else no_sync():
            _restore_random_state(state, micro_batch[0].device)
            with autocast():
                outputs = _outputs(model, micro_batch)
            # The scale is one and the same in all of them: its gradient belongs to one.
            count = 3 if place == last else 2
            torch.autograd.backward(outputs[:count], [*gradients[place], of_scale][:count])
    return loss.detach()


def _outputs(model: nn.Module, micro_batch: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor, Tensor]:
    outputs = model(*micro_batch)
    if isinstance(outputs, dict):
        return outputs["image_features"], outputs["text_features"], outputs["logit_scale"]
    images, texts, scale = outputs
    return images, texts, scale


def _for_gradients(loss: Tensor, scaled: Callable[[Tensor], Tensor] | None) -> Tensor:
    return loss if scaled is None else scaled(loss)


@contextmanager
def _buffers_kept(model: nn.Module) -> Iterator[None]:
    """Put every buffer back as it was: the second pass changes them again."""
    kept = [(buffer, buffer.clone()) for buffer in model.buffers()]
    try:
        yield
    finally:
        for buffer, value in kept:
            buffer.copy_(value)


def _random_state(device: torch.device) -> list[Tensor]:
    """The state of the CPU's generator, and of the device's if it has its own."""
    states = [torch.get_rng_state()]
    if device.type == "cuda":
        states.append(torch.cuda.get_rng_state(device))
    return states


def _restore_random_state(states: Sequence[Tensor], device: torch.device) -> None:
    torch.set_rng_state(states[0])
    if device.type == "cuda":
        torch.cuda.set_rng_state(states[1], device)
