"""Twins of the device, address and terminal of an arrival, and of the look-up of links."""

from naive.attach import ATM, POS, choose, step_draw
from naive.streams import draw, split_remap
from naive.world import as_lists

PRIMARY_OWNER = 0
TYPICAL = 0
MERCHANT = 5


def till(d, merchant, city, u):
    """Place of one of the merchant's terminals in the city, else of any of its terminals, else None."""
    own = range(d.terminal_ptr[merchant - 1], d.terminal_ptr[merchant])
    near = [t for t in own if d.terminal_city[t] == city] or list(own)
    return near[min(int(u * len(near)), len(near) - 1)] if near else None


def customer_device(d, party, ts, phones, priors, u):
    """The first own device, or another by role; 0 without candidates. `priors`: (p_primary, weights of roles)."""
    p_primary, role_weight = priors
    rows = range(d.link_ptr[party - 1], d.link_ptr[party]) if party else []
    rows = [r for r in rows if d.device_from[d.link_device[r] - 1] <= ts < d.device_to[d.link_device[r] - 1]]
    if phones:
        rows = [r for r in rows if d.phone[d.link_device[r] - 1]] or rows
    main = next((r for r in rows if d.link_role[r] == PRIMARY_OWNER), None)
    others = [r for r in rows if r != main]
    if main is not None:
        primary, u = split_remap(u, p_primary)
        if primary or not others:
            return d.link_device[main]
    if not others:
        return 0
    return d.link_device[others[choose([role_weight[d.link_role[r]] for r in others], u)]]


def customer_address(d, device, weight, p_typical, u):
    """An address of the device by the group's weight, of the typical ones with p_typical; 0 without candidates."""
    rows = range(d.ip_ptr[device - 1], d.ip_ptr[device]) if device else []
    links = [(d.ip_id[r], d.ip_role[r], d.ip_group[d.ip_id[r] - 1]) for r in rows]
    links = [(ip, role, weight[group]) for ip, role, group in links if group != MERCHANT]
    typical, rest = split_remap(u, p_typical)
    usual = [link for link in links if link[1] == TYPICAL]
    if typical and sum(w for _, _, w in usual) > 0.0:
        links = usual
    return links[choose([w for _, _, w in links], rest)][0] if links else 0


def attach_device(rows, party, instrument, devices, priors, streams, evidence, out):
    """A terminal where one is used, else a device of the customer and an address of it."""
    a, d, prior = as_lists(rows), as_lists(devices), as_lists(priors)
    first = -1
    for i, owner in enumerate(int(x) for x in party):
        keys = (a.visit[i], a.series[i])
        u_device = step_draw(keys, 6, streams, evidence)
        u_ip = step_draw(keys, 8, streams, evidence)
        channel, at = a.channel[i], None
        present = channel in (POS, ATM)
        if present:
            u = draw(streams.keys, 10, (a.first + i) * int(streams.slots[10]), evidence)
            used, rest = split_remap(u, prior.terminal[channel])
            if used and not a.pinned_device[i] and not a.pinned_ip[i]:
                at = till(d, a.merchant[i], a.city[i], rest)
        terminal = device = ip = 0
        if at is not None:
            terminal, device, ip = d.terminal_id[at], d.terminal_device[at], d.terminal_ip[at]
        elif owner:
            family = d.family[owner - 1]
            own = (prior.primary[family][channel], prior.role)
            phone = d.wallet[int(instrument[i]) - 1] if instrument[i] else 0
            if phone and not d.device_from[phone - 1] <= a.ts[i] < d.device_to[phone - 1]:
                phone = 0
            device = a.pinned_device[i] or phone or customer_device(d, owner, a.ts[i], present, own, u_device)
            weight, typical = prior.group[family][channel], prior.typical[family][channel]
            ip = a.pinned_ip[i] or customer_address(d, device, weight, typical, u_ip)
        out.device[i], out.ip[i], out.terminal[i] = device, ip, terminal
        if (device == 0 or ip == 0) and first < 0:
            first = i
    return first


def hold_links(ptr, targets, owner, target, out):
    """Sets of targets by owner; nothing is asked of owner 0."""
    for i, k in enumerate(int(x) for x in owner):
        held = targets[int(ptr[k - 1]) : int(ptr[k])] if k else ()
        out[i] = k == 0 or int(target[i]) in {int(t) for t in held}
