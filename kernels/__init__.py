"""Compiled loops over NumPy arrays: no I/O, no policy objects, no strings, outputs last."""
