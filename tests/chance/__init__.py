"""Statistics that tests of several states share: probability-integral transforms and tests of branches."""
