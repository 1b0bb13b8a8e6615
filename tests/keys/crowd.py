"""The crowded world and pack on which keys are moved: every branch that can be made common is."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from fraudloom.contracts_api import Contracts
from fraudloom.policies_api import Pack, check_document, load_pack, read_yaml
from fraudloom.states.world import WorldSpec, build_world, load_world
from keys.leaves import override

HERE = Path(__file__).parent


def schema_of(contracts: Contracts, doc_id: str) -> Any:
    """JSON schema of a policy."""
    return read_yaml(contracts.root / "schemas" / "policies" / f"{doc_id}.schema.yaml")


def overrides(part: str) -> dict[str, dict[str, Any]]:
    """The overrides of `world` or `pack`, by document."""
    return dict(read_yaml(HERE / "crowded.yaml")[part])


def crowded(pack: Pack, part: str, contracts: Contracts) -> Pack:
    """A pack with its overrides, every document checked again."""
    docs = dict(pack.docs)
    for doc_id, changes in overrides(part).items():
        for path, value in changes.items():
            docs[doc_id] = override(docs[doc_id], path, value)
        check_document(doc_id, docs[doc_id], HERE / "crowded.yaml", contracts)
    return replace(pack, docs=docs)


def build(folder: Path, arrivals: int, contracts: Contracts) -> Any:
    """Build and open a crowded world."""
    policy = folder / "policy"
    policy.mkdir(parents=True)
    doc = crowded(load_pack("world", contracts), "world", contracts).doc("world_policy")
    (policy / "world_policy.yaml").write_text(yaml.safe_dump(doc, sort_keys=False), "utf-8")
    (policy / "pack.yaml").write_text("name: crowded\nprofile: full\ndescription: rare things are common\n", "utf-8")
    build_world(WorldSpec(arrivals, seed=11, policy=policy), folder / "world", contracts=contracts)
    return reopen(folder, contracts)


def reopen(folder: Path, contracts: Contracts) -> Any:
    """Open a built world again, with tables of its own."""
    return load_world(folder / "world", contracts)


def bare(doc: Any) -> Any:
    """A world policy whose tills and machines do not take everything that is bought in their towns."""
    for channel in ("POS", "ATM"):
        doc = override(doc, f"channels.{channel}.p_outlet", 0.6)
    return doc


#: Table, column, and the labels that are dealt out among the rows that carry one of them.
SPREAD = (
    ("s2_account_base_6A", "ledger_class", ("DEPOSIT", "CREDIT_REVOLVING", "CREDIT_INSTALLMENT", "SETTLEMENT")),
    ("s3_instrument_base_6A", "instrument_kind", ("CARD_PHYSICAL", "CARD_VIRTUAL", "BANK_HANDLE", "WALLET_TOKEN")),
    (
        *("s4_ip_base_6A", "ip_group"),
        ("RESIDENTIAL", "MOBILE_CARRIER", "PUBLIC_SHARED", "HOSTING_DATACENTRE", "ANONYMIZER_PROXY"),
    ),
)


def spread(world: Any) -> Any:
    """The world with labels dealt out in turn, in memory: ledgers of accounts, kinds of instruments and groups of
    addresses stand in every combination, also in those that the builder never makes but an upstream may."""
    for table, column, labels in SPREAD:
        ds = world.contracts.dataset(table)
        codes = np.array([world.contracts.code(ds.column(column).enum, x) for x in labels], np.int8)
        values = world.tables[table][column]
        rows = np.flatnonzero(np.isin(values, codes))
        values[rows] = codes[np.arange(len(rows)) % len(codes)]
    _bind_tokens(world)
    return world


def _bind_tokens(world: Any) -> None:
    """The link of every holder's first phone names the holder's first wallet token, as the builder has it."""
    links, cards = world.tables["s4_device_links_6A"], world.tables["s3_instrument_base_6A"]
    token = np.flatnonzero(cards["instrument_kind"] == world.contracts.code("instrument_kind", "WALLET_TOKEN"))
    holders, first = np.unique(cards["owner_party_id"][token], return_index=True)
    of_party = np.zeros(int(max(links["party_id"].max(), holders.max())) + 1, np.int64)
    of_party[holders] = cards["instrument_id"][token[first]]
    types = world.tables["s4_device_base_6A"]["device_type"][links["device_id"] - 1]
    phone = (types == world.contracts.code("device_type", "MOBILE_PHONE")) & (links["party_id"] > 0)
    phone &= links["link_role"] == world.contracts.code("device_link_role", "PRIMARY_OWNER")
    rows = np.flatnonzero(phone)
    rows = rows[np.unique(links["party_id"][rows], return_index=True)[1]]
    bound = np.zeros(len(phone), np.int64)
    bound[rows] = of_party[links["party_id"][rows]]
    links["instrument_id"] = bound
