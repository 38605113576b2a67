"""Operators that models from elsewhere may use, and what each is to the import."""

__all__ = ["CONSTANT", "DOMAINS", "ELEMENTWISE", "ENDINGS", "QONNX", "is_known"]

#: Domain of QONNX's own operators, and other names under which exporters wrote it.
QONNX = "qonnx.custom_op.general"
DOMAINS = frozenset({QONNX, "qonnx", "onnx.brevitas", "finn", "finn.custom_op.general"})

_OF_QONNX = frozenset({"Quant", "IntQuant", "BipolarQuant", "MultiThreshold", "Trunc"})

#: Functions of one number, and of one number and constants: what stands between sums and the next quantizer. They may
#: be any functions, since thresholds are found by evaluating them; those of a layer must be monotone together.
ELEMENTWISE = frozenset(
    {
        *("Add", "Sub", "Mul", "Div", "Neg", "Max", "Min", "Clip", "Floor", "Ceil", "Round", "Sign"),
        *("BatchNormalization", "Relu", "LeakyRelu", "PRelu", "Elu", "Selu", "Celu", "Softplus", "Softsign"),
        *("Sigmoid", "HardSigmoid", "Tanh", "Erf", "Exp", "Log", "Sqrt", "Reciprocal", "Abs", "Pow"),
    }
)

#: What only picks the largest of the last numbers, or keeps their order.
ENDINGS = frozenset({"Softmax", "LogSoftmax", "ArgMax", "TopK"})

_LAYERS = frozenset(
    {
        *("Conv", "MatMul", "Gemm", "Flatten", "Reshape", "Squeeze", "Unsqueeze", "Transpose", "Pad"),
        *("MaxPool", "GlobalMaxPool", "AveragePool", "GlobalAveragePool", "ReduceMean"),
        *("Identity", "Dropout", "Cast", "Concat", "QuantizeLinear", "DequantizeLinear"),
    }
)

#: What shapes are computed with; gone once constants are folded.
CONSTANT = frozenset({"Constant", "Shape", "Gather", "Concat", "Slice"})


def is_known(domain: str, operator: str) -> bool:
    """Whether the import knows what to do with an operator, somewhere."""
    if operator in _OF_QONNX:
        return domain in DOMAINS
    return domain in ("", "ai.onnx") and operator in ELEMENTWISE | ENDINGS | _LAYERS | CONSTANT
