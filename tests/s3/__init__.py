"""Tests of the fraud overlay."""
