"""`evenstep compare`: it names the layer, channel and position at which something was broken, and exits with 1."""

import dataclasses
import re
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner, Result

from evenstep.compiler import compile_network
from evenstep.generate import generate_block
from evenstep.qonnx import read_network, write_network
from evenstep.spec import Concat, Conv, Dense, Encoding, Geometry, MaxPool, Network, Thresholds
from evenstep_golden.reference import Mismatch
from evenstep_golden.sample import checkpoint_path, network_path, sample_images
from evenstep_sim.commands.compare import compare
from evenstep_sim.compare import sides
from evenstep_sim.compare.differences import compare_pairs, first_difference, values_at
from evenstep_sim.compare.sides import Side
from evenstep_sim.compare.window import drain_window

_GEOMETRY = Geometry(rows=2, columns=2, lanes=4, accumulator_bits=12, program_depth=64, weight_depth=64).replace(
    act_depth=32, result_depth=16, threshold_depth=32
)
_SIZES = (12, 8, 6, 3)


@pytest.fixture(scope="module")
def network() -> Network:
    rng = np.random.default_rng(3)
    layers = []
    for number in range(3):
        codes = rng.integers(0, 4, (_SIZES[number + 1], _SIZES[number]))
        layer = Dense(f"fc{number + 1}", codes, Encoding("twos-complement", 2), 2)
        middle = np.median(layer.sums(rng.integers(0, 4, (200, layer.inputs))), axis=0).astype(np.int64)
        thresholds = Thresholds(middle[:, None] + np.array([-3, 0, 3]), np.zeros(layer.outputs, bool))
        layers.append(dataclasses.replace(layer, thresholds=thresholds if number < 2 else None))
    return Network(tuple(layers), name="small")


@pytest.fixture
def files(network: Network, tmp_path: Path) -> Path:
    """A folder with the network, `net.onnx`, and an input for it, `input.npy`."""
    write_network(network, tmp_path / "net.onnx")
    np.save(tmp_path / "input.npy", _input(network))
    return tmp_path


def _input(network: Network) -> np.ndarray:
    return np.random.default_rng(5).integers(0, 4, network.inputs)


def _compare(folder: Path, *arguments: str, network: str = "net.onnx") -> Result:
    output = ["--output", str(folder / "out")]
    inputs = ["--input", str(folder / "input.npy")] if network == "net.onnx" else []
    return CliRunner().invoke(compare, [str(folder / network), *inputs, *output, *arguments])


def _with_threshold(network: Network, layer: int, channel: int, inputs: np.ndarray) -> tuple[Network, int, int]:
    """A copy with one threshold moved, so that the code of a channel is another; that code before and after."""
    one = network.layers[layer]
    assert isinstance(one, Dense) and one.thresholds is not None
    before = int(network.boundaries(inputs)[layer][channel])
    source = inputs if layer == 0 else network.boundaries(inputs)[layer - 1]
    value = int(one.sums(source[None])[0, channel])
    values = one.thresholds.values.copy()
    # All thresholds above the value, or all at or below it.
    values[channel] = value + 1 + np.arange(values.shape[1]) if before else value - np.arange(values.shape[1])[::-1]
    changed = dataclasses.replace(one, thresholds=Thresholds(values, one.thresholds.flips))
    layers = (*network.layers[:layer], changed, *network.layers[layer + 1 :])
    copy = dataclasses.replace(network, layers=layers)
    after = int(copy.boundaries(inputs)[layer][channel])
    assert after != before
    return copy, before, after


def test_broken_copy_of_a_network_is_named(network: Network, files: Path) -> None:
    copy, before, after = _with_threshold(network, 1, 4, _input(network))
    write_network(copy, files / "copy.onnx")
    result = _compare(files, "--no-engine", "--with", str(files / "copy.onnx"))
    assert result.exit_code == 1
    assert (
        f"First difference: layer fc2, channel 4, position 0: reference {before}, copy.onnx {after}, qonnx {before}"
        in (" ".join(result.output.split()))
    )
    assert re.search(r"fc1 +│ +equal │ +equal │ +equal │", result.output)
    assert re.search(r"fc2 +│ +1 differ │ +equal │ +1 differ │", result.output)


def test_torch_of_another_network_is_named(tmp_path: Path) -> None:
    """The shipped network with a threshold moved, beside the checkpoint that it was not lowered from."""
    pixels = sample_images().flat[7].astype(np.int64)
    copy, before, after = _with_threshold(read_network(network_path()), 0, 200, pixels)
    write_network(copy, tmp_path / "broken.onnx")
    arguments = ["--no-engine", "--no-qonnx", "--image", "7", "--checkpoint", str(checkpoint_path())]
    result = _compare(tmp_path, *arguments, network="broken.onnx")
    assert result.exit_code == 1
    assert f"First difference: layer fc1, channel 200, position 0: reference {after}, torch {before}" in " ".join(
        result.output.split()
    )


def _flip_sign(verilog: str, channel: int, row: int, geometry: Geometry) -> str:
    """Verilog in whose threshold unit the sums of one channel and row have the wrong sign.

    The unit keeps what it compares in `held`: channel, then a value for each row.
    """
    channel_bits = (geometry.threshold_depth - 1).bit_length()
    sign = channel_bits + (row + 1) * geometry.result_bits - 1
    pattern = re.compile(r"(module \\\S+\.threshold .*?\n)(    held <= )(\\\$\d+ );", re.DOTALL)
    width = channel_bits + geometry.rows * geometry.result_bits + 1
    broken, count = pattern.subn(
        rf"\1\2\3 ^ ((\3 [{channel_bits - 1}:0] == {channel}) ? {width}'d1 << {sign} : {width}'d0);", verilog
    )
    assert count == 1, "The threshold unit must keep what it compares in held"
    return broken


def test_broken_engine_is_named_and_its_waveform_left(network: Network, files: Path) -> None:
    inputs = _input(network)
    manifest = generate_block("engine", _GEOMETRY, files / "engine")
    path = files / "engine" / f"{manifest.module}.json"
    # Of the second layer, whose channels come behind those of the first: one whose wrong sign shows.
    first, second, *_ = network.layers
    assert isinstance(first, Dense) and isinstance(second, Dense) and second.thresholds is not None
    sums, codes = second.sums(network.boundaries(inputs)[0][None])[0], network.boundaries(inputs)[1]
    wrong = np.where(sums >= 0, 0, 3)
    channel = int(np.flatnonzero(codes != wrong)[-1])
    verilog = (files / "engine" / manifest.verilog).read_text()
    broken = _flip_sign(verilog, first.outputs + channel, 1, _GEOMETRY)
    (files / "engine" / manifest.verilog).write_text(broken)

    result = _compare(files, "--manifest", str(path), "--window", "40", "--no-qonnx")
    output = " ".join(result.output.split())
    assert result.exit_code == 1, result.output
    assert "evenstep_engine.v was changed since it was generated" in output
    where = f"layer fc2, channel {channel}, position 1"
    assert f"First difference: {where}: reference {codes[channel]}, engine {wrong[channel]}" in output
    assert re.search(r"fc1 +│ +equal │", result.output) and re.search(r"fc2 +│ +1 differ │", result.output)

    waveform = (files / "out" / "fc2.vcd").read_text()
    program = compile_network(network, _GEOMETRY)
    begin, end = drain_window(program, Mismatch("fc2", channel, 0, 0, 0), 40)
    assert f"waveform of cycles {begin} to {end} of the run" in output
    times = [int(line[1:]) for line in waveform.splitlines() if line.startswith("#")]
    assert (times[0], times[-1]) == (10 * begin, 10 * end + 5)
    assert " threshold " in waveform and " drain " in waveform
    # The broken channel passes the threshold unit within the window.
    seen = _values(waveform, "held", "threshold")
    channel_bits = (_GEOMETRY.threshold_depth - 1).bit_length()
    assert first.outputs + channel in {value % 2**channel_bits for value in seen}


def test_equal_engines_exit_with_0(network: Network, files: Path) -> None:
    result = _compare(files, "--no-engine")
    assert result.exit_code == 0, result.output
    assert result.output.splitlines()[-1] == "No difference in 17 integers after 3 layers of small"


def test_first_difference_of_pictures_copies_and_hidden_layers(network: Network) -> None:
    zeros = {"fc1": np.zeros((1, 2, 3, 4), int), "fc2": np.zeros((1, 6), int), "fc3": np.zeros((1, 3), int)}
    one = Side("one", zeros)
    late = Side("late", {**zeros, "fc3": np.array([[0, 0, 5]])})
    picture = np.zeros((2, 2, 3, 4), int)
    picture[1, 1, 2, 3] = 7
    early = Side("early", {"fc1": picture, "fc3": np.zeros((2, 3), int)})
    pairs = compare_pairs(network, [one, late, early])
    assert [(pair.one, pair.other) for pair in pairs] == [("one", "late"), ("one", "early"), ("late", "early")]
    assert [pair.differing for pair in pairs] == [
        {"fc1": 0, "fc2": 0, "fc3": 1},
        {"fc1": 1, "fc2": None, "fc3": 0},
        {"fc1": 1, "fc2": None, "fc3": 2},
    ]
    first = first_difference(network, pairs)
    assert first is not None
    assert (first.layer, first.position, first.channel, first.pixel) == ("fc1", 1, 1, (2, 3))
    assert values_at(first, [one, late, early]) == {"one": 0, "late": 0, "early": 7}
    assert pairs[0].first is not None and values_at(pairs[0].first, [one, late, early]) == {
        "one": 0,
        "late": 5,
        "early": 0,
    }
    with pytest.raises(
        ValueError, match=r"\AIntegers of fc1 must have the same shape everywhere, not \(1, 2, 3, 4\) and"
    ):
        compare_pairs(network, [one, Side("other", {**zeros, "fc1": np.zeros((1, 2), int)})])


def test_window_is_about_the_tile(network: Network) -> None:
    program = compile_network(network, _GEOMETRY)
    first, second, _ = (layer.cycles.total for layer in program.layers)
    # Three tiles of two channels.
    assert drain_window(program, Mismatch("fc2", 2, 0, 0, 0), 10) == (
        first + second * 2 // 3 - 5,
        first + second * 2 // 3 + 4,
    )
    assert drain_window(program, Mismatch("fc1", 0, 0, 0, 0), 10**5) == (1, program.cycles)
    assert drain_window(program, Mismatch("fc3", 2, 0, 0, 0), 30) == (program.cycles - 29, program.cycles)
    with pytest.raises(ValueError, match=r"\ALayer must be one of the program's, not 'fc9'\Z"):
        drain_window(program, Mismatch("fc9", 0, 0, 0, 0), 10)


def test_what_is_not_installed_is_named(network: Network, files: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Missing:
        def load(self) -> None:
            raise ModuleNotFoundError("No module", name="somewhere")

    monkeypatch.setattr(sides, "entry_points", lambda **_: [Missing()])
    result = _compare(files, "--no-engine", "--with", str(files / "net.onnx"))
    assert result.exit_code == 0
    assert "qonnx needs somewhere, which is not installed: run pip install qonnx" in " ".join(result.output.split())
    result = _compare(files, "--no-engine")
    assert result.exit_code == 1 and result.output.endswith(
        "Error: Nothing is left to compare the reference with: give one of the options for it\n"
    )
    result = _compare(files, "--no-engine", "--checkpoint", str(checkpoint_path()))
    assert (result.exit_code, result.output) == (
        1,
        "Error: torch needs somewhere, which is not installed: run pip install 'evenstep[golden]'\n",
    )


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (np.zeros(11, int), r"must hold the 12 input codes of small, not 11"),
        (np.zeros(12), r"must hold one array of integers, not float64"),
        (np.full(12, 4), r"must hold codes from 0 to 3, not 4 to 4"),
        (np.array([None] * 12), r"is no \.npy file: Array can't be memory-mapped"),
        (np.zeros(10**4, int), r"must be at most 4192 bytes long, not 80128"),
    ],
)
def test_bad_inputs(values: np.ndarray, message: str, files: Path) -> None:
    np.save(files / "input.npy", values)
    result = _compare(files, "--no-engine")
    assert isinstance(result.exception, ValueError) and re.search(message, str(result.exception))


def test_inputs_that_lie_about_their_size_are_not_allocated(files: Path) -> None:
    header = b"{'descr': '<i8', 'fortran_order': False, 'shape': (1000000000000,), }"
    start = b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header
    for content, message in ((start, "is no .npy file: mmap length"), (b"PK\x03\x04 cut off", "is no .npy file: File")):
        (files / "input.npy").write_bytes(content)
        result = _compare(files, "--no-engine")
        assert isinstance(result.exception, ValueError) and message in str(result.exception)


def test_refusals(network: Network, files: Path) -> None:
    write_network(
        dataclasses.replace(network, layers=(dataclasses.replace(network.layers[0], name="one"), *network.layers[1:])),
        files / "other.onnx",
    )
    for arguments, message in (
        (["--image", "3"], "--image and --input exclude each other"),
        (["--manifest", str(files / "net.onnx"), "--rows", "2"], "--rows excludes --manifest, which tells what"),
        (["--manifest", str(files / "net.onnx"), "--no-engine"], "--manifest excludes --no-engine"),
        (["--no-engine", "--rows", "4"], "--rows excludes --no-engine: it is the engine's"),
        (["--no-engine", "--window", "9"], "--window excludes --no-engine: it is the engine's"),
        (["--weight-depth", "2"], r"generate it with --weight-depth \d+; or leave the engine out with --no-engine\Z"),
        (
            ["--no-engine", "--with", str(files / "other.onnx")],
            "must have inputs and layers of the same names as small",
        ),
    ):
        result = _compare(files, *arguments)
        assert result.exit_code in (1, 2)
        assert re.search(message, result.output if result.exit_code == 2 else str(result.exception)), result.output
    result = CliRunner().invoke(compare, [str(files / "net.onnx"), "--no-engine"])
    assert re.search("small takes 12 codes of 2 bits, not the 784 pixels", str(result.exception))


def _values(waveform: str, signal: str, scope: str) -> set[int]:
    """Values that a signal of a module takes in a VCD file."""
    inside, code = [], ""
    for line in waveform.splitlines():
        words = line.split()
        match words[:1]:
            case ["$scope"]:
                inside.append(words[2])
            case ["$upscope"]:
                inside.pop()
            case ["$var"] if inside[-1] == scope and words[4] == signal:
                code = words[3]
    assert code, f"{scope}.{signal} must be in the waveform"
    return {int(bits, 2) for bits in re.findall(rf"^b([01]+) {re.escape(code)}$", waveform, re.MULTILINE)}


def test_window_of_a_pixel() -> None:
    """Of a convolution, the tile is that of the pixel's position; of a maximum, that of the channel's word."""
    rng = np.random.default_rng(1)
    thresholds = Thresholds(np.sort(rng.integers(-9, 9, (5, 3)), axis=1))
    conv = Conv("conv", rng.integers(0, 4, (5, 3, 2, 2)), Encoding("odd-level", 2), 2, thresholds)
    last = Dense("last", rng.integers(0, 4, (3, 20)), Encoding("odd-level", 2), 2)
    network = Network((conv, MaxPool("pool", (2, 2), (2, 2)), last), input_shape=(3, 5, 5))
    program = compile_network(network, _GEOMETRY.replace(convolution=True, act_depth=128, program_depth=128))
    first, second, _ = (layer.cycles.total for layer in program.layers)
    # Positions of 4 x 4, of three tiles each: the 7th position's second tile is the 20th of 48.
    middle = first * 20 // 48
    assert drain_window(program, Mismatch("conv", 3, 0, 0, 0, (1, 2)), 10) == (middle - 5, middle + 4)
    middle = first + second * 8 // 8
    assert drain_window(program, Mismatch("pool", 4, 0, 0, 0, (1, 1)), 10) == (middle - 5, middle + 4)


def test_window_of_what_is_joined() -> None:
    """Of a maximum, the tile is that of the word in which a channel lies; of a concatenation, the last one written."""
    steps = Thresholds(np.zeros((2, 3), int))
    conv = Conv("conv", np.zeros((2, 3, 1, 1), int), Encoding("odd-level", 2), 2, steps)
    joined = Concat("joined", ("conv", "conv"))
    last = Dense("last", np.zeros((1, 100), int), Encoding("odd-level", 2), 2)
    layers = (conv, joined, MaxPool("pool", (1, 1), (1, 1)), last)
    program = compile_network(
        Network(layers, input_shape=(3, 5, 5)), _GEOMETRY.replace(convolution=True, act_depth=512, program_depth=128)
    )
    before = np.cumsum([layer.cycles.total for layer in program.layers])
    # Positions of 5 x 5, of a copied word; then of two words, of which the second holds channels 2 and 3.
    middle = before[0] + (before[1] - before[0]) * 8 // 25
    assert drain_window(program, Mismatch("joined", 0, 0, 0, 0, (1, 2)), 10) == (middle - 5, middle + 4)
    middle = before[1] + (before[2] - before[1]) * 16 // 50
    assert drain_window(program, Mismatch("pool", 2, 0, 0, 0, (1, 2)), 10) == (middle - 5, middle + 4)
