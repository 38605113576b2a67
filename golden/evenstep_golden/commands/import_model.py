"""``evenstep import``: a model from elsewhere as a network file, and whether it computes the same integers."""

import zipfile
from pathlib import Path

import click
import numpy as np

from evenstep.files import check_outputs
from evenstep.qonnx import write_network
from evenstep_golden.frontend import Imported, check_import, import_model, import_network, is_own_file

__all__ = ["import_command"]

_FILE = click.Path(exists=True, dir_okay=False, path_type=Path)


def _load_inputs(path: Path, imported: Imported) -> np.ndarray:
    try:
        inputs = np.load(path, mmap_mode="r", allow_pickle=False)  # what a damaged header says is not allocated
    except (ValueError, EOFError, zipfile.BadZipFile):
        raise ValueError(f"{path}: must be an array in .npy format, which it is not") from None
    dimensions = imported.model.graph.input[0].type.tensor_type.shape.dim
    shape = tuple(dimension.dim_value for dimension in dimensions)[1:]
    if not isinstance(inputs, np.ndarray) or inputs.ndim < 2 or inputs.shape[1:] != shape or not len(inputs):
        given = inputs.shape if isinstance(inputs, np.ndarray) else "several arrays"
        raise ValueError(f"{path}: must have shape (positions, {', '.join(map(str, shape))}), not {given}")
    if inputs.dtype.kind not in "iuf":
        raise ValueError(f"{path}: must hold integers or floats, not {inputs.dtype}")
    with np.errstate(over="ignore"):  # what float32 does not hold is refused, not warned of
        numbers = inputs.astype(np.float32)
    wrong = inputs[~np.isfinite(numbers)]
    if wrong.size:
        raise ValueError(f"{path}: must hold finite numbers of float32, not {wrong.flat[0]}")
    return numbers


def _check(imported: Imported, inputs: np.ndarray) -> None:
    """Print how many integers differ in qonnx's executor, and raise where one may not."""
    exact = check_import(imported, inputs, exact=True)
    rounded = check_import(imported, inputs, exact=False)
    for name, check in exact.items():
        click.echo(f"{name}: {check.differences} of {check.integers} integers differ", nl=name not in rounded)
        if name in rounded:
            click.echo(f" ({rounded[name].differences} where the executor adds rounded products)")
    wrong = [name for name, check in exact.items() if check.differences]
    if wrong:
        raise click.ClickException(f"the qonnx executor differs, first after {wrong[0]}")


@click.command("import")
@click.argument("model", type=_FILE)
@click.option("--output", type=click.Path(dir_okay=False, path_type=Path), required=True, help="Network file to write.")
@click.option("--name", help="Name of the network.  [default: that of the file]")
@click.option("--check", "inputs", type=_FILE, help="Compare with the qonnx executor on these inputs, a .npy file.")
def import_command(model: Path, output: Path, name: str | None, inputs: Path | None) -> None:
    """Turn MODEL, an ONNX file, into a network file.

    MODEL is QONNX as Brevitas or QKeras export it or as FINN streamlines it, ONNX with QuantizeLinear and
    DequantizeLinear nodes, or a network file. What cannot be lowered to integers is refused with the name of its node.
    """
    check_outputs({"Network file": output}, {"model": model})
    scales: tuple[str, ...] = ()
    if is_own_file(model):
        if inputs is not None:
            raise click.UsageError("--check is for models from elsewhere: evenstep evaluate checks network files")
        network = import_network(model, name=name)
    else:
        imported = import_model(model, name=name)
        network = imported.network
        if inputs is not None:
            numbers = _load_inputs(inputs, imported)
            try:
                _check(imported, numbers)
            except ValueError as error:
                raise ValueError(f"{model}: {error}") from error
        unit, zero = float(imported.input.unit[0]), float(imported.input.zero[0])
        scales = (
            f"input: codes of {network.input_bits} bits, each {unit:g} * (code - {zero:g}) in the model",
            f"results: integers, each step worth {imported.scale:g}",
        )
    write_network(network, output)
    for line in scales:
        click.echo(line)
    click.echo(f"{network.name}: {len(network.layers)} layers, {network.macs} multiply-accumulates: {output}")
