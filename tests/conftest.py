"""Settings that all tests share."""

from hypothesis import HealthCheck, settings

# Derandomised and without a database: a test run is a function of the checkout. No deadline: the first call of a kernel
# compiles it, and shared machines are slow at times.
settings.register_profile(
    "fraudloom",
    derandomize=True,
    deadline=None,
    database=None,
    suppress_health_check=[HealthCheck.too_slow],
)
settings.load_profile("fraudloom")
