"""`fraudloom runs show RUN --figures`: what people and programs get to read, and what is refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from figures.bench import SMALL, Figured, figure_pack
from fraudloom.cli import app
from fraudloom.cli_common import guarded
from fraudloom.contracts_api import load_contracts
from fraudloom.errors import PolicyError
from fraudloom.policies_api import load_pack
from fraudloom.states import figures
from fraudloom.states.figures import Outcome
from fraudloom.states.world import WorldSpec, build_world

pytestmark = pytest.mark.xdist_group("figures")

NAMES = figures.figure_names()
SECTIONS = ("1 arrivals", "2 sessions", "3 decisions", "4 amounts and settlement")


class Command:
    """The command in this process, with the output of the last call."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
        self.monkeypatch, self.capsys = monkeypatch, capsys
        self.out = self.err = ""

    def __call__(self, *words: object, columns: int = 0) -> int:
        """Exit status; `columns`: of a terminal of that width, 0 for a pipe."""
        if columns:
            self.monkeypatch.setenv("COLUMNS", str(columns))
            self.monkeypatch.setenv("FORCE_COLOR", "1")
            self.monkeypatch.setenv("TERM", "dumb")
        self.monkeypatch.setattr("sys.argv", ["fraudloom", "runs", "show", *map(str, words)])
        status = guarded(app)
        self.out, self.err = self.capsys.readouterr()
        return status

    def on(self, run: Figured, *words: object, columns: int = 0) -> int:
        """Measure a run against the corridors of small runs."""
        own = (run.bench.root, "--figures", "--world", run.bench.world_root, "--policies", run.pack)
        return self(*own, *words, columns=columns)


@pytest.fixture
def command(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Command:
    """The command."""
    return Command(monkeypatch, capsys)


def test_json_is_one_object(whole: Figured, command: Command, sound: dict[str, Outcome]) -> None:
    """A program cannot read the figures, misses one, or reads another than the terminal shows."""
    assert command.on(whole, "--json", "--workers", 2) == 0
    value = json.loads(command.out)
    assert list(value) == [
        "run_id", "run_root", "world_root", "axes", "profile", "policies", "arrivals", "outside", "figures",
    ]  # fmt: skip
    assert value["arrivals"] == {"baseline_v1": 12_000}
    assert [f["name"] for f in value["figures"]] == list(sound)
    assert set(sound) == set(NAMES)
    for f in value["figures"]:
        assert f == sound[f["name"]].as_dict()
    assert value["outside"] == [f"baseline_v1/{n}" for n, o in sound.items() if o.status == "outside"]


def test_parts_in_any_order(whole: Figured, sound: dict[str, Outcome]) -> None:
    """Who counted which part first shows in a figure."""
    assert whole.outcomes(backwards=True) == sound


@pytest.mark.parametrize("columns", [80, 120, 200])
def test_table_fits_its_terminal(whole: Figured, command: Command, columns: int) -> None:
    """A line longer than the terminal would break the table apart; a figure or a section would be missing."""
    assert command.on(whole, columns=columns) == 0
    lines = command.out.splitlines()
    assert max(map(len, lines)) <= columns
    assert "…" not in command.out
    first = {line.split()[0] for line in lines if line.split()}
    assert set(NAMES) <= first
    assert all(any(s in line for line in lines) for s in SECTIONS)
    assert lines[-1].endswith("not applicable")


def test_without_figures_nothing_is_measured(whole: Figured, command: Command) -> None:
    """`runs show` alone reads every table, or shows something else than the receipt."""
    assert command(whole.bench.root) == 0
    assert "parties.p50" not in command.out
    assert "s4_label_history_6B" in command.out


def test_profile_without_columns(core: Figured, command: Command) -> None:
    """A run that publishes few columns is refused, or its figures are read from columns that are not there."""
    assert command.on(core, "--json") == 0
    found = {f["name"]: f for f in json.loads(command.out)["figures"]}
    assert found["parties.p50"]["value"] > 0
    assert found["sessions.single"]["status"] in ("inside", "outside")
    for name, table in (
        ("declines.POS", "s2_flow_anchor_baseline_6B.flow_type"),
        ("speed.card", "s1_arrival_entities_6B.ts_local_primary"),
        ("rails.chargebacks", "s3_flow_anchor_with_fraud_6B.channel_group"),
    ):
        assert found[name]["value"] is None
        assert found[name]["status"] == "not applicable"
        assert found[name]["note"].endswith(f"{table} is not published")


def test_small_runs_have_structure_only(whole: Figured, command: Command, sound: dict[str, Outcome]) -> None:
    """Corridors meant for large runs are held against a small one, or violations of structure are let pass."""
    assert command(whole.bench.root, "--figures", "--world", whole.bench.world_root, "--json") == 0
    found = {f["name"]: f for f in json.loads(command.out)["figures"]}
    corridors = figures.compile_plan(
        load_pack("default", load_contracts()).doc("run_figures_6B"), dict.fromkeys(NAMES)
    ).corridors
    for name, f in found.items():
        assert f["status"] == ("inside" if corridors[name].always else "not applicable"), name
        assert f["value"] is not None or sound[name].value != f["value"]


def test_corridors_bite(sound: dict[str, Outcome], whole: Figured) -> None:
    """A corridor is not compared with its figure at one of its ends, or not the corridor of the scenario."""
    plan = whole.context.plan
    for name, law in plan.corridors.items():
        away = max(abs(law.low), abs(law.high), 1.0) * 1e-9
        for value, status in (
            (law.low, "inside"),
            (law.high, "inside"),
            (law.low - away, "outside"),
            (law.high + away, "outside"),
        ):
            (found,) = [
                o for o in figures.judge(plan, {name: value}, {}, "baseline_v1", 1 << 40, False) if o.name == name
            ]
            assert found.status == status, name
    peak = {
        o.name: o for o in figures.judge(plan, {"channels.ECOM": 0.46}, {}, "stress_peak_online_v1", 1 << 40, False)
    }
    assert peak["channels.ECOM"].status == "inside"
    assert peak["channels.ECOM"].low == 0.45


@pytest.mark.parametrize(
    ("edit", "code"),
    [
        ({"parties.p50: {corridor: [45, 65]": "parties.p50: {corridor: [65, 45]"}, "CORRIDOR_EMPTY"),
        ({"parties.p50:": "parties.q50:"}, "FIGURE_UNKNOWN"),
        ({"    parties.p50:": "    # parties.p50:"}, "FIGURE_WITHOUT_CORRIDOR"),
        (
            {"    sessions.single:": '    parties.p50: {corridor: [1, 2], means: "x"}\n    sessions.single:'},
            "FIGURE_TWICE",
        ),
        ({"    channels.ECOM: [0.45": "    channels.XCOM: [0.45"}, "FIGURE_UNKNOWN"),
    ],
)
def test_corridors_are_checked(tmp_path: Path, edit: dict[str, str], code: str) -> None:
    """A misspelt, missing, doubled or empty corridor would go unnoticed."""
    contracts = load_contracts()
    doc = load_pack(figure_pack(tmp_path / "pack", SMALL | edit), contracts).doc("run_figures_6B")
    with pytest.raises(PolicyError) as e:
        figures.compile_plan(doc, dict.fromkeys(NAMES))
    assert e.value.code == code


def refuse_other_world(run: Figured, folder: Path) -> list[Any]:
    """The run with the world of another seed."""
    build_world(WorldSpec(arrivals=100, seed=8, days=3), folder / "other")
    return [run.bench.root, "--world", folder / "other"]


def refuse_unfinished(run: Figured, folder: Path) -> list[Any]:
    """A run without its seal."""
    (run.bench.root / "SEAL.json").unlink()
    return [run.bench.root, "--world", run.bench.world_root]


def refuse_missing_table(run: Figured, folder: Path) -> list[Any]:
    """A published part that is gone."""
    run.bench.path("s2_flow_anchor_baseline_6B", 1).unlink()
    return [run.bench.root, "--world", run.bench.world_root]


def refuse_corrupt(run: Figured, folder: Path) -> list[Any]:
    """A truncated part."""
    path = run.bench.path("s2_event_stream_baseline_6B")
    path.write_bytes(path.read_bytes()[:-20])
    return [run.bench.root, "--world", run.bench.world_root]


def refuse_strange_party(run: Figured, folder: Path) -> list[Any]:
    """An arrival of a party that the world does not have."""
    run.edit("s1_arrival_entities_6B", lambda c: c["party_id"].__setitem__(0, 1 << 30))
    return [run.bench.root, "--world", run.bench.world_root]


def refuse_no_world(run: Figured, folder: Path) -> list[Any]:
    """A world that is not there."""
    return [run.bench.root, "--world", folder / "nowhere"]


def refuse_unknown_pack(run: Figured, folder: Path) -> list[Any]:
    """A pack that is not there."""
    return [run.bench.root, "--world", run.bench.world_root, "--policies", "no-such-pack"]


REFUSALS = {
    refuse_other_world: "WORLD_OTHER",
    refuse_unfinished: "NOT_SEALED",
    refuse_missing_table: "PART_MISSING",
    refuse_corrupt: "PART_UNREADABLE",
    refuse_strange_party: "ENTITY_UNKNOWN",
    refuse_no_world: "WORLD_MISSING",
    refuse_unknown_pack: "PACK_UNKNOWN",
}


@pytest.mark.parametrize("refusal", REFUSALS, ids=lambda f: f.__name__)
def test_bad_input_is_two_with_one_message(broken: Figured, command: Command, tmp_path: Path, refusal: Any) -> None:
    """What cannot be measured is refused with code, place and what to do; nothing is printed as if it were a figure."""
    words = refusal(broken, tmp_path)
    assert command(*words, "--figures") == 2
    assert REFUSALS[refusal] in command.err
    assert "Traceback" not in command.err
    assert not command.out
