"""Let torchvision be imported beside a CPU build of torch (development environment only, no part of the product).

torchvision's published wheels are compiled for CUDA. Beside a CPU torch its C++ library does not load, the operators
that it would have registered are missing, and `import torchvision` ends with "operator torchvision::nms does not
exist". open_clip and timm import it only for its pure-Python transforms and layers, so declaring the two missing
operators is enough. The operators themselves (nms, roi_align, torchvision.io's decoders) stay unusable.

.ci/setup copies this file into .venv and a .pth line imports it at every interpreter start. So the top of it must cost
nothing: it only registers a finder, and everything else happens when somebody really imports torchvision.
"""

import sys


class _TorchvisionFinder:
    """Find torchvision as usual, but declare its operators just before its own code runs."""

    @staticmethod
    def find_spec(name, path=None, target=None):  # type: ignore[no-untyped-def]
        if name != "torchvision":
            return None
        from importlib.machinery import PathFinder

        spec = PathFinder.find_spec(name, path, target)
        if spec is None or spec.loader is None or spec.origin is None:
            return spec
        run_package = spec.loader.exec_module

        def declare_then_run(module):  # type: ignore[no-untyped-def]
            _declare_operators(spec.origin)
            run_package(module)

        spec.loader.exec_module = declare_then_run  # type: ignore[method-assign]
        return spec


def _declare_operators(package_file: str) -> None:
    from pathlib import Path

    import torch

    if torch.version.cuda or torch.version.hip:
        return
    libraries = sorted(Path(package_file).parent.glob("_C*.so"))
    try:
        for library in libraries:
            torch.ops.load_library(library)
    except OSError:
        # A reference must be kept: the operators vanish together with their Library object.
        fragment = sys.modules[__name__].__dict__["_fragment"] = torch.library.Library("torchvision", "FRAGMENT")
        for operator in ("nms", "qnms"):
            fragment.define(f"{operator}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")


sys.meta_path.insert(0, _TorchvisionFinder)  # type: ignore[arg-type]
