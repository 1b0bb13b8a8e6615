"""Ids: a bijection that both directions, the arrays and the twin agree on."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from fraudloom.kernels import idmap
from naive import idmap as naive

KEYS = st.integers(0, 2**64 - 1)
ORDINALS = st.one_of(st.integers(0, 2**63 - 2), st.integers(0, 1000), st.integers(2**63 - 1000, 2**63 - 2))


@given(KEYS, ORDINALS)
def test_round_trip_and_twin(key: int, ordinal: int) -> None:
    """Broken: an id cannot be inverted to its ordinal, or differs from plain arithmetic."""
    ident = int(idmap.encode_id(np.uint64(key), ordinal))
    assert ident == naive.encode_id(key, ordinal)
    assert 1 <= ident < 2**63
    assert int(idmap.decode_id(np.uint64(key), ident)) == naive.decode_id(key, ident) == ordinal


@given(KEYS, st.integers(0, 2**63 - 1))
def test_permutation_and_twin(key: int, x: int) -> None:
    """Broken: the permutation is not one to one, or undoing a round differs from solving it bit by bit."""
    y = int(idmap.permute63(np.uint64(key), np.uint64(x)))
    assert y == naive.permute63(key, x)
    assert int(idmap.unpermute63(np.uint64(key), np.uint64(y))) == naive.unpermute63(key, y) == x


@given(KEYS)
def test_zero_is_walked_over(key: int) -> None:
    """Broken: the one ordinal whose permuted value is 0 publishes id 0, or collides."""
    before = naive.unpermute63(key, 0)
    if before == 0:
        return
    ident = int(idmap.encode_id(np.uint64(key), before - 1))
    assert ident == naive.permute63(key, 0) != 0
    assert int(idmap.decode_id(np.uint64(key), ident)) == before - 1


@given(KEYS, st.lists(ORDINALS, max_size=20))
def test_arrays_equal_the_twin(key: int, ordinals: list[int]) -> None:
    """Broken: the array kernels encode_ids and decode_ids differ from the twins."""
    given_ordinals = np.array(ordinals, dtype=np.int64)
    ids, expected = np.empty_like(given_ordinals), np.empty_like(given_ordinals)
    idmap.encode_ids(np.uint64(key), given_ordinals, ids)
    naive.encode_ids(key, ordinals, expected)
    assert ids.tobytes() == expected.tobytes()
    back, twin_back = np.empty_like(ids), np.empty_like(ids)
    idmap.decode_ids(np.uint64(key), ids, back)
    naive.decode_ids(key, ids, twin_back)
    assert back.tobytes() == twin_back.tobytes() == given_ordinals.tobytes()


def test_neighbours_get_unrelated_ids() -> None:
    """Broken: ids of neighbouring ordinals or keys look alike, and a reader can count traffic from them."""
    n = 4096
    ordinals = np.arange(n, dtype=np.int64)
    for key in (0, 1, 2**64 - 1):
        ids = np.empty_like(ordinals)
        idmap.encode_ids(np.uint64(key), ordinals, ids)
        assert len(set(ids.tolist())) == n
        for bit in range(62):
            flipped = np.empty_like(ids)
            idmap.encode_ids(np.uint64(key), ordinals ^ (1 << bit), flipped)
            changed = ((ids ^ flipped)[:, None] >> np.arange(63)) & 1
            # Each output bit flips with probability 1/2: standard error 0.0078 over 4096 ordinals, 63 x 62 cells.
            assert np.abs(changed.mean(axis=0) - 0.5).max() < 0.06
        other = np.empty_like(ids)
        idmap.encode_ids(np.uint64(key ^ 1), ordinals, other)
        assert abs(float((((ids ^ other)[:, None] >> np.arange(63)) & 1).mean()) - 0.5) < 0.01
