"""The integer reference and its comparisons."""

import numpy as np
import pytest

from evenstep.spec import Dense, Encoding, Network, Thresholds
from evenstep_golden.reference import Mismatch, accuracy, count_differences, first_mismatch, run, run_last
from tests.hw.networks import whole_network


@pytest.fixture
def network() -> Network:
    generator = np.random.default_rng(0)
    encoding = Encoding("odd-level", 2)
    thresholds = Thresholds(np.sort(generator.integers(-90, 90, (3, 3)), axis=1), [False, True, False])
    return Network(
        (
            Dense("first", generator.integers(0, 4, (3, 5)), encoding, 4, thresholds),
            Dense("second", generator.integers(0, 4, (2, 3)), encoding, 2),
        )
    )


@pytest.fixture
def inputs() -> np.ndarray:
    return np.random.default_rng(1).integers(0, 16, (23, 5))


def test_chunks_change_nothing(network: Network, inputs: np.ndarray) -> None:
    whole = run(network, inputs)
    for chunk in (1, 7, 23, 100):
        for expected, got in zip(whole, run(network, inputs, chunk=chunk), strict=True):
            np.testing.assert_array_equal(expected, got)


def test_integers_are_sums_of_products(network: Network, inputs: np.ndarray) -> None:
    first, second = run(network, inputs)
    layer, last = network.layers
    assert layer.thresholds is not None
    for position, vector in enumerate(inputs.tolist()):
        codes = []
        for channel in range(3):
            total = sum(a * (2 * int(q) - 3) for a, q in zip(vector, layer.codes[channel], strict=True))
            count = sum(total >= t for t in layer.thresholds.values[channel].tolist())
            codes.append(3 - count if channel == 1 else count)
        assert first[position].tolist() == codes
        assert second[position].tolist() == [
            sum(a * (2 * int(q) - 3) for a, q in zip(codes, row, strict=True)) for row in last.codes
        ]


def test_no_inputs_give_no_integers(network: Network) -> None:
    assert [layer.shape for layer in run(network, np.zeros((0, 5), int))] == [(0, 3), (0, 2)]


def test_first_mismatch_is_that_of_the_first_layer(network: Network, inputs: np.ndarray) -> None:
    expected = run(network, inputs)
    assert first_mismatch(network, expected, expected) is None
    got = [layer.copy() for layer in expected]
    got[1][0, 0] += 1
    got[0][4, 2] ^= 1
    got[0][9, 0] ^= 1
    mismatch = first_mismatch(network, expected, got)
    assert mismatch is not None
    assert mismatch == Mismatch("first", 2, 4, int(expected[0][4, 2]), int(got[0][4, 2]))
    assert str(mismatch) == f"first, channel 2, position 4: expected {mismatch.expected}, got {mismatch.got}"
    assert count_differences(network, expected, got) == {"first": 2, "second": 1}


def test_graphs_run_in_chunks_of_any_size() -> None:
    network = whole_network()
    pictures = np.random.default_rng(2).integers(0, 8, (5, *network.input_shape))
    expected = network.boundaries(pictures)
    for chunk in (None, 1, 3):
        for shaped in (pictures, pictures.reshape(5, -1)):
            for wanted, got in zip(expected, run(network, shaped, chunk=chunk), strict=True):
                np.testing.assert_array_equal(wanted, got)
            np.testing.assert_array_equal(expected[-1], run_last(network, shaped, chunk=chunk))
    shapes = [(0, *boundary.shape[1:]) for boundary in expected]
    assert [boundary.shape for boundary in run(network, pictures[:0])] == shapes
    with pytest.raises(ValueError, match=r"^Inputs must have shape \(positions, 90\), not \(5, 2, 5, 8\)$"):
        run(network, pictures[..., 1:])


def test_a_mismatch_in_a_picture_tells_the_pixel() -> None:
    network = whole_network()
    expected = network.boundaries(np.zeros((3, *network.input_shape), int))
    got = [boundary.copy() for boundary in expected]
    got[2][1, 2, 3, 0] += 5
    got[2][2, 0, 0, 0] += 1
    mismatch = first_mismatch(network, expected, got)
    value = int(expected[2][1, 2, 3, 0])
    assert mismatch == Mismatch("bent", 2, 1, value, value + 5, (3, 0))
    assert str(mismatch) == f"bent, channel 2, position 1, row 3, column 0: expected {value}, got {value + 5}"
    differences = count_differences(network, expected, got)
    assert differences.pop("bent") == 2
    assert set(differences.values()) == {0}
    with pytest.raises(ValueError, match=r"^Integers of stem must have the shape \(3, 3, 6, 4\), not \(3, 72\)$"):
        first_mismatch(network, expected, [boundary.reshape(3, -1) for boundary in expected])


def test_accuracy() -> None:
    assert accuracy([[1, 5, 5], [0, 0, 0], [3, 1, 2]], [1, 1, 0]) == pytest.approx(2 / 3)


def test_what_cannot_be_compared_is_refused(network: Network, inputs: np.ndarray) -> None:
    expected = run(network, inputs)
    with pytest.raises(ValueError, match=r"^Boundaries must be 2 on both sides, not 2 and 1$"):
        first_mismatch(network, expected, expected[:1])
    with pytest.raises(ValueError, match=r"^Integers of first must have the shape \(23, 3\), not \(22, 3\)$"):
        first_mismatch(network, expected, [layer[:22] for layer in expected])
    with pytest.raises(TypeError, match=r"^Integers of first must be of an integer type, not float64$"):
        first_mismatch(network, expected, [layer.astype(float) for layer in expected])
    with pytest.raises(ValueError, match=r"^Inputs must have shape \(positions, 5\), not \(5,\)$"):
        run(network, inputs[0])
    with pytest.raises(ValueError, match=r"^Activations of first must be codes from 0 to 15$"):
        run(network, inputs + 1)
    with pytest.raises(ValueError, match=r"^Results and labels must have shapes"):
        accuracy(expected[-1], [0])
