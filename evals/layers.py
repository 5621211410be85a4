"""Image features of one pass: behind the projection, before it, or both.

`post` is what `encode_image` returns, not normalised. `pre` is the input of the last linear map into the joint space:

| image tower | `pre` |
| --- | --- |
| open_clip's VisionTransformer | pooled output behind `ln_post`, in front of the matrix `proj` |
| TimmModel, `proj=linear` or `mlp` | the trunk's pooled output (behind attention pooling where there is one) |
| TimmModel, no `proj` | input of the trunk's own classifier, which open_clip uses as the projection |
| ModifiedResNet | output of the attention pool's heads, in front of `c_proj` |

A tower without a projection has no `pre`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

from evals.errors import EvalError

if TYPE_CHECKING:
    import torch
    from torch import nn

Layer = Literal["pre", "post"]


def encode_images(module: nn.Module, pixels: torch.Tensor, layers: tuple[Layer, ...]) -> dict[str, torch.Tensor]:
    """Return features [n, width] of float pixels [n, 3, height, width] for each layer. Raises EvalError."""
    if layers == ("post",):
        return {"post": module.encode_image(pixels)}  # type: ignore[operator]
    visual: Any = module.visual
    if hasattr(visual, "attnpool"):
        found = _resnet(module, visual, pixels)
    elif hasattr(visual, "trunk"):
        found = _timm(module, visual, pixels)
    else:
        found = _transformer(module, visual, pixels)
    return {layer: found[layer] for layer in layers}


def _transformer(module: nn.Module, visual: Any, pixels: torch.Tensor) -> dict[str, torch.Tensor]:
    projection = getattr(visual, "proj", None)
    if projection is None or getattr(projection, "ndim", 0) != 2:
        raise _no_projection(visual)
    visual.proj = None
    try:
        pooled = module.encode_image(pixels)  # type: ignore[operator]
    finally:
        visual.proj = projection
    return {"pre": pooled, "post": pooled @ projection}


def _timm(module: nn.Module, visual: Any, pixels: torch.Tensor) -> dict[str, torch.Tensor]:
    from torch import nn

    head = visual.head
    last = getattr(head, "proj", None) or getattr(head, "mlp", None)
    if last is None and not len(head):
        last = visual.trunk.get_classifier()
    if not isinstance(last, nn.Module) or isinstance(last, nn.Identity):
        raise _no_projection(visual)
    return _with_input_of(last, module, pixels)


def _resnet(module: nn.Module, visual: Any, pixels: torch.Tensor) -> dict[str, torch.Tensor]:
    import torch
    from torch import nn

    pool = visual.attnpool
    both = _with_input_of(pool, module, pixels)
    # The attention is one fused function of torch; with an identity for its last matrix it returns that one's input.
    width = pool.c_proj.in_features
    identity = nn.Linear(width, width, device=pool.c_proj.weight.device, dtype=pool.c_proj.weight.dtype)
    with torch.no_grad():
        nn.init.eye_(identity.weight)
        nn.init.zeros_(identity.bias)
    projection, pool.c_proj = pool.c_proj, identity
    try:
        return {"pre": pool(both["pre"]), "post": both["post"]}
    finally:
        pool.c_proj = projection


def _with_input_of(part: nn.Module, module: nn.Module, pixels: torch.Tensor) -> dict[str, torch.Tensor]:
    seen: list[torch.Tensor] = []
    hook = part.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    try:
        post = module.encode_image(pixels)  # type: ignore[operator]
    finally:
        hook.remove()
    return {"pre": seen[0], "post": post}


def _no_projection(visual: Any) -> EvalError:
    return EvalError(
        f"layer=pre: this image tower ({type(visual).__name__}) has no projection behind it; give layer=post"
    )
