"""Measurements that take long: made once, by several processes or a cluster, and kept in one file."""

from evenstep_boards.measure.pool import run_jobs, unfinished
from evenstep_boards.measure.store import Store, digest, read_records

__all__ = ["Store", "digest", "read_records", "run_jobs", "unfinished"]
