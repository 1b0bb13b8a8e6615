"""Contracts, as data: dataset dictionary, artefact registry and JSON-schema packs."""
