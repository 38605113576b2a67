"""Golden model: quantizers, training, exact folding and the integer reference."""
