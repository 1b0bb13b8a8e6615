"""The states S0 to S5 and the upstream world: plan, weave, prove, publish."""
