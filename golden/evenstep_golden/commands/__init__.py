"""Commands of the golden model, for the `evenstep` command line."""
