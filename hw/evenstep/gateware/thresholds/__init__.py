"""Threshold units, one file for each style; `evenstep.gateware.thresholds.create` chooses among them."""
