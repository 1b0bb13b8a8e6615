"""A run stops at the proofs of S1 and S2 when something goes wrong on the way, and publishes nothing of the state."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fraudloom.errors import FraudloomError
from fraudloom.run import run_world
from fraudloom.spec import RunOptions
from fraudloom.states import s1, s2
from fraudloom.states.world import WorldSpec, build_world

Result = Any


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A world of 400 arrivals."""
    root = tmp_path_factory.mktemp("proofs") / "world"
    build_world(WorldSpec(arrivals=400, seed=3, days=30), root)
    return root


def one_draw_more(result: Result, *args: Any) -> Result:
    """The state drew once more than it accounts for in its rows."""
    args[-1][0, 0] += np.uint64(4)
    return result


def changed_on_the_way(result: Result, *args: Any) -> Result:
    """An upstream value changed in the shard."""
    result[0]["bucket_index"][0] += 1
    return result


def boundary_left_out(result: Result, *args: Any) -> Result:
    """A boundary was not drawn."""
    args[-1][11, 0] -= np.uint64(1)
    return result


def wrong_amount(result: Result, *args: Any) -> Result:
    """An event has another amount than its flow."""
    result.events["amount_minor"][0] += 1
    return result


WAYS: list[tuple[Any, str, Callable[..., Result], str]] = [
    (s1, "attach", one_draw_more, "S1_RNG_EVENT_COUNT_MISMATCH"),
    (s1, "sessionise", changed_on_the_way, "S1_ARRIVAL_COVERAGE_MISMATCH"),
    (s1, "sessionise", boundary_left_out, "S1_RNG_EVENT_COUNT_MISMATCH"),
    (s2, "weave", one_draw_more, "S2_RNG_EVENT_COUNT_MISMATCH"),
    (s2, "weave", wrong_amount, "S2_FLOW_EVENT_AMOUNT_MISMATCH"),
]


@pytest.mark.parametrize(("state", "name", "harm", "code"), WAYS, ids=[f"{w[1]}-{w[2].__name__}" for w in WAYS])
def test_run_stops(
    world: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    state: Any,
    name: str,
    harm: Callable[..., Result],
    code: str,
) -> None:
    """A proof that no run calls would let this through: the run fails with the check's code and status 70."""
    whole = getattr(state, name)
    monkeypatch.setattr(state, name, lambda *args: harm(whole(*args), *args))
    options = RunOptions(world=world, runs_root=tmp_path, run_id="r", workers=1, quiet=True)
    with pytest.raises(FraudloomError) as caught:
        run_world(options)
    assert (caught.value.code, caught.value.exit_status) == (code, 70)
    assert not list((tmp_path / "r").glob("data/layer3/6B/s1_arrival_entities_6B/**/*.parquet"))
    assert not (tmp_path / "r" / "SEAL.json").exists()
