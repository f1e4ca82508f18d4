"""A network as ONNX: from raw grey levels to probabilities, for programs that have no PyTorch.

Writing needs onnx and onnxscript, of the extra `workflow`, which a hospital does not install.
"""

from pathlib import Path
from typing import cast

import torch
from torch import Tensor, nn

from fedxray.core.files import atomic
from fedxray.training.trainer import standard_of, standardise

PROBABILITY = "of pneumonia against normal, for images such as it was trained on: the sigmoid of the model's one logit"
INPUT = "grey levels 0 to 255, float32 (n, 1, image_size, image_size), of the whole image, upright and stretched to it"


class Probability(nn.Module):
    """What the ONNX file computes: raw grey levels (see INPUT) to the probability of each image, float32 (n,)."""

    def __init__(self, model: nn.Module):
        super().__init__()
        self.model = model

    def forward(self, images: Tensor) -> Tensor:
        return torch.sigmoid(self.model(standardise(images[:, 0], standard_of(self.model))))


def write_onnx(path: Path, network: nn.Module, image_size: int, about: str) -> None:
    """Write `Probability` of `network` as ONNX: input `images`, output `probability`, any number of images.

    The file says `about`, what it takes and what it gives. The same network gives the same bytes.
    """
    import onnx

    program = torch.onnx.export(
        Probability(network).eval(),
        (torch.zeros(2, 1, image_size, image_size),),
        dynamo=True,
        input_names=["images"],
        output_names=["probability"],
        dynamic_shapes=({0: torch.export.Dim("n")},),
        verbose=False,
    )
    proto = cast(torch.onnx.ONNXProgram, program).model_proto
    graph = proto.graph
    for part in (proto, graph, *graph.node, *graph.input, *graph.output, *graph.value_info, *graph.initializer):
        part.ClearField("metadata_props")  # lines of source and folders of this machine
    proto.doc_string = f"{about}\nInput: {INPUT}.\nProbability {PROBABILITY}."
    onnx.checker.check_model(proto, full_check=True)
    with atomic(path) as temporary:
        temporary.write_bytes(proto.SerializeToString(deterministic=True))
