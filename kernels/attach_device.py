"""Attachment kernels: device, address and terminal of each arrival, and the check that such links exist.

As in `attach`, a row is decided from its own keys and the sealed world alone.
"""

from typing import NamedTuple

import numpy as np

from fraudloom.kernels.attach import find_in
from fraudloom.kernels.jit import helper, kernel
from fraudloom.kernels.streams import draw, split_remap

Array = np.ndarray

# Rows of the decisions in `keys`, `slots` and evidence; series variants follow their visit variants.
DEVICE, ADDRESS, TERMINAL = 6, 8, 10
# Codes of channel_group that are acted at a till or cash machine.
POS, ATM = 1, 2
ROLE_PRIMARY_OWNER = 0
ROLE_TYPICAL_IP = 0


class Devices(NamedTuple):
    """Devices by party, terminals by (merchant, city), addresses by device; wallet: phone of an instrument's row (0 for
    what is no wallet token)."""

    family: Array
    link_ptr: Array
    link_device: Array
    link_role: Array
    device_from: Array
    device_to: Array
    phone: Array
    terminal_ptr: Array
    terminal_city: Array
    terminal_id: Array
    terminal_device: Array
    terminal_ip: Array
    ip_ptr: Array
    ip_id: Array
    ip_role: Array
    ip_group: Array
    wallet: Array


class DevicePriors(NamedTuple):
    """primary: float64[family, channel]; role: float64[role]; terminal: float64[channel];
    typical: float64[family, channel]; group: float64[family, channel, ip_group]."""

    primary: Array
    role: Array
    terminal: Array
    typical: Array
    group: Array


class DeviceOut(NamedTuple):
    """device, ip, terminal (0 for none): int64[n]."""

    device: Array
    ip: Array
    terminal: Array


@helper
def pick_device(link_ptr, link_device, link_role, device_from, device_to, phone, role_weight, draw_in):
    """Customer device id of a party, or 0: its first own device with p_primary, else another by role weight.

    draw_in: (party id, ts, phones, p_primary, u); only devices in use at ts, and only phones when `phones`.
    """
    party, ts, phones, p_primary, u = draw_in
    lo, hi = link_ptr[party - 1], link_ptr[party]
    main, total = -1, 0.0
    for k in range(lo, hi):
        row = link_device[k] - 1
        if device_from[row] <= ts < device_to[row] and (phone[row] or not phones):
            if main < 0 and link_role[k] == ROLE_PRIMARY_OWNER:
                main = k
            else:
                total += role_weight[link_role[k]]
    rest = u
    if main >= 0:
        primary, rest = split_remap(u, p_primary)
        if primary or total <= 0.0:
            return link_device[main]
    target, below, chosen = rest * total, 0.0, 0
    for k in range(lo, hi):
        row = link_device[k] - 1
        if k != main and device_from[row] <= ts < device_to[row] and (phone[row] or not phones):
            below += role_weight[link_role[k]]
            chosen = link_device[k]
            if below > target:
                break
    return chosen


@helper
def pick_terminal(terminal_ptr, terminal_city, merchant, city, u):
    """Place (in merchant, city order) of a terminal of the merchant, in the city if it has one there, or -1."""
    lo, hi = terminal_ptr[merchant - 1], terminal_ptr[merchant]
    if hi <= lo:
        return -1
    first, last = find_in(terminal_city, city, lo, hi)
    if last > first:
        lo, hi = first, last
    return lo + min(int(u * (hi - lo)), hi - lo - 1)


@helper
def pick_address(ip_ptr, ip_id, ip_role, ip_group, group_weight, device, p_typical, u):
    """Address id of a device, or 0: a typical one with p_typical, else any of its addresses, by group weight.

    group_weight: float64[ip_group].
    """
    lo, hi = ip_ptr[device - 1], ip_ptr[device]
    typical, rest = split_remap(u, p_typical)
    total, own = 0.0, 0.0
    for k in range(lo, hi):
        weight = group_weight[ip_group[ip_id[k] - 1]]
        total += weight
        if ip_role[k] == ROLE_TYPICAL_IP:
            own += weight
    if own <= 0.0:
        typical = False
    if typical:
        total = own
    target, below, chosen = rest * total, 0.0, 0
    for k in range(lo, hi):
        weight = group_weight[ip_group[ip_id[k] - 1]]
        if weight <= 0.0 or (typical and ip_role[k] != ROLE_TYPICAL_IP):
            continue
        below += weight
        chosen = ip_id[k]
        if below > target:
            break
    return chosen


@kernel
def attach_device(rows, party, instrument, devices, priors, streams, evidence, out):
    """Device, address and terminal of each arrival. Returns the first row without a candidate, or -1.

    A wallet token that is paid with a customer's device is paid with its phone.
    rows: Rows; party, instrument (0 for none): int64[n]; devices: Devices; priors: DevicePriors; streams: Streams;
    evidence: uint64[decisions, 2]; out: DeviceOut (device or ip 0 on rows without a candidate).
    """
    merchant, cities, instants, channels = rows.merchant, rows.city, rows.ts, rows.channel
    visits, all_series, first, family = rows.visit, rows.series, rows.first, devices.family
    pinned_device, pinned_ip = rows.pinned_device, rows.pinned_ip
    link_ptr, link_device, link_role = devices.link_ptr, devices.link_device, devices.link_role
    device_from, device_to, phone = devices.device_from, devices.device_to, devices.phone
    terminal_ptr, terminal_city, terminal_id = devices.terminal_ptr, devices.terminal_city, devices.terminal_id
    terminal_device, terminal_ip = devices.terminal_device, devices.terminal_ip
    ip_ptr, ip_id, ip_role, ip_group = devices.ip_ptr, devices.ip_id, devices.ip_role, devices.ip_group
    wallet = devices.wallet
    p_primary, role_weight, p_terminal = priors.primary, priors.role, priors.terminal
    p_typical, group_weight = priors.typical, priors.group
    keys, slots, out_device, out_ip, out_terminal = streams.keys, streams.slots, out.device, out.ip, out.terminal
    failed = -1
    for i in range(instants.shape[0]):
        channel, who, ts = channels[i], party[i], instants[i]
        variant, key = 0, visits[i]
        if all_series[i] > 0:
            variant, key = 1, all_series[i]
        u_device = draw(keys, DEVICE + variant, key * slots[DEVICE + variant], evidence)
        u_address = draw(keys, ADDRESS + variant, key * slots[ADDRESS + variant], evidence)
        at_till, place = channel in (POS, ATM), -1
        if at_till:
            u = draw(keys, TERMINAL, (first + i) * slots[TERMINAL], evidence)
            used, rest = split_remap(u, p_terminal[channel])
            if used and pinned_device[i] == 0 and pinned_ip[i] == 0:
                place = pick_terminal(terminal_ptr, terminal_city, merchant[i], cities[i], rest)
        device, ip, terminal = 0, 0, 0
        if place >= 0:
            device, ip, terminal = terminal_device[place], terminal_ip[place], terminal_id[place]
        elif who > 0:
            kin, phones, device = family[who - 1], at_till, pinned_device[i]
            if device == 0 and instrument[i] > 0:
                bound = wallet[instrument[i] - 1]
                if bound > 0 and device_from[bound - 1] <= ts < device_to[bound - 1]:
                    device = bound
            for _ in range(2):
                if device == 0:
                    device = pick_device(
                        link_ptr,
                        link_device,
                        link_role,
                        device_from,
                        device_to,
                        phone,
                        role_weight,
                        (who, ts, phones, p_primary[kin, channel], u_device),
                    )
                phones = False
            ip = pinned_ip[i]
            if device > 0 and ip == 0:
                ip = pick_address(
                    ip_ptr,
                    ip_id,
                    ip_role,
                    ip_group,
                    group_weight[kin, channel],
                    device,
                    p_typical[kin, channel],
                    u_address,
                )
        if (device == 0 or ip == 0) and failed < 0:
            failed = i
        out_device[i] = device
        out_ip[i] = ip
        out_terminal[i] = terminal
    return failed


@kernel
def hold_links(ptr, targets, owner, target, out):
    """Whether each target is linked to its owner: out[i] says if target[i] is in targets[ptr[k - 1]:ptr[k]] for the
    owner's id k.

    ptr: int64[m + 1]; targets: int64[r]; owner: int64[n], ids 1..m, or 0 for "nothing to check" (True);
    target: int64[n]; out: bool[n].
    """
    for i in range(owner.shape[0]):
        found = owner[i] == 0
        if not found:
            for k in range(ptr[owner[i] - 1], ptr[owner[i]]):
                if targets[k] == target[i]:
                    found = True
                    break
        out[i] = found
