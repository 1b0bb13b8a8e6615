"""Tests of behaviour_config_6B: every switch, filter and cap is seen to act."""
