"""Precision: text, file and model say the same."""

from pathlib import Path

import pytest

from evenstep_golden.models import build_model
from evenstep_golden.precision import ACTIVATION_METHODS, WEIGHT_METHODS, Method, Precision
from evenstep_golden.quantizers import LSQActivation, LSQWeight, N2UQActivation, N2UQWeight, PWLQWeight

TEXT = """
weights = "n2uq:2"
activations = "n2uq:3"

[[layers]]
name = "conv*"
weights = "pwlq:4,breakpoints=2"

[[layers]]
name = "conv1"
weights = "lsq:8,symmetric=True"

[[layers]]
name = "act2"
activations = "lsq:4"

[[layers]]
name = "last"
weights = "float"
"""


def test_a_file_says_what_every_layer_has(tmp_path: Path) -> None:
    (tmp_path / "p.toml").write_text(TEXT)
    precision = Precision.load(tmp_path / "p.toml")
    model = build_model("cnn", (1, 28, 28), 10)
    precision.apply(model)
    weights = {name: layer.weight_quantizer for name, layer in model.weighted().items()}
    assert isinstance(weights["conv1"], LSQWeight) and weights["conv1"].bits == 8 and weights["conv1"].symmetric
    assert isinstance(weights["conv2"], PWLQWeight) and weights["conv2"].breakpoints == 2
    assert weights["last"] is None
    assert not model.is_quantized
    places = {name: place.quantizer for name, place in model.activations().items()}
    assert isinstance(places["act1"], N2UQActivation) and places["act1"].bits == 3
    assert isinstance(places["act2"], LSQActivation) and places["act2"].bits == 4
    assert Precision.from_dict(precision.to_dict()) == precision
    (tmp_path / "q.toml").write_text(precision.to_toml())
    assert Precision.load(tmp_path / "q.toml") == precision


def test_order_of_exceptions_is_kept() -> None:
    precision = Precision()
    for name, text in (("fc1", "lsq:2"), ("*", "n2uq:2"), ("fc1", "lsq:4")):
        precision = precision.replaced(name, "weights", Method.parse(text))
    again = Precision.from_dict(precision.to_dict())
    assert again == precision and again.method("fc1", "weights") == Method.parse("lsq:4")


def test_the_last_layer_shares_a_scale_unless_told_otherwise() -> None:
    model = build_model("cnn", (1, 28, 28), 10)
    Precision(Method.parse("n2uq:2"), Method.parse("n2uq:2")).apply(model)
    granularities = [layer.weight_quantizer.granularity for layer in model.weighted().values()]  # type: ignore[union-attr]
    assert granularities == ["channel"] * 4 + ["tensor"]
    Precision(Method.parse("n2uq:2,granularity=channel"), None).apply(model)
    last = model.weighted()["last"].weight_quantizer
    assert isinstance(last, N2UQWeight) and last.granularity == "channel"
    assert all(place.quantizer is None for place in model.activations().values())


def test_signed_activations_get_signed_quantizers() -> None:
    model = build_model("resnet8", (1, 28, 28), 10)
    Precision(None, Method.parse("lsq:4")).apply(model)
    assert {place.quantizer.signed for place in model.activations().values()} == {True}  # type: ignore[union-attr]
    chain = build_model("cnn", (1, 28, 28), 10)
    Precision(None, Method.parse("lsq:4")).apply(chain)
    assert {place.quantizer.signed for place in chain.activations().values()} == {False}  # type: ignore[union-attr]


@pytest.mark.parametrize("name", [*WEIGHT_METHODS])
def test_every_weight_method_has_its_bits(name: str) -> None:
    assert Method.parse(f"{name}:4").make("weights").bits == 4


@pytest.mark.parametrize("name", [*ACTIVATION_METHODS])
def test_every_activation_method_has_its_bits(name: str) -> None:
    assert Method.parse(f"{name}:4").make("activations").bits == 4


@pytest.mark.parametrize("text", ["n2uq:2", "pwlq:4,breakpoints=2", "lsq:8,symmetric=True", "pact:2,alpha=4.5"])
def test_text_of_a_method_is_read_back(text: str) -> None:
    assert str(Method.parse(text)) == text


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("n2uq", r"^Method must read like 'n2uq:2' or 'pwlq:4,breakpoints=2', not 'n2uq'$"),
        ("n2uq:x", r"^Method must read like"),
        ("n2uq:2,4", r"^Method must read like"),
        ("n2uq:9", r"^Bits of a method must be an integer from 1 to 8, not 9$"),
        ("magic:2", r"^Method must be one of dorefa, .*, not 'magic'$"),
    ],
)
def test_texts_that_say_nothing_are_refused(text: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Method.parse(text)


@pytest.mark.parametrize(
    ("method", "kind", "message"),
    [
        ("pact:2", "weights", r"^Method of weights must be one of .*, not 'pact'$"),
        ("pwlq:2", "activations", r"^Method of activations must be one of .*, not 'pwlq'$"),
        ("lsq:1", "weights", r"^lsq:1: "),
        (
            "n2uq:2,color=3",
            "weights",
            r"^n2uq:2,color=3: options must be of granularity, gradient, normalize, not 'color'$",
        ),
        ("dorefa:2,color=3", "weights", r"^dorefa:2,color=3: options must be of none, not 'color'$"),
        ("lsq:4,symmetric=no", "weights", r"^lsq:4,symmetric=no: symmetric must be True or False, not 'no'$"),
    ],
)
def test_methods_that_cannot_be_made_are_refused(method: str, kind: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Method.parse(method).make(kind)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("weights = 3", r"p\.toml: Method must be a text such as 'n2uq:2', not 3$"),
        ("weight = 'n2uq:2'", r"p\.toml: Keys must be weights, activations and layers, not weight$"),
        (
            "[[layers]]\nname = 'a'\nbits = 'n2uq:2'",
            r"p\.toml: Key of layer a must be one of weights, activations, not 'bits'$",
        ),
        ("layers = 3", r"p\.toml: Layers must be a list of tables, not 3$"),
        ("[[layers]]\nweights = 'n2uq:2'", r"p\.toml: Entry of a layer must be a table with a name, not "),
        ("weights = ", r"p\.toml: "),
        ("[[layers]]\nname = 'a'", r"p\.toml: Entry of layer a must say weights or activations, and says neither$"),
    ],
)
def test_files_that_say_nothing_are_refused(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "p.toml").write_text(text)
    with pytest.raises(ValueError, match=message):
        Precision.load(tmp_path / "p.toml")


def test_a_pattern_that_matches_nothing_is_refused() -> None:
    precision = Precision().replaced("conv9", "weights", Method.parse("n2uq:2"))
    message = r"^Pattern 'conv9' must match a layer with weights, which are conv1, .*, last; it matches none$"
    with pytest.raises(ValueError, match=message):
        precision.apply(build_model("cnn", (1, 28, 28), 10))
