"""The bank's view: which flows it hears of, by which door, and what it concludes about them.

Law: contracts/laws/s4.md. The label is a function of findings, claims and bearers only; truth decides how people behave
(who claims what, how often an analyst is right), never the label itself.
"""

from typing import NamedTuple

import numpy as np

from fraudloom.kernels.claims import settle_claim
from fraudloom.kernels.delays import business_add, sample_delay
from fraudloom.kernels.jit import helper, kernel
from fraudloom.kernels.signals import (
    ALERT,
    BLOCK,
    C_DETECTION,
    C_LABEL,
    C_SOURCE,
    C_STATUS,
    C_STEPS,
    CANDIDATE,
    COLLATERAL,
    CUSTOMER,
    D_ALERT,
    D_AMBIGUITY,
    D_BLOCK,
    D_CHARGEBACK,
    D_CLAIM,
    D_COLLATERAL,
    D_NETWORK,
    D_SERVICE,
    FINDING_CLEARED,
    FINDING_CONFIRMED,
    L_ALERT,
    L_BLOCK,
    L_COLLATERAL,
    L_HANDLE,
    L_NETWORK,
    L_SERVICE,
    L_TOUCH,
    LABEL_NONE,
    NETWORK,
    OUTCOME_AT_AUTH,
    OUTCOME_POST,
    REASON_FRAUD,
    SERVICE,
    SLOTS_ALERT,
    SLOTS_BLOCK,
    SLOTS_CHARGEBACK,
    SLOTS_CLAIM,
    SLOTS_NETWORK,
    SOURCE_ALERT,
    SOURCE_ANALYST,
    SOURCE_BLOCK,
    SOURCE_CUSTOMER,
    SOURCE_NETWORK,
    STATUS_BLOCKED,
    STATUS_CENSORED,
    STATUS_FINAL,
    STATUS_PROVISIONAL,
    T_ALERT,
    T_AVAILABLE,
    T_DECISION,
    T_DETECTION,
    T_FINAL,
    T_JOIN,
    T_REVIEW,
    U_SERVICE,
    add_step,
)
from fraudloom.kernels.streams import draw


class ScreenRules(NamedTuple):
    """Rules of `screen_flows`, arrays by code: block_code bool[response codes]; posture float64[party roles]; detect,
    dispute float64[demand classes]; channel float64[channels]; settled bool[outcomes] (domain of service disputes);
    scalars: declined, held, customer, network int64 codes; collateral, service float64 probabilities."""

    block_code: np.ndarray
    posture: np.ndarray
    detect: np.ndarray
    dispute: np.ndarray
    channel: np.ndarray
    settled: np.ndarray
    declined: int
    held: int
    customer: int
    network: int
    collateral: float
    service: float


class ScreenFlows(NamedTuple):
    """Columns that `screen_flows` reads, [n] each: ordinal, report_ts, cleared, party, merchant int64; decision, code,
    block, payment, door, outcome, channel, layer int8; alerted, tagged bool; party_role int8[parties] and demand
    int8[merchants] are world tables by id - 1."""

    ordinal: np.ndarray
    report_ts: np.ndarray
    cleared: np.ndarray
    party: np.ndarray
    merchant: np.ndarray
    decision: np.ndarray
    code: np.ndarray
    block: np.ndarray
    payment: np.ndarray
    door: np.ndarray
    outcome: np.ndarray
    channel: np.ndarray
    layer: np.ndarray
    alerted: np.ndarray
    tagged: np.ndarray
    party_role: np.ndarray
    demand: np.ndarray


@kernel
def screen_flows(flows, rules, keys, evidence, out):
    """Which flows the bank may hear of. flows ScreenFlows[n]; rules ScreenRules; keys uint64[decisions]; evidence
    uint64[decisions, 2]; out int8[n]: bits BLOCK, ALERT, CUSTOMER, NETWORK, SERVICE, CANDIDATE."""
    for i in range(flows.ordinal.shape[0]):
        u_mark = draw(keys, D_AMBIGUITY, flows.ordinal[i] * 2, evidence)
        u_posture = draw(keys, D_AMBIGUITY, flows.ordinal[i] * 2 + 1, evidence)
        demand = flows.demand[flows.merchant[i] - 1]
        declined = flows.decision[i] == rules.declined
        s = 0
        if declined and (rules.block_code[flows.code[i]] or flows.block[i] != 0):
            s = BLOCK
        elif flows.alerted[i] or flows.payment[i] == rules.held:
            s = ALERT
        elif not declined and flows.layer[i] == 0:
            posture = rules.posture[flows.party_role[flows.party[i] - 1]]
            if u_posture < posture * rules.detect[demand]:
                s = ALERT
        if flows.report_ts[i] > 0:
            if flows.door[i] == rules.customer:
                s |= CUSTOMER
            elif flows.door[i] == rules.network:
                s |= NETWORK
        if rules.settled[flows.outcome[i]] and not flows.tagged[i]:
            u = draw(keys, D_SERVICE, flows.ordinal[i], evidence)
            p = rules.service * rules.channel[flows.channel[i]] * rules.dispute[demand]
            if u < p and flows.cleared[i] > 0 and (s & (CUSTOMER | NETWORK)) == 0:
                s |= SERVICE
        if s == 0 and flows.layer[i] == 0 and u_mark < rules.collateral:
            s = CANDIDATE
        out[i] = s


@kernel
def find_collateral(account, ts, source_account, source_ts, source_known, window_us, out):
    """Earliest knowledge of a bad flow near each candidate on its account.

    account, ts int64[n]: candidates; source_account, source_ts, source_known int64[s], sorted by source_account:
    known bad flows; window_us int64. out int64[n]: the least source_known over sources of the same account with
    |ts - source_ts| <= window_us, 0 when there is none.
    """
    for i in range(account.shape[0]):
        lo = 0
        hi = source_account.shape[0]
        while lo < hi:
            middle = (lo + hi) >> 1
            if source_account[middle] < account[i]:
                lo = middle + 1
            else:
                hi = middle
        best = np.int64(0)
        while lo < source_account.shape[0] and source_account[lo] == account[i]:
            gap = ts[i] - source_ts[lo]
            if -window_us <= gap <= window_us and (best == 0 or source_known[lo] < best):
                best = source_known[lo]
            lo += 1
        out[i] = best


class BankFlows(NamedTuple):
    """Columns of the flows that `work_flows` treats, [n] each: ordinal, ts, response_ts, clear_ts, report_ts, amount,
    amount_ref, cleared, refunded, issuer, known_ts int64 (known_ts: of a COLLATERAL flow, when the bad flow beside it
    became known); signals, kind (code of fraud_class), demand, moved (0 no money left the payer, 1 card, 2 rail, 3 rail
    and returned), entry, cvm, three_ds int8; series, stopped bool (stopped: declined because the holder had stopped the
    card, so nobody asks)."""

    ordinal: np.ndarray
    ts: np.ndarray
    response_ts: np.ndarray
    clear_ts: np.ndarray
    report_ts: np.ndarray
    amount: np.ndarray
    amount_ref: np.ndarray
    cleared: np.ndarray
    refunded: np.ndarray
    issuer: np.ndarray
    known_ts: np.ndarray
    signals: np.ndarray
    kind: np.ndarray
    demand: np.ndarray
    moved: np.ndarray
    entry: np.ndarray
    cvm: np.ndarray
    three_ds: np.ndarray
    series: np.ndarray
    stopped: np.ndarray


class BankRules(NamedTuple):
    """Rules of `work_flows`: delays float64[2 laws, 6]; opens, closes int64[w] and window int64[issuers, 2]: business
    windows of an issuer's country are [window[i, 0], window[i, 1]); label_map int8[4, 7, 5] by finding, claim, bearer;
    confirm float64[fraud classes]; detect, false_positive float64[demand classes]; scalars: block_checked,
    network_confirm float64; stretch float64 of delays that begin out of hours; presumed_us, last_us int64."""

    delays: np.ndarray
    opens: np.ndarray
    closes: np.ndarray
    window: np.ndarray
    label_map: np.ndarray
    confirm: np.ndarray
    detect: np.ndarray
    false_positive: np.ndarray
    block_checked: float
    network_confirm: float
    stretch: float
    presumed_us: int
    last_us: int


class BankOut(NamedTuple):
    """Outputs of `work_flows`: times int64[n, T_WIDTH], codes int8[n, C_WIDTH], step_ts int64[n, STEPS], step_label and
    step_source int8[n, STEPS]. The caller gives zeros."""

    times: np.ndarray
    codes: np.ndarray
    step_ts: np.ndarray
    step_label: np.ndarray
    step_source: np.ndarray


@helper
def confirm_probability(rules, kind, demand):
    """Probability that an analyst calls a flow fraud: of truth class `kind`, at a merchant of class `demand`."""
    if kind == 0:
        return min(1.0, rules.confirm[0] * rules.false_positive[demand])
    return 1.0 - min(1.0, (1.0 - rules.confirm[kind]) / rules.detect[demand])


@helper
def works_until(rules, issuer, ts, d):
    """`business_add` in the windows of an issuer's country, clamped to the horizon."""
    row = issuer - 1
    done = business_add(ts, d, rules.opens, rules.closes, rules.window[row, 0], rules.window[row, 1], rules.stretch)
    return min(done, rules.last_us)


@helper
def close_view(flow_ts, blocked, claimed, pending, rules, steps, n, out, j):
    """Sort the steps of a flow, fold them into labels, write history, label, availability, finality and status."""
    for a in range(1, n):
        b = a
        while b > 0 and steps[b - 1, 0] > steps[b, 0]:
            for c in range(steps.shape[1]):
                held = steps[b, c]
                steps[b, c] = steps[b - 1, c]
                steps[b - 1, c] = held
            b -= 1
    finding = np.int64(0)
    claim = np.int64(0)
    bearer = np.int64(0)
    label = np.int64(LABEL_NONE)
    count = 0
    available = flow_ts + rules.presumed_us
    for a in range(n):
        finding = max(finding, steps[a, 2])
        if steps[a, 3] >= 0:
            claim = steps[a, 3]
        if steps[a, 4] >= 0:
            bearer = steps[a, 4]
        now = np.int64(rules.label_map[finding, claim, bearer])
        if now != label:
            label = now
            available = steps[a, 0]
            out.step_ts[j, count] = available
            out.step_label[j, count] = label
            out.step_source[j, count] = steps[a, 1]
            count += 1
    final = np.int64(0)
    if pending:
        status = STATUS_CENSORED
    elif count == 0 and blocked:
        status = STATUS_BLOCKED
    else:
        final = max(available, out.times[j, T_DECISION] if claimed else flow_ts + rules.presumed_us)
        status = STATUS_FINAL
        if final > rules.last_us:
            final = np.int64(0)
            status = STATUS_PROVISIONAL
    out.codes[j, C_LABEL] = label
    out.codes[j, C_STATUS] = status
    out.codes[j, C_STEPS] = count
    out.times[j, T_AVAILABLE] = available
    out.times[j, T_FINAL] = final


@helper
def first_known(out, j, ts, outcome, source):
    """Note the first knowledge of a flow by the bank: instant, outcome and door, unless there was one before."""
    if out.codes[j, C_DETECTION] == 0 and outcome != 0:
        out.codes[j, C_DETECTION] = outcome
        out.times[j, T_DETECTION] = ts
    if out.codes[j, C_SOURCE] == 0:
        out.codes[j, C_SOURCE] = source


@helper
def join_case(out, j, ts):
    """Note an instant that opens or joins a case; the earliest counts."""
    if out.times[j, T_JOIN] == 0 or ts < out.times[j, T_JOIN]:
        out.times[j, T_JOIN] = ts


@helper
def work_block(flows, j, rules, keys, evidence, steps, n, out):
    """A flow declined as suspected fraud: asked about, or never verified. Returns the number of steps."""
    base = flows.ordinal[j] * SLOTS_BLOCK
    u_asked = draw(keys, D_BLOCK, base, evidence)
    u_delay = draw(keys, D_BLOCK, base + 1, evidence)
    u_answer = draw(keys, D_BLOCK, base + 2, evidence)
    first_known(out, j, flows.response_ts[j], OUTCOME_AT_AUTH, SOURCE_BLOCK)
    if u_asked < rules.block_checked and not flows.stopped[j]:
        at = min(flows.response_ts[j] + sample_delay(u_delay, rules.delays, L_BLOCK), rules.last_us)
        bad = u_answer < confirm_probability(rules, flows.kind[j], flows.demand[j])
        n = add_step(steps, n, at, SOURCE_BLOCK, FINDING_CONFIRMED if bad else FINDING_CLEARED, -1, -1)
        join_case(out, j, at)
    return n


@helper
def work_alert(flows, j, report, u_touch, u_verdict, u_handle, rules, steps, n, out):
    """Touch and verdict of an alert; a report before the verdict brings it forward. Returns (steps, confirmed)."""
    alert = out.times[j, T_ALERT]
    issuer = flows.issuer[j]
    touch = works_until(rules, issuer, alert, sample_delay(u_touch, rules.delays, L_TOUCH))
    verdict = works_until(rules, issuer, touch, sample_delay(u_handle, rules.delays, L_HANDLE))
    if report > 0:
        verdict = min(verdict, report)
    out.times[j, T_REVIEW] = min(touch, verdict)
    bad = u_verdict < confirm_probability(rules, flows.kind[j], flows.demand[j])
    n = add_step(steps, n, verdict, SOURCE_ALERT, FINDING_CONFIRMED if bad else FINDING_CLEARED, -1, -1)
    return n, bad


@helper
def work_network(flows, j, report, rules, keys, evidence, steps, n, out):
    """A merchant's, network's or other bank's report, checked by an analyst. Returns the number of steps."""
    u_delay = draw(keys, D_NETWORK, flows.ordinal[j] * SLOTS_NETWORK, evidence)
    u_answer = draw(keys, D_NETWORK, flows.ordinal[j] * SLOTS_NETWORK + 1, evidence)
    checked = works_until(rules, flows.issuer[j], report, sample_delay(u_delay, rules.delays, L_NETWORK))
    bad = u_answer < rules.network_confirm
    n = add_step(steps, n, checked, SOURCE_NETWORK, FINDING_CONFIRMED if bad else FINDING_CLEARED, -1, -1)
    first_known(out, j, report, OUTCOME_POST, SOURCE_NETWORK)
    join_case(out, j, report)
    if out.times[j, T_REVIEW] == 0:
        out.times[j, T_REVIEW] = checked
    return n


@kernel
def work_flows(flows, rules, claims, keys, evidence, scratch, steps, out):
    """Everything that the bank learns and concludes about each flow, in the order of the law.

    flows BankFlows[n]; rules BankRules; claims ClaimRules; keys uint64[decisions]; evidence uint64[decisions, 2];
    scratch float64[13] and steps int64[8, 5] are overwritten; out BankOut[n], zeros on entry.
    """
    for j in range(flows.ordinal.shape[0]):
        s = np.int64(flows.signals[j])
        n = 0
        first = flows.response_ts[j]
        confirmed = False
        if (s & BLOCK) != 0:
            n = work_block(flows, j, rules, keys, evidence, steps, n, out)
        u_touch = 0.5
        u_verdict = 0.5
        u_handle = 0.5
        if (s & ALERT) != 0:
            base = flows.ordinal[j] * SLOTS_ALERT
            u_alert = draw(keys, D_ALERT, base, evidence)
            u_touch = draw(keys, D_ALERT, base + 1, evidence)
            u_verdict = draw(keys, D_ALERT, base + 2, evidence)
            u_handle = draw(keys, D_ALERT, base + 3, evidence)
            first = min(first + sample_delay(u_alert, rules.delays, L_ALERT), rules.last_us)
            out.times[j, T_ALERT] = first
            first_known(out, j, first, OUTCOME_POST, SOURCE_ALERT)
            join_case(out, j, first)
        report = np.int64(0)
        if (s & (CUSTOMER | NETWORK)) != 0:
            report = min(max(flows.report_ts[j], first), rules.last_us)
        claimed = (s & SERVICE) != 0 or ((s & CUSTOMER) != 0 and flows.moved[j] != 0)
        if claimed:
            for k in range(SLOTS_CLAIM):
                scratch[k] = draw(keys, D_CLAIM, flows.ordinal[j] * SLOTS_CLAIM + k, evidence)
            for k in range(SLOTS_CHARGEBACK):
                counter = flows.ordinal[j] * SLOTS_CHARGEBACK + k
                scratch[SLOTS_CLAIM + k] = draw(keys, D_CHARGEBACK, counter, evidence)
            if (s & SERVICE) != 0:
                filed = flows.clear_ts[j] + sample_delay(scratch[U_SERVICE], rules.delays, L_SERVICE)
                report = min(max(filed, first), rules.last_us)
        if (s & ALERT) != 0:
            n, confirmed = work_alert(flows, j, report, u_touch, u_verdict, u_handle, rules, steps, n, out)
        if (s & NETWORK) != 0:
            n = work_network(flows, j, report, rules, keys, evidence, steps, n, out)
        if (s & CUSTOMER) != 0 and not claimed:
            n = add_step(steps, n, report, SOURCE_CUSTOMER, FINDING_CONFIRMED, -1, -1)
            first_known(out, j, report, OUTCOME_POST, SOURCE_CUSTOMER)
            join_case(out, j, report)
        pending = False
        if claimed:
            n, reason, pending = settle_claim(flows, j, report, confirmed, rules, claims, scratch, steps, n, out)
            first_known(out, j, report, OUTCOME_POST if reason == REASON_FRAUD else 0, SOURCE_CUSTOMER)
            join_case(out, j, report)
        if (s & COLLATERAL) != 0:
            u = draw(keys, D_COLLATERAL, flows.ordinal[j], evidence)
            start = max(flows.response_ts[j], flows.known_ts[j])
            at = works_until(rules, flows.issuer[j], start, sample_delay(u, rules.delays, L_COLLATERAL))
            n = add_step(steps, n, at, SOURCE_ANALYST, FINDING_CONFIRMED, -1, -1)
            first_known(out, j, at, OUTCOME_POST, SOURCE_ANALYST)
            join_case(out, j, at)
        close_view(flows.ts[j], (s & BLOCK) != 0, claimed, pending, rules, steps, n, out, j)
