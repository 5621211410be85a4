"""Work of a small model by hand, and what is known of GPUs."""

from __future__ import annotations

import pytest

from synthclip_hpc.training.flops import forward_flops, peak_flops


@pytest.mark.parametrize(
    ("device", "precision", "expected"),
    [
        ("NVIDIA A100-SXM4-40GB", "bfloat16", 312e12),
        ("NVIDIA A100 80GB PCIe", "float16", 312e12),
        ("NVIDIA A100-SXM4-40GB", "float32", 19.5e12),
        ("NVIDIA H100 80GB HBM3", "bfloat16", 989e12),
        ("NVIDIA H100 PCIe", "bfloat16", 756e12),
        ("NVIDIA H200", "bfloat16", 989e12),
        ("NVIDIA GH200 480GB", "bfloat16", 989e12),
        ("Tesla V100-SXM2-32GB", "float16", 125e12),
        ("Tesla V100-PCIE-16GB", "float16", 112e12),
        ("Tesla V100-SXM2-32GB", "bfloat16", None),
        ("NVIDIA A100-SXM4-40GB MIG 1g.5gb", "bfloat16", None),
        ("NVIDIA A10", "bfloat16", None),
        ("NVIDIA L4", "bfloat16", 121e12),
        ("NVIDIA L40S", "bfloat16", 362e12),
        ("NVIDIA GeForce GTX 1080", "float16", None),
        ("", "float32", None),
    ],
)
def test_peaks_are_those_of_dense_products(device: str, precision: str, expected: float | None) -> None:
    assert peak_flops(device, precision) == expected


@pytest.mark.engines
def test_counting_computes_nothing_and_leaves_the_model_as_it_is() -> None:
    torch = pytest.importorskip("torch")
    from torch import nn

    class Small(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv = nn.Conv2d(3, 5, kernel_size=2, stride=2, bias=False)
            self.norm = nn.BatchNorm2d(5)
            self.table = nn.Embedding(10, 4)
            self.attention = nn.MultiheadAttention(4, 2, batch_first=True)

        def forward(self, images, tokens):
            rows = self.table(tokens)
            return self.norm(self.conv(images)), self.attention(rows, rows, rows, need_weights=False)[0]

    module = Small()
    before = {name: value.clone() for name, value in module.state_dict().items()}
    # Convolution at 4 x 4 places; four products of 4 x 4 a token, and two of attention a pair of tokens.
    expected = 2 * 16 * 5 * 3 * 4 + 7 * 4 * 2 * 4 * 4 + 2 * 2 * 7 * 7 * 4
    assert forward_flops(module, image_size=8, context_length=7) == expected
    assert forward_flops(module.eval(), image_size=8, context_length=7) == expected
    assert all(torch.equal(value, before[name]) for name, value in module.state_dict().items())
