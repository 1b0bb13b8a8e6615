"""Twins of the bank's screen and work, written from contracts/laws/s4.md: one flow at a time, steps in a list."""

from types import SimpleNamespace

from naive.claims import settle_claim
from naive.delays import business_add, sample_delay
from naive.streams import draw
from naive.world import as_lists

BLOCK, ALERT, CUSTOMER, NETWORK, SERVICE, COLLATERAL, CANDIDATE = 1, 2, 4, 8, 16, 32, 64
(
    D_AMBIGUITY,
    D_SERVICE,
    D_BLOCK,
    D_ALERT,
    D_NETWORK,
    D_COLLATERAL,
    D_CLAIM,
    D_CHARGEBACK,
) = range(8)
L_ALERT, L_TOUCH, L_HANDLE, L_BLOCK, L_NETWORK, L_COLLATERAL, L_SERVICE = range(7)
AT_AUTH, POST_AUTH = 1, 2
BY_BLOCK, BY_ALERT, BY_CUSTOMER, BY_NETWORK, BY_ANALYST = range(1, 6)
CLEARED, CONFIRMED = 2, 3
NO_LABEL, NO_CLAIM, KEEP = 2, 0, -1
PROVISIONAL, FINAL, CENSORED, UNVERIFIED = range(4)
FRAUD_REASON = 1
COLUMNS = ("dispute", "chargeback", "representment", "arbitration", "decision")


def draws(keys, d, ordinal, slots, evidence):
    """All slots of a row."""
    return [draw(keys, d, ordinal * slots + j, evidence) for j in range(slots)]


def row_of(columns, i, names):
    """One row of a namespace of lists."""
    return SimpleNamespace(**{name: getattr(columns, name)[i] for name in names})


def screen_flow(f, role, demand, rules, marked, u_service):
    """Signals of one flow as bits; `u_service` is None outside the domain of service disputes."""
    declined = f.decision == rules.declined
    posed = f.layer == 0 and marked[1] < rules.posture[role] * rules.detect[demand]
    signals = 0
    if declined and (rules.block_code[f.code] or f.block != 0):
        signals = BLOCK
    elif f.alerted or f.payment == rules.held or (not declined and posed):
        signals = ALERT
    if f.report_ts != 0 and f.door == rules.customer:
        signals += CUSTOMER
    if f.report_ts != 0 and f.door == rules.network:
        signals += NETWORK
    if u_service is not None and f.cleared > 0 and not signals & (CUSTOMER | NETWORK):
        p = rules.service * rules.channel[f.channel] * rules.dispute[demand]
        if u_service < p:
            signals += SERVICE
    if signals == 0 and f.layer == 0 and marked[0] < rules.collateral:
        signals = CANDIDATE
    return signals


def screen_flows(flows, rules, keys, evidence, out):
    """The screen of each flow."""
    columns, r = as_lists(flows), as_lists(rules)
    names = [name for name in vars(columns) if name not in ("party_role", "demand")]
    for i in range(len(columns.ordinal)):
        f = row_of(columns, i, names)
        marked = draws(keys, D_AMBIGUITY, f.ordinal, 2, evidence)
        service = draw(keys, D_SERVICE, f.ordinal, evidence) if r.settled[f.outcome] and not f.tagged else None
        role, demand = columns.party_role[f.party - 1], columns.demand[f.merchant - 1]
        out[i] = screen_flow(f, role, demand, r, marked, service)


def find_collateral(account, ts, source_account, source_ts, source_known, window_us, out):
    """The least known instant over all sources that are near enough."""
    sources = {}
    for owner, at, known in zip(source_account, source_ts, source_known, strict=True):
        sources.setdefault(int(owner), []).append((int(at), int(known)))
    for i in range(len(account)):
        near = [k for at, k in sources.get(int(account[i]), ()) if abs(int(ts[i]) - at) <= window_us]
        out[i] = min(near, default=0)


def history_of(steps, label_map):
    """Changes of the label: (instant, label, source) in time order."""
    finding, claim, bearer, label, rows = 0, 0, 0, NO_LABEL, []
    for instant, source, found, claimed, borne in sorted(steps, key=lambda step: step[0]):
        finding = max(finding, found)
        claim = claim if claimed == KEEP else claimed
        bearer = bearer if borne == KEEP else borne
        new = int(label_map[finding][claim][bearer])
        if new != label:
            rows.append((instant, new, source))
        label = new
    return label, rows


def confirm_probability(kind, demand, rules):
    """Probability that an analyst calls a flow fraud."""
    if kind == 0:
        return min(1.0, rules.confirm[0] * rules.false_positive[demand])
    return 1.0 - min(1.0, (1.0 - rules.confirm[kind]) / rules.detect[demand])


def work_flow(f, rules, claims, windows, keys, evidence):
    """All that the bank learns of one flow: a namespace of what is published."""
    last, delays = rules.last_us, rules.delays
    known = SimpleNamespace(outcome=0, ts=0, source=0, joined=0)
    steps, end = [], None
    at = dict.fromkeys(("alert", "review"), 0)

    def know(t, outcome, source):
        if known.outcome == 0 and outcome != 0:
            known.outcome, known.ts = outcome, t
        known.source = known.source or source

    def join(t):
        known.joined = min(known.joined, t) if known.joined else t

    def work(t, d):
        return min(business_add(t, d, windows, rules.stretch), last)

    calls = confirm_probability(f.kind, f.demand, rules)
    if f.signals & BLOCK:
        know(f.response_ts, AT_AUTH, BY_BLOCK)
        u = draws(keys, D_BLOCK, f.ordinal, 3, evidence)
        if u[0] < rules.block_checked and not f.stopped:
            t = min(f.response_ts + sample_delay(u[1], delays, L_BLOCK), last)
            steps.append((t, BY_BLOCK, CONFIRMED if u[2] < calls else CLEARED, KEEP, KEEP))
            join(t)
    first, confirmed = f.response_ts, False
    if f.signals & ALERT:
        alert = draws(keys, D_ALERT, f.ordinal, 4, evidence)
        first = at["alert"] = min(f.response_ts + sample_delay(alert[0], delays, L_ALERT), last)
        know(first, POST_AUTH, BY_ALERT)
        join(first)
        confirmed = alert[2] < calls
    claimed = bool(f.signals & SERVICE) or bool(f.signals & CUSTOMER and f.moved != 0)
    report, r, x = 0, [], []
    if f.signals & (CUSTOMER | NETWORK):
        report = min(max(f.report_ts, first), last)
    if claimed:
        r = draws(keys, D_CLAIM, f.ordinal, 7, evidence)
        x = draws(keys, D_CHARGEBACK, f.ordinal, 6, evidence)
    if f.signals & SERVICE:
        report = min(max(f.clear_ts + sample_delay(r[1], delays, L_SERVICE), first), last)
    if f.signals & ALERT:
        touch = work(first, sample_delay(alert[1], delays, L_TOUCH))
        verdict = work(touch, sample_delay(alert[3], delays, L_HANDLE))
        if report > 0:
            verdict = min(verdict, report)
        at["review"] = min(touch, verdict)
        steps.append((verdict, BY_ALERT, CONFIRMED if confirmed else CLEARED, KEEP, KEEP))
    if f.signals & NETWORK:
        u = draws(keys, D_NETWORK, f.ordinal, 2, evidence)
        t = work(report, sample_delay(u[0], delays, L_NETWORK))
        steps.append((t, BY_NETWORK, CONFIRMED if u[1] < rules.network_confirm else CLEARED, KEEP, KEEP))
        know(report, POST_AUTH, BY_NETWORK)
        join(report)
        at["review"] = at["review"] or t
    if f.signals & CUSTOMER and not claimed:
        steps.append((report, BY_CUSTOMER, CONFIRMED, KEEP, KEEP))
        know(report, POST_AUTH, BY_CUSTOMER)
        join(report)
    if claimed:
        end = settle_claim(f, report, confirmed, claims, delays, last, work, r, x)
        steps += end.steps
        know(report, POST_AUTH if end.reason == FRAUD_REASON else 0, BY_CUSTOMER)
        join(report)
    if f.signals & COLLATERAL:
        u = draws(keys, D_COLLATERAL, f.ordinal, 1, evidence)
        t = work(max(f.response_ts, f.known_ts), sample_delay(u[0], delays, L_COLLATERAL))
        steps.append((t, BY_ANALYST, CONFIRMED, KEEP, KEEP))
        know(t, POST_AUTH, BY_ANALYST)
        join(t)
    return view_of(f, rules, known, at, steps, end)


def view_of(f, rules, known, at, steps, end):
    """Label, history, status and columns of a flow that was worked."""
    label, history = history_of(steps, rules.label_map)
    presumed = f.ts + rules.presumed_us
    available = history[-1][0] if history else presumed
    final = 0
    if end is not None and end.pending:
        status = CENSORED
    elif not history and f.signals & BLOCK:
        status = UNVERIFIED
    else:
        final = max(available, end.instants["decision"] if end is not None else presumed)
        status = FINAL if final <= rules.last_us else PROVISIONAL
        final = final if status == FINAL else 0
    if end is None:
        end = SimpleNamespace(reason=0, type=0, result=0, bearer=0, loss=0, recovered=0, instants={})
    times = [known.ts, at["alert"], *(end.instants.get(name, 0) for name in COLUMNS), end.loss, end.recovered]
    times += [available, final, known.joined, at["review"], end.instants.get("credit", 0)]
    times.append(end.instants.get("recovery", 0))
    codes = [label, known.outcome, known.source, end.reason, end.type, end.result, end.bearer, status, len(history)]
    return SimpleNamespace(times=times, codes=codes, history=history)


def work_flows(flows, rules, claims, keys, evidence, scratch, steps, out):
    """Each flow by itself; `scratch` and `steps` are not needed here."""
    columns, r, c = as_lists(flows), as_lists(rules), as_lists(claims)
    names = list(vars(columns))
    for i in range(len(columns.ordinal)):
        f = row_of(columns, i, names)
        lo, hi = r.window[f.issuer - 1]
        windows = list(zip(r.opens[lo:hi], r.closes[lo:hi], strict=True))
        view = work_flow(f, r, c, windows, keys, evidence)
        for k, value in enumerate(view.times):
            out.times[i][k] = value
        for k, value in enumerate(view.codes):
            out.codes[i][k] = value
        for k, (instant, label, source) in enumerate(view.history):
            out.step_ts[i][k], out.step_label[i][k], out.step_source[i][k] = instant, label, source
