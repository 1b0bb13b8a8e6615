"""Plain-Python twins of the compiled functions, under the same names: slow, obvious, and free of the package.

Integers are Python's, masked where the contract says modulo 2^64; floats are Python's, which are IEEE 754 doubles.
"""
