"""The policy loader: safe, strict, and clear about what it refuses."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from fraudloom.contracts_api import load_contracts
from fraudloom.errors import PolicyError
from fraudloom.policies_api import load_pack, packs_root, read_yaml

CONTRACTS = load_contracts()


def _copy(tmp_path: Path) -> Path:
    folder = tmp_path / "pack"
    shutil.copytree(packs_root() / "default", folder)
    return folder


@pytest.mark.parametrize("name", ["default", "two-event"])
def test_shipped_packs_load(name: str) -> None:
    """A shipped pack would not pass its own schemas."""
    pack = load_pack(name, CONTRACTS)
    assert pack.name == name
    assert set(pack.docs) == set(load_pack("default", CONTRACTS).docs)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("a: &x 1\nb: *x\n", "anchors"),
        ("a: 1\na: 2\n", "duplicate key 'a'"),
        ("a: {b: 1, b: 2}\n", "duplicate key 'b'"),
        ("a: [1\n", "POLICY_MALFORMED"),
        ("<<: {a: 1}\n", "merge"),
        ("!!python/object/apply:os.getcwd []\n", "POLICY_MALFORMED"),
    ],
)
def test_unsafe_yaml_is_refused(tmp_path: Path, text: str, words: str) -> None:
    """A policy could mean something else than it shows, or run code."""
    path = tmp_path / "p.yaml"
    path.write_text(text)
    with pytest.raises(PolicyError, match=words) as e:
        read_yaml(path)
    assert "p.yaml" in str(e.value)


def test_oversized_policy_is_refused(tmp_path: Path) -> None:
    """A huge file would be parsed before anyone noticed."""
    path = tmp_path / "p.yaml"
    path.write_text("a: '" + "x" * (1 << 20) + "'\n")
    with pytest.raises(PolicyError, match="POLICY_TOO_LARGE"):
        read_yaml(path)


def test_unknown_pack_names_the_known_ones() -> None:
    """A typing error would not tell which packs exist."""
    with pytest.raises(PolicyError, match="default, two-event"):
        load_pack("defualt", CONTRACTS)


def test_unknown_key_names_file_key_and_allowed(tmp_path: Path) -> None:
    """A misspelt key would be ignored, or refused without saying what is allowed."""
    folder = _copy(tmp_path)
    path = folder / "timing_policy_6B.yaml"
    path.write_text(path.read_text() + "\nunheard_of: 1\n")
    with pytest.raises(PolicyError) as e:
        load_pack(folder, CONTRACTS)
    for words in ("timing_policy_6B.yaml", "unheard_of", "unheard_of"):
        assert words in str(e.value)


def test_digest_follows_bytes_and_profile(tmp_path: Path) -> None:
    """A changed policy byte would land in the same partition."""
    folder = _copy(tmp_path)
    first = load_pack(folder, CONTRACTS)
    assert first.digest == load_pack("default", CONTRACTS).digest
    path = folder / "timing_policy_6B.yaml"
    path.write_text(path.read_text() + "\n# a comment\n")
    changed = load_pack(folder, CONTRACTS)
    assert changed.digest != first.digest
    assert changed.validation_digest == first.validation_digest
    s5 = folder / "segment_validation_policy_6B.yaml"
    s5.write_text(s5.read_text() + "\n# a comment\n")
    last = load_pack(folder, CONTRACTS)
    assert last.digest == changed.digest
    assert last.validation_digest != changed.validation_digest
