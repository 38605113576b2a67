"""Program files: a host that has nothing else runs the network. And what limits a layer."""

import json
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from evenstep.compiler import compile_network
from evenstep.compiler.command import compile_command
from evenstep.generate import generate_block
from evenstep.host import EngineClient
from evenstep.link.protocol import Command, Region
from evenstep.qonnx import write_network
from evenstep.spec import Conv, Dense, Encoding, Geometry, MaxPool, Network, Thresholds
from evenstep_sim.virtual import AmaranthTransport

GEOMETRY = Geometry(
    rows=2, columns=3, lanes=4, convolution=True, act_depth=256, weight_depth=256, threshold_depth=16, max_passes=16
)


def network() -> Network:
    rng = np.random.default_rng(5)
    thresholds = Thresholds(np.sort(rng.integers(-9, 10, (5, 3)), axis=1))
    conv = Conv("conv", rng.integers(0, 4, (5, 3, 2, 2)), Encoding("odd-level", 2), 4, thresholds, padding=(1, 0, 0, 1))
    last = Dense("last", rng.integers(0, 4, (4, 20)), Encoding("odd-level", 2), 2)
    return Network((conv, MaxPool("pool", (2, 2), (2, 2)), last), ("a", "b", "c", "d"), "tiny", (3, 4, 4))


def words_of(codes: np.ndarray, place: dict, lanes: int, bits: int) -> list[int]:
    """Host words of codes (channels, height, width) as a program file describes their place."""
    words = []
    for digit in range(place["digits"]):
        for pixel in codes.reshape(len(codes), -1).T:
            for word in range(place["pixel_words"]):
                part = pixel[word * lanes : (word + 1) * lanes]
                words.append(sum(int(code >> digit * bits & 2**bits - 1) << bits * n for n, code in enumerate(part)))
    return words


@pytest.mark.parametrize("changes", [{}, {"counter": "ice40", "encoding": "odd-level"}], ids=["plain", "recoded"])
def test_a_host_of_ones_own_runs_it(changes: dict, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By the file alone: load, write inputs, run, read codes and results."""
    write_network(network(), tmp_path / "net.onnx")
    geometry = GEOMETRY.replace(**changes)
    manifest = generate_block("engine", geometry, tmp_path)
    arguments = [str(tmp_path / "net.onnx"), str(tmp_path / f"{manifest.module}.json")]
    # Here, not beside the network: the one that comes with the package lies among its files.
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    result = CliRunner().invoke(compile_command, arguments)
    assert result.exit_code == 0, result.output
    file = json.loads(Path("net.program.json").read_text())
    assert f"{file['cycles']:,} cycles a run, exactly" in result.output
    assert file["engine"] == geometry.hash.hex()
    pictures = np.random.default_rng(6).integers(0, 16, (2, 3, 4, 4))
    with EngineClient(AmaranthTransport(geometry)) as client:
        for memory in file["memories"].values():
            banks = file["banks"] if memory["region"] == Region.ACTIVATIONS else 1
            for bank in range(banks):
                client.write(Region(memory["region"]), bank * file["bank_words"], memory["words"])
        for bank, picture in enumerate(pictures):
            words = words_of(picture, file["input"], GEOMETRY.lanes, GEOMETRY.act_bits)
            client.write(Region.ACTIVATIONS, bank * file["bank_words"] + file["input"]["word"], words)
        client._exchange.ask(Command.RUN, bytes(4))
        while (status := client.status()).busy:
            pass
        assert status.cycles == file["cycles"] == sum(layer["cycles"] for layer in file["layers"]) + 2
        conv, pool, last = (layer["results"][-1] for layer in file["layers"])
        for bank, picture in enumerate(pictures):
            expected = network().boundaries(picture)
            for place, codes in zip((conv, pool), expected, strict=False):
                assert (place["shape"], place["overwritten"]) == (list(codes.shape), False)
                wanted = words_of(codes, place, GEOMETRY.lanes, GEOMETRY.act_bits)
                first = bank * file["bank_words"] + place["word"]
                assert client.read(Region.ACTIVATIONS, first, len(wanted)) == wanted
            found = client.read(Region.RESULTS, bank * file["result_bank_words"] + last["result"], 4)
            excess = last.get("excess", [0] * 4)
            assert any(excess) == bool(changes)
            wanted = [int(value) + more for value, more in zip(expected[-1], excess, strict=True)]
            assert found == [value & 2 ** file["result_bits"] - 1 for value in wanted]


def test_bad_input(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    write_network(network(), tmp_path / "net.onnx")
    manifest = generate_block("engine", GEOMETRY.replace(convolution=False), tmp_path)
    arguments = [str(tmp_path / "net.onnx"), str(tmp_path / f"{manifest.module}.json")]
    with pytest.raises(ValueError, match=r"^conv must be a fully connected layer .*: generate it with --convolution$"):
        CliRunner().invoke(compile_command, arguments, catch_exceptions=False)
    assert not (tmp_path / "net.program.json").exists()


def dense(inputs: int, outputs: int) -> Network:
    return Network((Dense("last", np.ones((outputs, inputs), np.int64), Encoding("unsigned", 1), 2),))


@pytest.mark.parametrize(
    ("inputs", "outputs", "limit"),
    [(4096, 8, "array"), (16, 64, "drain"), (64, 8, "start"), (2048, 3, "columns"), (4096 + 1, 8, "array")],
)
def test_what_limits_a_layer(inputs: int, outputs: int, limit: str) -> None:
    (layer,) = compile_network(dense(inputs, outputs), Geometry(act_depth=2048)).layers
    assert layer.cycles.limit == limit


def test_what_limits_layers_on_pictures() -> None:
    conv, pool, _ = compile_network(network(), GEOMETRY).layers
    assert pool.cycles.limit == "maximum"
    assert conv.cycles.limit in ("lanes", "columns", "start")
