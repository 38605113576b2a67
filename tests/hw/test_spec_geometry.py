"""Geometry: what it refuses, and what follows from it."""

import json

import pytest

from evenstep.spec import PRESETS, Geometry


@pytest.mark.parametrize(
    ("values", "error", "message"),
    [
        ({"rows": 0}, ValueError, r"^Rows must be an integer from 1 to 64, not 0$"),
        ({"columns": 257}, ValueError, r"^Columns must be an integer from 1 to 256, not 257$"),
        ({"lanes": 0}, ValueError, r"^Lanes must be an integer from 1 to 1024, not 0$"),
        ({"weight_bits": 0}, ValueError, r"^Weight bits must be an integer from 1 to 8, not 0$"),
        ({"weight_bits": 9}, ValueError, r"^Weight bits must be an integer from 1 to 8, not 9$"),
        ({"weight_bits": "two"}, TypeError, r"^Weight bits must be an integer from 1 to 8, not 'two'$"),
        ({"act_bits": 9}, ValueError, r"^Activation bits must be an integer from 1 to 8, not 9$"),
        ({"act_bits": None}, TypeError, r"^Activation bits must be an integer from 1 to 8, not None$"),
        ({"act_bits": True}, TypeError, r"^Activation bits must be an integer from 1 to 8, not True$"),
        ({"output_bits": 0}, ValueError, r"^Output bits must be an integer from 1 to 8, not 0$"),
        ({"weight_bits": 4, "max_weight_bits": 3}, ValueError, r"^Maximum weight bits must be .* from 4 to 16, not 3$"),
        ({"accumulator_bits": 32}, ValueError, r"^Accumulator bits must be an integer from 4 to 31, not 32$"),
        ({"accumulator_bits": 16.0}, TypeError, r"^Accumulator bits must be an integer from 4 to 31, not 16\.0$"),
        (
            {"threshold_style": "tree"},
            ValueError,
            r"^Threshold style must be one of bank, search, serial, requantize, not 'tree'$",
        ),
        ({"counter": "magic"}, ValueError, r"^Counter must be one of .*, not 'magic'$"),
        (
            {"counter": "ecp5", "counter_registers": 17},
            ValueError,
            r"^Counter registers must be an integer from 0 to 16, not 17$",
        ),
        *[
            (
                {"counter_registers": 2, **others},
                ValueError,
                r"^Counter registers must be 0 but with counter 'ecp5' and no breakpoints, not 2: others have one$",
            )
            for others in ({"counter": "ice40"}, {"counter": "ecp5", "weight_bits": 4, "breakpoints": 1})
        ],
        ({"act_depth": 1}, ValueError, r"^Activation depth must be an integer from 2 to 1048576, not 1$"),
        ({"max_passes": 257}, ValueError, r"^Maximum passes must be an integer from 1 to 256, not 257$"),
        ({"breakpoints": 4}, ValueError, r"^Breakpoints must be an integer from 0 to 3, not 4$"),
        ({"breakpoints": "one"}, TypeError, r"^Breakpoints must be an integer from 0 to 3, not 'one'$"),
        ({"piecewise": "tables"}, ValueError, r"^Piecewise style must be one of sums, decoded, not 'tables'$"),
        (
            {"weight_bits": 1, "breakpoints": 1},
            ValueError,
            r"^Weight bits must be at least 2 for piecewise .*, not 1: ",
        ),
        (
            {"weight_bits": 3, "breakpoints": 3, "piecewise": "decoded"},
            ValueError,
            r"^Weight bits must be at least 4 to decode 3 breakpoints, not 3$",
        ),
        (
            {"breakpoints": 1, "encoding": "symmetric"},
            ValueError,
            r"^Encoding of an engine with breakpoints must be 'any', not 'symmetric'$",
        ),
        ({"neighbours": 1}, TypeError, r"^Neighbours must be a boolean, not 1$"),
        (
            {"convolution": True, "rescale": True, "wide_depth": 16, "threshold_style": "serial"},
            ValueError,
            r"^Threshold style of an engine with wide numbers must be 'bank', 'search' or 'requantize', not 'serial'",
        ),
        ({"rows": 2, "neighbours": True}, ValueError, r"^Engines whose rows are neighbours must have --convolution"),
        (
            {"rows": 3, "convolution": True, "neighbours": True},
            ValueError,
            r"^Rows that are neighbours must be 2, 4, 8 or 16, not 3$",
        ),
        ({"port_bits": 33}, ValueError, r"^Port bits other than 0 must be a power of two from 32 to 1024, not 33$"),
        ({"rescale": 1}, TypeError, r"^Rescale must be a boolean, not 1$"),
        ({"rescale": None}, TypeError, r"^Rescale must be a boolean, not None$"),
        ({"constant_depth": 1}, ValueError, r"^Constant depth must be an integer from 2 to 65536, not 1$"),
        ({"constant_depth": 2**16 + 1}, ValueError, r"^Constant depth must be .* from 2 to 65536, not 65537$"),
        (
            {"lanes": 2, "act_bits": 1, "output_bits": 4},
            ValueError,
            r"^Lanes must be at least the 4 digits of an output code, not 2: ",
        ),
    ],
)
def test_geometries_that_are_none_are_refused(values: dict, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        Geometry(**values)


@pytest.mark.parametrize("name", PRESETS)
def test_presets_survive_json(name: str) -> None:
    geometry = PRESETS[name]
    again = Geometry.from_dict(json.loads(json.dumps(geometry.to_dict())))
    assert again == geometry
    assert again.hash == geometry.hash


def test_every_parameter_is_in_the_hash() -> None:
    geometry = Geometry(max_weight_bits=4, convolution=True, rescale=True, wide_depth=64)
    others = {
        "threshold_style": "search",
        "encoding": "odd-level",
        "piecewise": "decoded",
        "counter": "ecp5",
        "port_bits": 64,
    }
    apart = ("convolution", "neighbours", "rescale", "counter_registers")
    names = [name for name in geometry.to_dict() if name not in apart]
    changes = [{name: others[name] if name in others else getattr(geometry, name) + 1} for name in names]
    changed = [geometry.replace(**change) for change in changes]
    plain = geometry.replace(wide_depth=0)
    changed += [plain, plain.replace(convolution=False), plain.replace(rescale=False)]
    changed += [plain.replace(rows=2, neighbours=neighbours) for neighbours in (False, True)]
    changed += [geometry.replace(counter="ecp5", counter_registers=most) for most in (1, 2)]
    hashes = {one.hash for one in changed}
    assert len(hashes) == len(changed)
    assert geometry.hash not in hashes
    assert len(geometry.hash) == 16


@pytest.mark.parametrize("values", [{}, {**Geometry().to_dict(), "more": 1}, [], "text"])
def test_other_dictionaries_are_refused(values: object) -> None:
    with pytest.raises(ValueError, match=r"^Geometry must name exactly its own parameters; missing or unknown: "):
        Geometry.from_dict(values)


@pytest.mark.parametrize(
    ("weight_bits", "max_weight_bits", "act_bits", "step"), [(2, 2, 2, 2), (2, 4, 2, 2), (3, 3, 2, 2), (3, 6, 2, 1)]
)
def test_digit_step(weight_bits: int, max_weight_bits: int, act_bits: int, step: int) -> None:
    geometry = Geometry(weight_bits=weight_bits, max_weight_bits=max_weight_bits, act_bits=act_bits)
    assert geometry.digit_step == step


@pytest.mark.parametrize(
    ("changes", "numbers"),
    [
        # combines, words of constants, bits of a lane, of zero points, of results
        ({}, (False, 0, 4, 4, 23)),
        ({"rescale": True}, (True, 3, 4, 4, 32)),
        ({"breakpoints": 1}, (True, 3, 5, 4, 32)),
        ({"breakpoints": 2, "rescale": True}, (True, 8, 6, 4, 32)),
        ({"breakpoints": 3, "rescale": True}, (True, 10, 6, 4, 32)),
        # 15 of a plain code and twice its offset of 24, then 8 bits of offset 120.
        ({"breakpoints": 1, "piecewise": "decoded"}, (False, 0, 5, 6, 23)),
        ({"breakpoints": 3, "piecewise": "decoded"}, (False, 0, 6, 8, 23)),
        (
            {"breakpoints": 1, "piecewise": "decoded", "convolution": True, "rescale": True, "counter": "ecp5"},
            (True, 3, 5, 6, 32),
        ),
        # 255 and twice 24 for each of two digits.
        ({"breakpoints": 1, "piecewise": "decoded", "max_weight_bits": 8}, (False, 0, 5, 11, 23)),
    ],
)
def test_widths_with_constants(changes: dict, numbers: tuple) -> None:
    g = Geometry(weight_bits=4).replace(**changes)
    assert (g.combines, g.constant_words, g.lane.bits, g.zero_bits, g.result_bits) == numbers
    assert g.sum_bits == 23
    assert g.lane.zero < 2**g.zero_bits
    assert g.weight_word_bits == g.columns * g.lanes * g.lane.bits
    constants = {"constants": g.constant_depth * 32 * g.constant_words} if g.combines else {}
    assert g.memory_bits == {
        "program": g.program_depth * 32,
        "weights": g.weight_depth * g.weight_word_bits,
        "thresholds": g.threshold_depth * (3 * g.result_bits + 1),
        "activations": g.act_depth * g.act_word_bits,
        "results": g.result_depth * g.result_bits,
        **constants,
    }


def test_only_weights_that_gain_by_it_are_recoded() -> None:
    recoded = Geometry(counter="ice40", encoding="odd-level", weight_bits=3)
    assert recoded.lane.recoded
    assert recoded.replace(encoding="symmetric").lane.recoded
    assert recoded.replace(encoding="twos-complement", rescale=True).lane.recoded
    # Zero points: 7 less twice a digit's 1; of two lanes' codes 63 less twice 1 + 8.
    assert (recoded.zero_bits, recoded.replace(max_weight_bits=4).zero_bits) == (3, 6)
    for changes in (
        {"counter": "portable"},
        {"counter": "ecp5"},
        {"encoding": "any"},
        {"encoding": "affine"},
        {"encoding": "unsigned"},
        {"weight_bits": 1},
        {"act_bits": 1},
        {"convolution": True, "rescale": True, "wide_depth": 16},
    ):
        assert not recoded.replace(**changes).lane.recoded


def test_memory_bits() -> None:
    geometry = Geometry(rows=2, columns=4, lanes=8, weight_bits=3, act_bits=2, output_bits=3, accumulator_bits=20)
    bits = geometry.memory_bits
    assert bits["weights"] == geometry.weight_depth * 4 * 8 * 3
    assert bits["activations"] == geometry.act_depth * 2 * 8 * 2
    assert bits["thresholds"] == geometry.threshold_depth * (7 * 21 + 1)
    requantize = geometry.replace(threshold_style="requantize").memory_bits["thresholds"]
    assert requantize == geometry.threshold_depth * (18 + 3 + 28 + 3)
    assert bits["results"] == geometry.result_depth * 2 * 21
    assert bits["program"] == geometry.program_depth * 32
