"""Links between layers, and the float steps on whole models: the function stays where it should."""

import itertools
from typing import Any

import pytest
import torch

from evenstep_golden.layers import (
    Activation,
    BatchNorm,
    Flatten,
    QuantConv2d,
    QuantLinear,
    ReLU,
    ReLU6,
)
from evenstep_golden.models import Classifier, build_model
from evenstep_golden.ptq import transform
from evenstep_golden.ptq.equalize import input_ranges, output_ranges
from evenstep_golden.ptq.expect import expected_values
from evenstep_golden.ptq.graph import Graph, pictures
from evenstep_golden.ptq.transform import History, layer_weights

from .ptq_models import MODELS, SHAPES, logits, names, random_pixels, settle, trained


def test_links_end_where_values_join() -> None:
    def links(name: str) -> list[tuple[str, str]]:
        model = build_model(name, SHAPES[name], 10)
        graph = Graph(model)
        assert names(graph.links(model)) == []  # batch norms are between
        transform.fold_norms(model, graph, History())
        return names(graph.links(model))

    assert links("cnn") == [*itertools.pairwise(["conv1", "conv2", "conv3", "conv4", "last"])]
    assert links("cnv")[5:] == [("conv6", "fc1"), ("fc1", "fc2"), ("fc2", "last")]
    assert links("resnet8") == []
    depthwise = ["first.conv", "depth1.conv", "point1.conv", "depth2.conv", "point2.conv", "depth3.conv", "point3.conv"]
    assert links("ds-cnn") == [*itertools.pairwise([*depthwise, "depth4.conv", "point4.conv", "last"])]
    mobile = links("mobilenet-v2-small")
    assert mobile[:3] == [
        ("conv", "blocks.0.depth.conv"),
        ("blocks.0.depth.conv", "blocks.0.project"),
        ("blocks.1.expand.conv", "blocks.1.depth.conv"),
    ]
    assert mobile[-1] == ("head.conv", "last")
    assert not any(first.endswith("project") for first, _ in mobile)


class Twice(Classifier):
    """Calls a layer twice, which no integer network can."""

    def __init__(self) -> None:
        super().__init__((1, 2, 2), 2)
        self.flatten, self.last = Flatten(), QuantLinear(4, 4)

    def body(self, x: Any) -> Any:
        return self.last(self.last(self.flatten(x)))


def test_a_layer_in_two_places_is_refused() -> None:
    with pytest.raises(ValueError, match=r"^Module last must be called once in a pass, not again$"):
        Graph(Twice())


@MODELS
def test_folding_and_equalization_keep_the_function(name: str) -> None:
    model, pixels = trained(name, beta=2.0)
    model.double()
    before = logits(model, pixels)
    graph, history = Graph(model), History()
    count = len([module for module in model.modules() if isinstance(module, BatchNorm)])
    assert len(transform.fold_norms(model, graph, history)) == count
    assert not any(isinstance(module, BatchNorm) for module in model.modules())
    torch.testing.assert_close(logits(model, pixels), before, rtol=1e-10, atol=1e-10)
    limits = [module for module in model.modules() if isinstance(module, ReLU6)]
    assert bool(limits) == (name == "mobilenet-v2-small")
    chains = transform.equalize_layers(model, graph, history)
    assert bool(chains) == (name != "resnet8")
    assert all(len(limit.limit.unique()) > 1 for limit in limits)
    torch.testing.assert_close(logits(model, pixels), before, rtol=1e-10, atol=1e-10)
    # What is known of the values moved with them. (Training counts variances a little larger, so not exactly.)
    for place, (values,) in graph.evaluate(model, [pictures(model, pixels)]):
        if place in history.moments:
            mean, deviation = history.moments[place]
            channels = values.transpose(0, 1).flatten(1)
            assert ((channels.mean(1) - mean).abs() <= 0.2 * deviation + 1e-9).all(), place
            alive = deviation > 1e-3 * deviation.max()
            assert (channels.std(1) / deviation)[alive].median().item() == pytest.approx(1, rel=0.1), place


def test_flattened_channels_are_equalized_as_channels() -> None:
    model, _ = trained("cnv")
    graph = Graph(model)
    transform.fold_norms(model, graph, History())
    model.weighted()["fc1"].weight.data[:, 5] *= 100
    transform.equalize_layers(model, graph, History())
    layers = model.weighted()
    # The last pair of a sweep ends equal.
    torch.testing.assert_close(
        output_ranges(layer_weights(layers["fc2"])), input_ranges(layer_weights(layers["last"])), rtol=1e-5, atol=0
    )
    small = build_model("cnn", (1, 40, 40), 10)  # 3 x 3 positions a channel
    graph = Graph(small)
    transform.fold_norms(small, graph, History())
    transform.equalize_layers(small, graph, History())
    second = layer_weights(small.weighted()["last"], 128)
    assert second.weight.shape == (10, 128, 9)
    torch.testing.assert_close(
        output_ranges(layer_weights(small.weighted()["conv4"])), input_ranges(second), rtol=1e-5, atol=0
    )


class Forward(Classifier):
    """Batch norms in front of layers: of one without padding, of a flattened one, and of one with padding."""

    def __init__(self) -> None:
        super().__init__((2, 6, 6), 3)
        self.norm1, self.conv1 = BatchNorm(2), QuantConv2d(2, 4, 3)
        self.act1 = Activation(ReLU())
        self.norm2, self.conv2 = BatchNorm(4), QuantConv2d(4, 4, 3, padding=1)
        self.act2 = Activation(ReLU())
        self.norm3, self.flatten, self.last = BatchNorm(4), Flatten(), QuantLinear(64, 3)

    def body(self, x: Any) -> Any:
        x = self.act1(self.conv1(self.norm1(x)))
        x = self.act2(self.conv2(self.norm2(x)))
        return self.last(self.flatten(self.norm3(x)))


def test_batch_norms_in_front_are_folded_forward_unless_there_is_padding() -> None:
    model = Forward()
    pixels = random_pixels(model, 32)
    settle(model, pixels).double()
    before = logits(model, pixels)
    history = History()
    folded = transform.fold_norms(model, Graph(model), history)
    assert folded == [("conv1", "norm1"), ("last", "norm3")]
    torch.testing.assert_close(logits(model, pixels), before, rtol=1e-10, atol=1e-10)
    expected = expected_values(model, Graph(model), history.moments)
    (values,) = dict(Graph(model).evaluate(model, [pictures(model, pixels)]))["norm3"]
    torch.testing.assert_close(expected["flatten"].mean, values.mean((0, 2, 3)), rtol=1e-2, atol=1e-3)


@pytest.mark.parametrize("name", ["mlp-256", "cnv", "mobilenet-v2-small"])
def test_absorption_keeps_the_function_where_nothing_lies_below(name: str) -> None:
    model, pixels = trained(name, beta=4.0)
    model.double()
    graph, history = Graph(model), History()
    transform.fold_norms(model, graph, history)
    transform.equalize_layers(model, graph, history)
    # Three deviations below the mean lies the least value.
    for place, (values,) in graph.evaluate(model, [pictures(model, pixels)]):
        if place in history.moments:
            deviation = history.moments[place][1]
            history.moments[place] = values.transpose(0, 1).flatten(1).amin(1) + 3 * deviation, deviation
    before = logits(model, pixels)
    limits = [(module, module.limit.clone()) for module in model.modules() if isinstance(module, ReLU6)]
    absorbed = transform.absorb_biases(model, graph, history)
    assert absorbed
    assert "conv" not in absorbed  # of MobileNet: the depthwise layer behind it pads
    moved = [not torch.equal(module.limit, limit) for module, limit in limits]
    assert any(moved) == bool(limits)
    torch.testing.assert_close(logits(model, pixels), before, rtol=1e-9, atol=1e-9)
    if name == "mobilenet-v2-small":
        assert "conv" in transform.absorb_biases(model, graph, history, padded=True)


def test_values_are_compared_in_the_units_that_they_had() -> None:
    model, pixels = trained("cnv", beta=2.0)
    model.double()
    graph, history = Graph(model), History()
    probes = dict(graph.norms_behind(model))
    before = dict(graph.evaluate(model, [pictures(model, pixels[:2])]))
    transform.fold_norms(model, graph, history)
    transform.equalize_layers(model, graph, history)
    transform.absorb_biases(model, graph, history)
    assert history.shifts
    after = dict(graph.evaluate(model, [pictures(model, pixels[:2])]))
    first = "conv1"  # later ones differ where something lay below what was absorbed
    torch.testing.assert_close(
        history.original(first, after[probes[first]][0]), before[probes[first]][0], rtol=1e-9, atol=1e-9
    )
