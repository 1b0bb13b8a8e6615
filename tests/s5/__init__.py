"""Tests of the validation state."""
