"""Concatenation by layout: where channels lie, what is copied, what it costs, and what is refused."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from evenstep.compiler import Placement, Program, Result, compile_network
from evenstep.compiler.concat import plan_concats
from evenstep.compiler.layout import Layout
from evenstep.spec import (
    INPUT,
    Concat,
    Conv,
    Dense,
    Encoding,
    Geometry,
    Layer,
    MaxPool,
    MultiThreshold,
    Network,
    SumPool,
    Thresholds,
)
from evenstep.spec.banks import LineBanks
from evenstep.spec.program import LayerDescriptor, Opcode
from tests.hw.engine_model import run_images

ENGINE = Geometry(columns=3, lanes=4, convolution=True, max_weight_bits=4, max_passes=64, accumulator_bits=20)
VECTORS = ENGINE.replace(convolution=False)
SHAPE = (3, 4, 5)
ODD = Encoding("odd-level", 2)


class Maker:
    """Layers of random weights on 2-bit codes."""

    def __init__(self) -> None:
        self._rng = np.random.default_rng(3)

    def weights(self, outputs: int, *shape: int) -> np.ndarray:
        return self._rng.integers(0, 4, (outputs, *shape))

    def conv(self, name: str, inputs: int, outputs: int, *sources: str, bits: int = 2, **more: Any) -> Conv:
        codes = self.weights(outputs, inputs // more.get("groups", 1), 3, 3)
        steps = Thresholds(np.sort(self._rng.integers(-9, 10, (outputs, 2**bits - 1)), axis=1))
        more = {"padding": (1, 1, 1, 1), "padding_code": 2} | more
        return Conv(name, codes, ODD, more.pop("input_bits", 2), steps, sources, **more)

    def dense(self, name: str, inputs: int, outputs: int, *sources: str, raw: bool = False) -> Dense:
        steps = Thresholds(np.sort(self._rng.integers(-9, 10, (outputs, 3)), axis=1))
        return Dense(name, self.weights(outputs, inputs), ODD, 2, None if raw else steps, sources)


def compiled(layers: list[Layer], geometry: Geometry = ENGINE, shape: tuple[int, ...] = SHAPE) -> Program:
    """The program, whose images give the network's integers."""
    network = Network(tuple(layers), input_shape=shape)
    program = compile_network(network, geometry)
    for inputs in np.random.default_rng(4).integers(0, 2**network.input_bits, (3, network.inputs)):
        pairs = zip(program.results, run_images(program, inputs), program.boundaries(inputs), strict=True)
        for result, found, expected in pairs:
            np.testing.assert_array_equal(found, expected, err_msg=result.name)
    return program


def results(program: Program) -> dict[str, Result]:
    return {result.name: result for result in program.results}


def place(program: Program, name: str) -> Placement:
    found = results(program)[name].place
    assert isinstance(found, Placement)
    return found


def inception(make: Maker) -> list[Layer]:
    """Branches of 3, 5 and 2 channels, one of them a maximum, and what takes them together."""
    return [
        make.conv("stem", 3, 3),
        make.conv("wide", 3, 5, "stem"),
        make.conv("thin", 3, 2, "stem"),
        MaxPool("largest", (3, 3), (1, 1), ("stem",), (1, 1, 1, 1)),
        Concat("joined", ("wide", "largest", "thin")),
    ]


def test_layouts_with_gaps_hold_codes() -> None:
    layout = Layout((10, 2, 3), 2, 4, 2, runs=(5, 3, 2), skip=3)
    assert (layout.pixel_words, layout.pixel_stride, layout.stride, layout.words) == (4, 7, 42, 81)
    assert layout.lane_channels.tolist() == [0, 1, 2, 3, 4, -1, -1, -1, 5, 6, 7, -1, 8, 9, -1, -1]
    codes = np.random.default_rng(0).integers(0, 16, layout.shape)
    (words,) = layout.pack(codes)
    assert len(words) == layout.words
    np.testing.assert_array_equal(layout.unpack([words]), codes)
    # What others write between the pixels is none of its own.
    others = [word if n % 7 < 4 else 255 for n, word in enumerate(words)]
    np.testing.assert_array_equal(layout.unpack([others]), codes)
    # The same in four banks, two lines in each before the next one's.
    layout = replace(Layout((10, 19, 3), 2, 4, 2, banks=LineBanks(4, 2)), runs=(5, 3, 2), skip=3)
    codes = np.random.default_rng(1).integers(0, 16, layout.shape)
    banks = layout.pack(codes)
    assert [len(words) for words in banks] == [layout.words] * 4 == [2 * 6 * 3 * 7 - 3] * 4
    np.testing.assert_array_equal(layout.unpack(banks), codes)


def test_branches_write_into_shared_pixels() -> None:
    make = Maker()
    layers = inception(make)
    program = compiled([*layers, make.conv("after", 10, 4), make.dense("last", 80, 3, raw=True)])
    assert [layer.name for layer in program.layers] == ["stem", "wide", "thin", "largest", "after", "last"]
    whole = place(program, "joined")
    assert (whole.layout.runs, whole.layout.pixel_words, whole.layout.skip) == ((5, 3, 2), 4, 0)
    own = {name: place(program, name) for name in ("wide", "largest", "thin")}
    assert {name: (one.base - whole.base, one.layout.skip) for name, one in own.items()} == {
        "wide": (0, 2),
        "largest": (2, 3),
        "thin": (3, 3),
    }
    assert not any(result.overwritten for result in program.results)
    assert not own["wide"].meets(own["thin"]) and whole.meets(own["thin"])


def test_joining_takes_no_cycle() -> None:
    """As many cycles as the same layers take where nothing joins them."""
    joined, apart = compiled(inception(Maker())), compiled([*inception(Maker())[:2], Maker().conv("end", 5, 1)])
    cycles = {layer.name: layer.cycles.total for layer in joined.layers}
    assert joined.output.name == "joined"
    assert cycles["wide"] == {layer.name: layer.cycles.total for layer in apart.layers}["wide"]
    assert len(cycles) == 4


@pytest.mark.parametrize("lanes", [3, 4, 16])
def test_every_kind_of_layer_takes_what_is_joined(lanes: int) -> None:
    """Groups, depthwise convolutions, maxima, sums, another concatenation, and a fully connected layer."""
    make = Maker()
    geometry = ENGINE.replace(lanes=lanes)
    layers = [
        *inception(make),
        make.conv("groups", 10, 4, "joined", groups=2),
        make.conv("depthwise", 10, 10, "joined", groups=10),
        MaxPool("most", (2, 2), (1, 1), ("joined",), (1, 0, 0, 1)),
        Concat("again", ("most", "groups", "depthwise")),
        make.conv("strided", 24, 3, "again", stride=(2, 2), dilation=(1, 2)),
        SumPool("sum", (4, 5), (1, 1), ("again",)),
        Conv("point", make.weights(2, 24, 1, 1), ODD, 2, None, ("again",), stride=(4, 5)),
    ]
    mean = MultiThreshold("mean", Thresholds(np.tile([9, 20, 30], (24, 1))))
    first, strided, summed, point = layers[:9], *layers[9:]
    for end in (
        [strided, make.dense("last", 12, 2, raw=True)],
        [make.dense("last", 480, 2, raw=True)],
        [point],
        [summed, mean, make.dense("last", 24, 2, raw=True)],
    ):
        compiled([*first, *end], geometry)


def dense_block(make: Maker) -> list[Layer]:
    """Each layer takes all before it, joined anew."""
    return [
        make.conv("a", 3, 3),
        make.conv("b", 3, 2),
        Concat("ab", ("a", "b")),
        make.conv("c", 5, 3),
        Concat("abc", ("a", "b", "c")),
        make.conv("d", 8, 1),
        Concat("abcd", ("abc", "d")),
        make.conv("e", 9, 2),
    ]


def test_what_grows_is_never_copied() -> None:
    layers = dense_block(Maker())
    network = Network(tuple(layers), input_shape=SHAPE)
    (shared,) = plan_concats(network, network.types())
    assert (shared.name, shared.parts, shared.copies) == ("abcd", ("a", "b", "c", "d"), {})
    assert shared.concats == {"abcd": (0, 4), "ab": (0, 2), "abc": (0, 3)}
    program = compiled(layers)
    assert [layer.name for layer in program.layers] == ["a", "b", "c", "d", "e"]
    joined = {layer.name: [result.name for result in layer.joined] for layer in program.layers}
    assert joined == {"a": [], "b": ["ab"], "c": ["abc"], "d": ["abcd"], "e": []}
    assert (place(program, "ab").layout.runs, place(program, "ab").layout.skip) == ((3, 2), 2)


def test_shared_pixels_live_from_the_first_write_to_the_last_read() -> None:
    """In the smallest memory that will do, too."""
    for layers in (dense_block(Maker()), [*inception(Maker()), Maker().conv("after", 10, 4)]):
        needed = compiled(layers).needs["act_depth"]
        program = compiled(layers, ENGINE.replace(act_depth=needed))
        with pytest.raises(ValueError, match=r"^Activations of the network need \d+ words, 1 more than the engine has"):
            compile_network(program.network, ENGINE.replace(act_depth=needed - 1))
        assert not results(program)[program.output.name].overwritten
    hidden = {name for name, one in results(program).items() if one.overwritten}
    assert hidden == {"stem"}, "the branches and what they make lie beside each other as long as they are wanted"


def copies(program: Program) -> list[str]:
    """What has no result of its own."""
    return [layer.name for layer in program.layers if not layer.results]


def test_a_tensor_has_one_place_and_is_copied_into_others() -> None:
    """Twice in one concatenation, in two that do not hold each other, and the network's input."""
    make = Maker()
    layers = [
        make.conv("a", 3, 3),
        make.conv("b", 3, 5, "a"),
        Concat("twice", ("a", "b", "a")),
        Concat("input first", (INPUT, "a")),
        make.conv("c", 11, 2, "twice", stride=(4, 5)),
        make.conv("d", 6, 2, "input first", stride=(4, 5)),
        Concat("end", ("d", "c")),
    ]
    program = compiled(layers)
    assert copies(program) == [
        "a as part 2 of twice",
        "input as part 0 of input first",
        "a as part 1 of input first",
    ]
    descriptor = program.layers[2].descriptor
    assert (descriptor.opcode, descriptor.pixel_skip) == (Opcode.MAXIMUM, 3)
    # A word a cycle, and what a layer takes to begin and end.
    assert program.layers[2].cycles.total - program.layers[2].cycles.steps < 40
    assert program.layers[2].cycles.steps == 20


@pytest.mark.parametrize("bits", [3, 5, 8])
def test_every_digit_is_copied(bits: int) -> None:
    make = Maker()
    layers = [
        make.conv("a", 3, 6, bits=bits, input_bits=bits),
        Concat("joined", ("input", "a", "a")),
        make.conv("b", 15, 2, input_bits=bits, padding_code=2**bits - 3),
    ]
    program = compiled(layers, ENGINE.replace(output_bits=bits, lanes=5, threshold_style="search"))
    assert len(copies(program)) == 2 * -(-bits // 2)


def test_what_a_fully_connected_layer_takes_flat_is_copied() -> None:
    """Its words must lie behind each other; those of a vector do."""
    make = Maker()
    layers = [
        make.conv("a", 3, 3),
        make.conv("b", 3, 2, "a"),
        Concat("ab", ("a", "b")),
        make.dense("flat", 100, 6, "ab"),
        make.dense("one", 60, 5, "a"),
        Concat("both", ("flat", "one")),
        make.conv("c", 5, 2, "ab"),
        Concat("abc", ("c", "ab")),
        make.dense("other", 140, 1, "abc"),
        make.dense("vector", 5, 2, "one"),
        Concat("all", ("both", "other", "vector")),
        make.dense("last", 14, 3, raw=True),
    ]
    program = compiled(layers, ENGINE.replace(act_depth=1024))
    assert copies(program) == ["a as part 0 of ab", "b as part 1 of ab", "a as part 1 of abc"]
    assert place(program, "ab").layout.skip == place(program, "a").layout.skip == 0
    assert place(program, "one").layout.skip > 0


def test_parts_of_a_layer_write_into_shared_pixels() -> None:
    make = Maker()
    layers = [*inception(make), make.conv("after", 10, 13), Concat("end", ("after", "joined"))]
    program = compiled(layers, ENGINE.replace(weight_depth=300, port_bits=64, columns=1))
    parts = [one for one in program.layers[-1].descriptors if isinstance(one, LayerDescriptor)]
    assert len(parts) > 1
    assert {one.pixel_skip for one in parts} <= {5, 6, 7}


def test_vectors_are_joined_on_engines_without_convolutions() -> None:
    make = Maker()
    layers = [
        make.dense("a", 6, 5),
        make.dense("b", 6, 3, INPUT),
        make.dense("c", 5, 2, "a"),
        Concat("abc", ("b", "a", "c")),
        make.dense("last", 10, 2, raw=True),
    ]
    program = compiled(layers, VECTORS, (6,))
    assert place(program, "abc").layout.runs == (3, 5, 2)
    twice = Network((*layers[:3], Concat("abc", ("b", "a", "c", "a")), make.dense("last", 15, 2, raw=True)))
    message = (
        r"^abc joins a, which must be copied as it is the network's input or is joined more than once, and this engine "
        r"cannot copy: generate it with --convolution$"
    )
    with pytest.raises(ValueError, match=message):
        compile_network(twice, VECTORS)
    compile_network(twice, ENGINE)


def test_sums_are_not_joined() -> None:
    """Of one bit, such as codes are, for the specification cannot tell."""
    bit = Encoding("unsigned", 1)
    raw = Dense("raw", np.eye(2, dtype=int), bit, 1)
    codes = Dense("codes", np.eye(2, dtype=int), bit, 1, Thresholds([[1], [1]]), (INPUT,))
    network = Network((raw, codes, Concat("joined", ("codes", "raw"))))
    with pytest.raises(ValueError, match=r"^joined must join codes, which raw does not give: threshold it before$"):
        compile_network(network, VECTORS)
