"""Stand-ins for the states: the shapes and protocol of the real ones, none of their laws, nothing compiled."""
