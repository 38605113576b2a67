"""Counting structures, one file each; `evenstep.gateware.count` chooses among them."""
