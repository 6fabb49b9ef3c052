"""What the export to ONNX makes of the layer."""

from typing import Any

from triptych.exporting.onnx_graph import register_layer
from triptych.spec.placement import PlacedLayer

from .specs import ChannelGain


def build_gain(graph: Any, place: PlacedLayer, x: str) -> str:
    return graph.node("Mul", [x, *graph.add_parameters(place, "gain")])


register_layer(ChannelGain, build_gain)
