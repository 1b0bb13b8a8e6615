"""Streams: published vectors, skipping ahead, accounting, choices, keys and the proof of disjointness."""

import hashlib
import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fraudloom import rng
from fraudloom.kernels import jit, streams
from naive import streams as naive

VECTORS = [6457827717110365317, 3203168211198807973, 9817491932198370423, 4593380528125082431, 16408922859458223821]
KEYS = st.integers(0, 2**64 - 1)
COUNTERS = st.integers(0, 2**63 - 1)
UNIT = st.floats(2.0**-54, 1.0 - 2.0**-53)
WORLD = "0123456789abcdef" * 4


def test_published_vectors() -> None:
    """Broken: the generator is not SplitMix64, and every world ever made changes."""
    assert [int(streams.draw64(np.uint64(1234567), i)) for i in range(5)] == VECTORS
    assert [naive.draw64(1234567, i) for i in range(5)] == VECTORS


@given(KEYS, st.integers(0, 300))
def test_skipping_ahead_equals_stepping(key: int, i: int) -> None:
    """Broken: draw i is not the i-th output of the generator, so streams cannot be split."""
    assert int(streams.draw64(np.uint64(key), i)) == next(itertools.islice(naive.splitmix64(key), i, None))


@given(KEYS, COUNTERS)
def test_words_and_uniforms_equal_the_twin(key: int, i: int) -> None:
    """Broken: some key or counter draws another number than plain arithmetic modulo 2^64."""
    assert int(streams.mix64(np.uint64(key))) == naive.mix64(key)
    assert int(streams.draw64(np.uint64(key), i)) == naive.draw64(key, i)
    u = streams.uniform(np.uint64(key), i)
    assert u == naive.uniform(key, i)
    assert 0.0 < u < 1.0


def _unmix(z: int) -> int:
    def unshift(y: int, s: int) -> int:
        x = y
        for _ in range(64 // s + 1):
            x = y ^ (x >> s)
        return x

    z = unshift(z, 31) * pow(0x94D049BB133111EB, -1, 2**64) % 2**64
    z = unshift(z, 27) * pow(0xBF58476D1CE4E5B9, -1, 2**64) % 2**64
    return unshift(z, 30)


def test_uniforms_stay_open_at_both_ends() -> None:
    """Broken: a word of all zeros or all ones gives 0 or 1, and a quantile becomes infinite."""
    for word, expected in ((2**64 - 1, 1.0 - 2.0**-53), (0, 2.0**-54)):
        key = (_unmix(word) - naive.GAMMA) % 2**64
        assert int(streams.draw64(np.uint64(key), 0)) == word
        assert streams.uniform(np.uint64(key), 0) == naive.uniform(key, 0) == expected


@given(KEYS, st.integers(0, 2**40), st.integers(0, 50))
def test_fill_uniforms_equals_the_twin(key: int, start: int, size: int) -> None:
    """Broken: filling a buffer differs from drawing one by one."""
    out, expected = np.empty(size), np.empty(size)
    streams.fill_uniforms(np.uint64(key), start, out)
    naive.fill_uniforms(key, start, expected)
    assert out.tobytes() == expected.tobytes()


@given(st.lists(st.tuples(st.integers(0, 2), COUNTERS), max_size=20), KEYS)
def test_draws_are_accounted(events: list[tuple[int, int]], key: int) -> None:
    """Broken: the evidence no longer proves how often and at which counters a decision drew."""
    keys = np.array([key, 5, 2**64 - 1], dtype=np.uint64)
    evidence, expected = np.zeros((3, 2), dtype=np.uint64), [[0, 0] for _ in range(3)]
    for d, counter in events:
        assert streams.draw(keys, d, counter, evidence) == naive.draw(keys, d, counter, expected)
    assert evidence.tolist() == expected


@given(st.lists(st.sampled_from([0.0, 0.1, 1.0, 3.7]), min_size=1, max_size=9), UNIT, st.data())
def test_choices_equal_the_twin(weights: list[float], u: float, data: st.DataObject) -> None:
    """Broken: a window of a cumulative table picks another entry, or one of weight zero."""
    cum = np.cumsum(weights)
    lo = data.draw(st.integers(0, len(weights) - 1))
    hi = data.draw(st.integers(lo + 1, len(weights)))
    i = streams.pick_cdf(cum, u, lo, hi)
    assert i == naive.pick_cdf(cum, u, lo, hi)
    assert tuple(streams.pick_remap(cum, u, lo, hi)) == naive.pick_remap(cum, u, lo, hi)
    assert weights[i] > 0.0 or not any(weights[lo:hi])


@given(UNIT, st.one_of(st.sampled_from([0.0, 1.0, 2.0**-53, 1.0 - 2.0**-53]), st.floats(0.0, 1.0)))
def test_split_remap_equals_the_twin_and_stays_open(u: float, p: float) -> None:
    """Broken: splitting a mixture leaves the unit interval, or differs from the twin."""
    branch, rest = streams.split_remap(u, p)
    assert (branch, rest) == naive.split_remap(u, p)
    assert 0.0 < rest < 1.0
    assert streams.clamp_open(u) == naive.clamp_open(u) == u


def test_remapped_uniforms_are_uniform() -> None:
    """Broken: what is left of a uniform after a choice is no longer uniform, and mixtures are biased."""
    n = 20_000
    cum = np.cumsum([0.2, 0.5, 0.3])
    rest: dict[int, list[float]] = {0: [], 1: [], 2: []}
    for j in range(n):
        i, left = streams.pick_remap(cum, (j + 0.5) / n, 0, 3)
        rest[int(i)].append(left)
    for i, weight in enumerate((0.2, 0.5, 0.3)):
        assert len(rest[i]) == pytest.approx(weight * n, abs=1)
        expected = (np.arange(len(rest[i])) + 0.5) / len(rest[i])
        assert np.abs(np.sort(rest[i]) - expected).max() < 1e-3


def test_key_is_the_digest_of_the_documented_bytes() -> None:
    """Broken: keys come from other bytes than documented, and every world changes."""
    message = b"\x01\x00\x00\x00d" + b"\x40\x00\x00\x00" + WORLD.encode() + (7).to_bytes(8, "little")
    message += b"\x04\x00\x00\x00base" + b"\x03\x00\x00\x00\xc3\xa9f" + b"\x00\x00\x00\x00"
    expected = int.from_bytes(hashlib.sha256(message).digest()[:8], "little")
    assert rng.substream_key("d", WORLD, 7, "base", "éf", "") == expected


def test_keys_differ_by_every_field() -> None:
    """Broken: two worlds, seeds, scenarios, families or decisions share a stream."""
    base = ("d", WORLD, 1, "s", "f", "x")
    variants = [base, ("e", *base[1:]), ("d", WORLD[::-1], *base[2:]), (*base[:2], 2, *base[3:])]
    variants += [(*base[:3], "t", "f", "x"), (*base[:4], "g", "x"), (*base[:5], "y"), (*base[:3], "sf", "", "x")]
    assert len({rng.substream_key(*v) for v in variants}) == len(variants)
    found = rng.Streams(WORLD, 1, "s").key("f", "x")
    assert isinstance(found, np.uint64)
    assert int(found) == rng.substream_key(rng.DOMAIN, *base[1:])


@pytest.mark.parametrize(("world", "seed"), [("ab", 1), (WORLD.upper(), 1), (WORLD, -1), (WORLD, 2**64)])
def test_bad_fields_are_refused(world: str, seed: int) -> None:
    """Broken: a malformed fingerprint or seed makes keys that no other run can reproduce."""
    with pytest.raises(ValueError, match="must be"):
        rng.Streams(world, seed, "s")


@given(KEYS, st.integers(0, 1000), st.integers(1, 1000), st.integers(1, 1000))
def test_overlap_is_found_exactly(key: int, distance: int, first: int, second: int) -> None:
    """Broken: the proof misses two streams that share an output, or refuses two that do not."""
    keys = {"a": key, "b": (key + distance * rng.GAMMA) % 2**64, "far": (key + 2**63) % 2**64, "empty": key}
    lengths = {"a": first, "b": second, "far": 10, "empty": 0}
    if distance < first:
        with pytest.raises(rng.StreamOverlapError, match="overlap"):
            rng.prove_disjoint(keys, lengths)
    else:
        rng.prove_disjoint(keys, lengths)


def test_overlap_means_shared_outputs() -> None:
    """Broken: the arcs of the proof are not the outputs that streams draw."""
    words = [int(streams.draw64(np.uint64(99), i)) for i in range(10)]
    shifted = (99 + 9 * rng.GAMMA) % 2**64
    assert int(streams.draw64(np.uint64(shifted), 0)) == words[9]
    with pytest.raises(rng.StreamOverlapError):
        rng.prove_disjoint({"a": 99, "b": shifted}, {"a": 10, "b": 1})
    rng.prove_disjoint({"a": 99, "b": shifted}, {"a": 9, "b": 1})


def test_a_stream_without_length_is_refused() -> None:
    """Broken: a stream can be left out of the proof unnoticed."""
    with pytest.raises(ValueError, match="both key and length"):
        rng.prove_disjoint({"a": 1, "b": 2}, {"a": 1})


def test_core_and_kernels_agree_on_gamma() -> None:
    """Broken: the proof of disjointness is about another generator than the one that draws."""
    assert int(streams.GAMMA) == rng.GAMMA


def test_two_kernels_of_one_name_are_refused() -> None:
    """Broken: a second kernel of the same name hides the first from the comparison with the twins."""

    def fill_uniforms(key, start, out):  # type: ignore[no-untyped-def]
        pass

    with pytest.raises(ValueError, match="two compiled functions"):
        jit.kernel(fill_uniforms)


def test_cache_directory_skips_unusable_places(tmp_path, monkeypatch) -> None:  # type: ignore[no-untyped-def]
    """Broken: an unwritable cache place fails the import, or edited kernels reuse old machine code."""
    blocked = tmp_path / "file"
    blocked.write_text("")
    monkeypatch.setenv("FRAUDLOOM_CACHE_DIR", str(blocked))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    found = jit.find_cache_dir()
    assert found == tmp_path / "xdg" / "fraudloom" / f"kernels-{jit.source_digest()[:24]}"
    monkeypatch.setenv("FRAUDLOOM_CACHE_DIR", str(tmp_path / "mine"))
    assert jit.find_cache_dir() == tmp_path / "mine" / found.name
    monkeypatch.setattr(jit, "OPTIONS", {**jit.OPTIONS, "nogil": False})
    assert jit.find_cache_dir() != tmp_path / "mine" / found.name
    monkeypatch.setattr(jit, "_candidates", lambda: iter([blocked]))
    assert jit.find_cache_dir() is None
