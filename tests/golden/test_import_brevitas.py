"""Networks of Brevitas, exported by Brevitas itself: imported with no hand edits, and equal to qonnx's executor."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from evenstep.compiler import compile_network
from evenstep.qonnx import read_network, write_network
from evenstep.spec import Add, Concat, Geometry, Network, Rescale
from evenstep_golden.frontend import Imported, check_import, import_model
from evenstep_golden.frontend.clean import run_model
from tests.golden.brevitas_models import (
    SHAPE,
    VARIANTS,
    Inception,
    Residual,
    convolutional,
    export,
    perceptron,
    trained,
)
from tests.hw.engine_model import run_images


def images(count: int) -> np.ndarray:
    return np.random.default_rng(7).random((count, *SHAPE), np.float32)


#: Layers that the model has no tensor for: codes in front of a pool, where the model's pool comes first; sums of two
#: scales; means as codes.
HIDDEN = {"/1/Conv", "/Add", "/6/Gemm.codes"}


def check_equal(imported: Imported, count: int) -> None:
    """All integers of all layers but the last rescaling, on `count` images."""
    checks = check_import(imported, images(count), exact=True)
    names = {layer.name for layer in imported.network.layers if not isinstance(layer, Rescale)}
    assert names - set(checks) <= HIDDEN
    assert all(check.integers and not check.differences for check in checks.values()), checks


def check_results(imported: Imported) -> None:
    """The largest integer is that of the largest number, which it stands for."""
    inputs = images(200)
    tensors = run_model(imported.model, inputs)
    values = tensors[imported.model.graph.output[0].name]
    results = imported.network.boundaries(imported.inputs_of(tensors))[-1]
    two = np.sort(results, axis=1)[:, -2:]
    clear = two[:, 1] - two[:, 0] > 1e-4 * np.abs(results).max()
    assert clear.sum() > 100
    np.testing.assert_array_equal(values.argmax(axis=1)[clear], results.argmax(axis=1)[clear])


ENGINE = Geometry(
    columns=4,
    lanes=8,
    weight_bits=4,
    act_bits=4,
    output_bits=8,
    max_weight_bits=8,
    convolution=True,
    rescale=True,
    wide_depth=2**13,
    wide_bits=24,
    act_depth=2**12,
    program_depth=1024,
    accumulator_bits=30,
)


def check_runs(network: Network) -> None:
    """One engine takes it, and what its images compute is what the network does."""
    program = compile_network(network, ENGINE)
    for inputs in np.random.default_rng(8).integers(0, 2**network.input_bits, (2, network.inputs)):
        pairs = zip(program.results, run_images(program, inputs), program.boundaries(inputs), strict=True)
        for result, found, expected in pairs:
            np.testing.assert_array_equal(found, expected, err_msg=result.name)


@pytest.mark.parametrize("bits", [1, 2, 4, 8])
@pytest.mark.parametrize("build", [perceptron, convolutional])
def test_a_thousand_images_give_the_executors_integers(
    tmp_path: Path, build: Callable[[int], nn.Module], bits: int
) -> None:
    torch.manual_seed(bits)
    imported = import_model(export(trained(build(bits)), tmp_path / "model.onnx"))
    check_equal(imported, 1000)
    check_results(imported)
    # As the model is, sums of rounded products: only those next to a tie may differ, and next to none do.
    for check in check_import(imported, images(1000), exact=False).values():
        assert check.largest <= 1
        assert check.differences <= (2e-5 * check.integers if bits == 8 else 0)


#: With `QuantizeLinear`, Brevitas exports neither weights of +-1 nor scales of channels.
FORMS = [(name, False) for name in VARIANTS]
FORMS += [(name, True) for name in VARIANTS if "batch norms" not in name and "activations per channel" not in name]


@pytest.mark.parametrize(("name", "qdq"), FORMS)
def test_variants_give_the_executors_integers(tmp_path: Path, name: str, qdq: bool) -> None:
    torch.manual_seed(3)
    imported = import_model(export(trained(VARIANTS[name]()), tmp_path / "model.onnx", qdq=qdq))
    check_equal(imported, 100)
    write_network(imported.network, tmp_path / "network.onnx")
    assert read_network(tmp_path / "network.onnx") == imported.network
    check_runs(imported.network)


def test_the_exporter_of_dynamo_is_read_as_well(tmp_path: Path) -> None:
    torch.manual_seed(5)
    model = trained(convolutional(2))
    old = import_model(export(model, tmp_path / "old.onnx")).network
    new = import_model(export(model, tmp_path / "new.onnx", dynamo=True)).network
    pictures = np.random.default_rng(1).integers(0, 256, (20, *SHAPE))
    for one, other in zip(old.boundaries(pictures), new.boundaries(pictures), strict=True):
        np.testing.assert_array_equal(one, other)


def test_input_codes_are_those_of_the_models_quantizer(tmp_path: Path) -> None:
    torch.manual_seed(2)
    imported = import_model(export(trained(convolutional(2)), tmp_path / "model.onnx"))
    assert imported.network.input_bits == 8
    inputs = images(5)
    np.testing.assert_array_equal(imported.encode(inputs), imported.inputs_of(run_model(imported.model, inputs)))
    scale = float(imported.input.unit[0])
    expected = np.clip(np.rint(inputs / np.float32(scale)), -128, 127) + 128
    np.testing.assert_array_equal(imported.encode(inputs), expected)


@pytest.mark.parametrize("shared", [True, False])
def test_a_residual_block_is_imported(tmp_path: Path, shared: bool) -> None:
    torch.manual_seed(4)
    imported = import_model(export(trained(Residual(shared=shared)), tmp_path / "model.onnx"))
    layers = imported.network.layers
    assert any(isinstance(layer, Add) for layer in layers)
    assert sum(isinstance(layer, Rescale) and "scale" in layer.name for layer in layers) == (0 if shared else 2)
    check_equal(imported, 200)
    check_results(imported)
    check_runs(imported.network)


@pytest.mark.parametrize(
    ("shared", "bits", "qdq"), [(True, 3, False), (True, 1, False), (False, 2, False), (False, 4, True)]
)
def test_branches_that_are_joined_are_imported(tmp_path: Path, shared: bool, bits: int, qdq: bool) -> None:
    """Codes of one scale go on as they are; those of several, another quantizer makes codes of one scale of."""
    torch.manual_seed(6)
    model = trained(Inception(shared=shared, again=not shared, bits=bits))
    imported = import_model(export(model, tmp_path / "model.onnx", qdq=qdq))
    (joined,) = (layer for layer in imported.network.layers if isinstance(layer, Concat))
    assert len(joined.sources) == 3
    check_equal(imported, 200)
    check_results(imported)
    check_runs(imported.network)
    write_network(imported.network, tmp_path / "network.onnx")
    assert read_network(tmp_path / "network.onnx") == imported.network


def test_branches_of_several_scales_are_refused(tmp_path: Path) -> None:
    torch.manual_seed(6)
    path = export(trained(Inception(shared=False, again=False)), tmp_path / "model.onnx")
    message = (
        r"node '/after/after.0/Conv': scale and zero point of its input, of '/Concat', must be one for all channels, "
        r"unless it is depthwise: quantize it, or all that it joins, with one quantizer$"
    )
    with pytest.raises(ValueError, match=message):
        import_model(path)
