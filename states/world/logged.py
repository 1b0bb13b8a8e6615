"""What a log names: customers, cards, devices and addresses become rows of 6A, and the policies fill in the rest.

A name takes a row that the policies made for its holder while there is one, so that a log which names one card or one
device a customer changes nothing else; further names get rows of their own.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from fraudloom.errors import DataError
from fraudloom.importlog import LogRows
from fraudloom.states.world import devices as dev
from fraudloom.states.world.parties import Accounts, Parties
from fraudloom.states.world.spec import DAY_US, I64, Context, pick
from fraudloom.tables import Columns

#: Most parties of a household, as `world verify` demands.
HOUSEHOLD_MAX = 50
#: A household above this many shard targets cannot be woven in one shard.
SHARDS_MAX = 4
#: Kinds of further devices, places of `devices.BODIES`: a first phone carries the wallet and is the policies'.
FURTHER = (1, 2, 3, 4)


@dataclass(frozen=True)
class Cast:
    """Who and what each row names, as rows of tables from 0 (int64[n]; -1 where it names none).

    party; card: a distinct (party, card reference); device, ip: in the order of their names. card_party, card_name:
    int64[cards] party and place in the log's card names; customer: name of each party, "" where the log gives none;
    device_name, ip_name: names in order; household: int64[parties] smallest party that it shares devices with.
    """

    party: I64
    card: I64
    device: I64
    ip: I64
    card_party: I64
    card_name: I64
    customer: list[str]
    device_name: list[str]
    ip_name: list[str]
    household: I64


def ranked(names: list[str], codes: I64) -> tuple[list[str], I64]:
    """Names in order, and each row's place among them (-1 stays)."""
    order = sorted(range(len(names)), key=names.__getitem__)
    rank = np.empty(len(names) + 1, np.int64)
    rank[order], rank[-1] = np.arange(len(names)), -1
    return [names[k] for k in order], rank[codes]


def _first_of(keys: I64, values: I64, count: int) -> I64:
    """Of each key below `count`: the value of its first row with a value >= 0, else -1."""
    out = np.full(count, -1, np.int64)
    known = np.flatnonzero(values >= 0)[::-1]
    out[keys[known]] = values[known]
    return out


def _households(party: I64, device: I64, parties: int) -> I64:
    """Smallest party that each is tied to by devices in common, through others too."""
    root = np.arange(parties, dtype=np.int64)
    named = device >= 0
    pairs = np.unique(np.stack([device[named], party[named]], axis=1), axis=0)

    def find(p: int) -> int:
        while root[p] != p:
            root[p] = root[root[p]]
            p = int(root[p])
        return p

    for k in np.flatnonzero(pairs[1:, 0] == pairs[:-1, 0]):
        a, b = find(int(pairs[k, 1])), find(int(pairs[k + 1, 1]))
        root[max(a, b)] = min(a, b)
    return np.asarray([find(p) for p in range(parties)], np.int64) if len(pairs) else root


def cast_rows(rows: LogRows) -> Cast:
    """Parties (customers, or cards where the log names none), cards, devices and addresses of every row."""
    cards, card = ranked(rows.names["card"], rows.named["card"])
    customers, customer = ranked(rows.names["customer"], rows.named["customer"])
    devices, device = ranked(rows.names["device"], rows.named["device"])
    ips, ip = ranked(rows.names["ip"], rows.named["ip"])
    # A row without a customer is its card's customer's; a card that never names one is a customer of its own.
    owner = np.where(customer >= 0, customer, _first_of(card, customer, len(cards))[card])
    key = np.where(owner >= 0, owner, len(customers) + card)
    held, party = np.unique(key, return_inverse=True)
    names = [customers[k] if k < len(customers) else "" for k in held]
    party = party.astype(np.int64)
    home = _households(party, device, len(held))
    size = np.bincount(home, minlength=len(held))[home]
    # Members of a household that devices made stand side by side, before all others.
    order = np.lexsort((np.arange(len(held)), home, size == 1))
    place = np.empty(len(held), np.int64)
    place[order] = np.arange(len(held))
    party, home, names = place[party], place[home][order], [names[k] for k in order]
    pairs, of_row = np.unique(party * (len(cards) + 1) + card, return_inverse=True)
    split = (pairs // (len(cards) + 1), pairs % (len(cards) + 1))
    card_name = np.asarray(split[1], np.int64)
    return Cast(party, of_row.astype(np.int64), device, ip, split[0], card_name, names, devices, ips, home)


def check_sizes(cast: Cast, folk: Parties, card_names: list[str], target: int) -> None:
    """DataError for a household of too many customers, or of more rows than a shard can take."""
    cohort = folk.table["cohort_id"] - 1
    people = np.bincount(cohort)
    if int(people.max(initial=0)) > HOUSEHOLD_MAX:
        members = np.flatnonzero(cohort == int(np.argmax(people)))
        mine = np.isin(cast.party, members) & (cast.device >= 0)
        pairs = np.unique(cast.device[mine] * len(cohort) + cast.party[mine]) // len(cohort)
        busiest = int(np.argmax(np.bincount(pairs)))
        raise DataError(
            "WORLD",
            "IMPORT_HOUSEHOLD",
            what="devices in common tie too many customers together",
            found=f"{len(members)} customers; device {cast.device_name[busiest]!r} alone has "
            f"{int((pairs == busiest).sum())}",
            expected=f"at most {HOUSEHOLD_MAX}",
            action="leave `device` out of the map, or clear the cells of devices that are not a customer's own",
        )
    load = np.bincount(cohort[cast.party], minlength=1)
    if int(load.max()) > SHARDS_MAX * target:
        worst = int(np.argmax(load))
        mine = cohort[cast.party] == worst
        cards = np.bincount(cast.card[mine])
        busiest = int(np.argmax(cards))
        raise DataError(
            "WORLD",
            "IMPORT_COHORT_TOO_LARGE",
            what="the log is too skewed: one household has more rows than a shard can take",
            found=f"{int(load[worst])} of {len(cast.party)} rows are of {int((cohort == worst).sum())} customer(s); "
            f"card {card_names[cast.card_name[busiest]]!r} alone has {int(cards.max())}",
            expected=f"at most {SHARDS_MAX * target} rows ({SHARDS_MAX} x sizes.shard_target_arrivals)",
            action="raise sizes.shard_target_arrivals in a copy of the world policy (--policy), or cut the log by time",
        )


def settle_households(folk: Parties, cast: Cast) -> Parties:
    """Households as the devices tie them; the policies' draw stays for everybody else."""
    n = len(cast.household)
    if not len(cast.device_name) or not n:
        return folk
    tied = np.bincount(cast.household, minlength=n)[cast.household] > 1
    drawn = folk.table["cohort_id"]
    first = np.ones(n, np.bool_)
    first[1:] = np.where(tied[1:], cast.household[1:] != cast.household[:-1], (drawn[1:] != drawn[:-1]) | tied[:-1])
    heads = np.flatnonzero(first)
    sizes = np.diff(np.append(heads, n))
    cohort = np.repeat(np.arange(len(heads), dtype=np.int64), sizes)
    table = {**folk.table, "cohort_id": cohort + 1}
    for name in ("latitude", "longitude"):
        table[name] = folk.table[name][heads[cohort]]
    cohorts: Columns = {
        "cohort_id": np.arange(1, len(heads) + 1, dtype=np.int64),
        "party_count": sizes.astype(np.int32),
        "first_party_id": heads + 1,
    }
    return replace(folk, cohorts=cohorts, table=table, size=sizes[cohort], first=heads[cohort])


def _rank(group: I64) -> I64:
    """0-based place of each element in its run of equal values."""
    return np.arange(len(group)) - np.searchsorted(group, group, side="left")


def seat_cards(ctx: Context, accounts: Accounts, cast: Cast, card_names: list[str]) -> tuple[Accounts, I64]:
    """Instruments with the log's cards among them, and the instrument id of each card.

    A card takes the holder's next physical card; beyond those it is a further card, with a successor, of the account of
    the first one.
    """
    table, form = accounts.instruments, accounts.form
    physical = np.flatnonzero(form == 0)
    owner = table["owner_party_id"][physical] - 1
    order = np.argsort(owner, kind="stable")
    physical, owner = physical[order], owner[order]
    first = np.searchsorted(owner, cast.card_party)
    place = first + _rank(cast.card_party)
    fits = place < np.searchsorted(owner, cast.card_party, side="right")
    row = np.where(fits, physical[np.where(fits, place, 0)], -1)
    further = np.flatnonzero(~fits)
    n, k = len(form), len(further)
    model = physical[first[further]]
    after = np.flatnonzero(form == 5)
    spare = after[np.searchsorted(table["account_id"][after], table["account_id"][model])]
    copies = np.concatenate([np.arange(n), model, spare])
    cols = {name: values[copies] for name, values in table.items()}
    lo, hi = (int(x) for x in ctx.policy["instruments"]["age_days"])
    age = lo + (ctx.draws.uniforms("instruments", "AGE_LOGGED", k) * (hi - lo)).astype(np.int64)
    cols["valid_from"][n : n + k] = ctx.start_us - age * DAY_US
    cols["successor_of"][n + k :] = n + 1 + np.arange(k)
    row[further] = n + np.arange(k)
    cols["external_ref"][row] = np.asarray([card_names[c] for c in cast.card_name], dtype=object)
    order = np.lexsort((form[copies], cols["account_id"]))
    number = np.empty(len(order) + 1, np.int64)
    number[order + 1], number[0] = np.arange(1, len(order) + 1), 0
    cols = {name: values[order] for name, values in cols.items()}
    cols["instrument_id"] = np.arange(1, len(order) + 1, dtype=np.int64)
    cols["successor_of"] = number[cols["successor_of"]]
    return replace(accounts, instruments=cols, form=form[copies][order]), number[row + 1]


def use_throughout(ctx: Context, cols: Columns, ids: I64) -> None:
    """Cards or devices that a log names are in use over the whole horizon, in place: the log knows of no renewal."""
    row = ids - 1
    cols["valid_from"][row] = np.minimum(cols["valid_from"][row], ctx.start_us)
    cols["valid_to"][row] = np.maximum(cols["valid_to"][row], ctx.start_us + ctx.spec.days * DAY_US)


@dataclass(frozen=True)
class Seats:
    """Devices of the log among the customers' own: `owned` with further ones; `device`: id of each; `links`: further
    (device id, party row) users."""

    owned: dev.Owned
    device: I64
    links: tuple[I64, I64]


def seat_devices(ctx: Context, owned: dev.Owned, cast: Cast) -> Seats:
    """A device is of the party with most rows on it (the lowest of equals): its next own device, or a further one."""
    named = cast.device >= 0
    base = int(cast.party.max(initial=0)) + 1
    pairs, count = np.unique(cast.device[named] * base + cast.party[named], return_counts=True)
    device, party = pairs // base, pairs % base
    lead = np.lexsort((party, -count, device))
    lead = lead[np.searchsorted(device[lead], np.arange(len(cast.device_name)))]
    holder = party[lead]
    order = np.argsort(holder, kind="stable")
    first = np.searchsorted(owned.owner, holder[order])
    place = first + _rank(holder[order])
    fits = place < np.searchsorted(owned.owner, holder[order], side="right")
    n, k = len(owned.owner), int((~fits).sum())
    law = ctx.policy["devices"]
    weights = [float(law[dev.BODIES[b]]) for b in FURTHER]
    body = np.asarray(FURTHER, np.int64)[pick(weights, ctx.draws.uniforms("devices", "BODY_LOGGED", k))]
    row = np.empty(len(order), np.int64)
    row[order] = np.where(fits, place, n + np.cumsum(~fits) - 1)
    owner = np.concatenate([owned.owner, holder[order][~fits]])
    bodies, second = np.concatenate([owned.body, body]), np.concatenate([owned.second, np.full(k, -1, np.int64)])
    sort = np.argsort(owner, kind="stable")
    number = np.empty(len(sort), np.int64)
    number[sort] = np.arange(1, len(sort) + 1)
    full = dev.Owned(owner[sort], bodies[sort], second[sort])
    ids = number[row]
    users = ids[device] - 1
    other = (full.owner[users] != party) & (full.second[users] != party)
    return Seats(full, ids, (ids[device[other]], party[other]))


def link_users(ctx: Context, links: Columns, seats: Seats) -> Columns:
    """s4_device_links_6A with the further users of the log's devices."""
    device, party = seats.links
    a, k = int(np.count_nonzero(links["party_id"])), len(device)
    own = {name: np.concatenate([v[:a], np.zeros(k, v.dtype)]) for name, v in links.items()}
    own["device_id"][a:], own["party_id"][a:] = device, party + 1
    own["link_role"][a:] = ctx.code("device_link_role", "SECONDARY_USER")
    order = np.lexsort((own["device_id"], own["party_id"]))
    return {name: np.concatenate([own[name][order], v[a:]]) for name, v in links.items()}


def seat_addresses(ctx: Context, ips: Columns, cast: Cast, cohort: I64) -> tuple[Columns, I64]:
    """s4_ip_base_6A with the log's addresses behind all others, and the id of each.

    An address of one household is residential; one that several share is a carrier's.
    """
    n, k = len(ips["ip_id"]), len(cast.ip_name)
    named = cast.ip >= 0
    base = int(cohort.max(initial=0)) + 1
    users = np.unique(cast.ip[named] * base + cohort[cast.party[named]]) // base
    shared = np.bincount(users, minlength=k) > 1
    out = {name: np.concatenate([v, np.zeros(k, v.dtype)]) for name, v in ips.items()}
    ids = np.arange(n + 1, n + k + 1, dtype=np.int64)
    out["ip_id"][n:] = ids
    kinds = zip(dev.DESCRIPTIONS["home"], dev.DESCRIPTIONS["carrier"], strict=True)
    for (own, many), name in zip(kinds, ("ip_type", "asn_class", "ip_group"), strict=True):
        out[name][n:] = np.where(shared, ctx.code(name, many), ctx.code(name, own))
    out["country_iso"][n:], out["city_id"][n:] = ips["country_iso"][0], 1
    out["external_ref"][n:] = np.asarray(cast.ip_name, dtype=object)
    return out, ids


def link_addresses(
    ctx: Context, links: Columns, devices: Columns, users: Columns, cast: Cast, device: I64, ip: I64
) -> Columns:
    """s4_ip_links_6A with the log's: to the row's device, or to every device of the party where the row names none."""
    both = (cast.ip >= 0) & (cast.device >= 0)
    alone = np.unique(np.stack([cast.party, cast.ip], axis=1)[(cast.ip >= 0) & (cast.device < 0)], axis=0)
    held = users["party_id"][: int(np.count_nonzero(users["party_id"]))] - 1
    lo, hi = np.searchsorted(held, alone[:, 0]), np.searchsorted(held, alone[:, 0], side="right")
    pair = np.repeat(np.arange(len(alone)), hi - lo)
    at = np.arange(len(pair)) - np.repeat(np.cumsum(hi - lo) - (hi - lo), hi - lo) + lo[pair]
    new_device = np.concatenate([device[cast.device[both]], users["device_id"][at]])
    new_ip = np.concatenate([ip[cast.ip[both]], ip[alone[pair, 1]]])
    pairs = np.unique(np.stack([new_device, new_ip], axis=1), axis=0)
    role = np.full(len(pairs), ctx.code("ip_link_role", "TYPICAL_DEVICE_IP"), np.int8)
    out = {
        "ip_id": np.concatenate([links["ip_id"], pairs[:, 1]]),
        "device_id": np.concatenate([links["device_id"], pairs[:, 0]]),
        "link_role": np.concatenate([links["link_role"], role]),
    }
    order = np.lexsort((out["ip_id"], out["device_id"]))
    out = {name: v[order] for name, v in out.items()}
    out["party_id"] = devices["primary_party_id"][out["device_id"] - 1]
    out["merchant_id"] = devices["primary_merchant_id"][out["device_id"] - 1]
    return out
