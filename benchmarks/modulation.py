"""What FiLM and normalization over maps of three sizes cost beside the convolutions.

    python benchmarks/modulation.py --batch 64 --precision bf16

A modulation does no multiply-add that is counted, and can take more time than the convolution
before it: it reads and writes the whole map, forward and backward.
"""

import argparse

import torch
from torch import Tensor, nn

from eyehand.inspection.costs import measure_costs
from eyehand.models.vision.patch_encoder import STRIDES, PatchEncoder
from eyehand.nn.film import FiLM

DIMS = (64, 128, 256)


class Modulated(nn.Module):
    """The patch encoder with a FiLM or a GroupNorm on one of its maps."""

    def __init__(self, kind: str, level: int) -> None:
        super().__init__()
        self.encoder = PatchEncoder(DIMS)
        self.level = level
        film = FiLM(DIMS[level], context_dim=128)
        self.modulation = film if kind == "FiLM" else nn.GroupNorm(8, DIMS[level])

    def forward(self, image: Tensor, context: Tensor) -> list[Tensor]:
        """Return the three maps, one of them modulated."""
        maps = list(self.encoder(image))
        given = (context,) if isinstance(self.modulation, FiLM) else ()
        maps[self.level] = self.modulation(maps[self.level], *given)
        return maps


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--precision", choices=("bf16", "fp32"), default="bf16")
    given = parser.parse_args()
    torch.manual_seed(0)
    inputs = (torch.randn(given.batch, 3, 96, 96), torch.randn(given.batch, 128))
    convolutions = ("encoder.stem", "encoder.to_middle", "encoder.to_coarse")
    print("| on a map of stride | by | its ms | its MB moved | ms of the convolution before |")
    print("|---:|---|---:|---:|---:|")
    for kind in ("FiLM", "GroupNorm"):
        for level, stride in enumerate(STRIDES):
            network = Modulated(kind, level)
            found = measure_costs(network, inputs, precision=given.precision)
            layers = {layer.name: layer for layer in found.layers}
            own, before = layers["modulation"], layers[convolutions[level]]
            moved = own.moved_bytes / 1e6
            print(f"| {stride} | {kind} | {own.ms:.2f} | {moved:.1f} | {before.ms:.2f} |")


if __name__ == "__main__":
    main()
