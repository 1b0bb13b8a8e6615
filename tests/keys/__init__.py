"""Every number of a policy pack matters: in-process weaves, the leaves of policies, and the tests that move them."""
