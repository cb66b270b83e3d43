"""Both presets' transformers over shared tokens by the kernels are the transformers that PyTorch runs window by window."""

import pytest
import torch

from kernel_cases import Called
from kernels.switch import use_kernels
from models.avct.paper.transformer import PaperTransformer
from models.avct.transformer import MotionTransformer, TransformerConfig


def small_paper() -> PaperTransformer:
    """The published one with two layers of each kind in place of six: the interpreter pays by the operation."""
    made = PaperTransformer()
    for stack in made.transformer.values():
        stack.layers = stack.layers[:2]
    return made


@pytest.mark.parametrize(("make", "width"), [(lambda: MotionTransformer(TransformerConfig()), 128), (small_paper, 512)], ids=["compact", "paper"])
@torch.inference_mode()
def test_the_kernels_path_is_the_transformer(make: type[torch.nn.Module], width: int) -> None:
    torch.manual_seed(0)
    network = make().eval()
    for parameter in network.parameters():
        parameter += torch.randn_like(parameter) * 0.05  # biases and norms that are not as they were made
    seen, heard = torch.randn(2, 13, width)
    plain = network.of_tokens(seen, heard)
    for one, other in zip(plain, network(*(torch.stack([tokens[t : t + 11] for t in range(3)]) for tokens in (seen, heard))), strict=True):
        assert torch.allclose(one, other, atol=1e-6)
    called = Called()
    with use_kernels(), called:
        found = network.of_tokens(seen, heard)
    assert called.names == {"window_attention", "attention", "residual_norm"}
    for got, true in zip(found, plain, strict=True):
        assert got.shape == true.shape and torch.allclose(got, true, rtol=1e-3, atol=1e-4 * float(true.abs().max()))
