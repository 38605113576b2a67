"""Benches: a module of cocotb tests for each block. `evenstep_sim.runner` runs them; the manifest drives them."""
