"""Rules of the repository, enforced by reading its sources."""
