"""Commands that this package adds to `evenstep`."""
