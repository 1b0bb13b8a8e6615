"""Elementary and special functions whose bits are the same on every machine.

Only + - x / and square root (all correctly rounded by IEEE 754), comparisons and integer operations on the bits, in
one fixed order; no libm, no NumPy transcendental, no fused multiply-add (numba contracts nothing without fast-math).
Coefficients are hex floats. Sources: exp and log after fdlibm (Sun Microsystems, 1993); the normal CDF after W. J.
Cody, "Rational Chebyshev approximations for the error function", Math. Comp. 23 (1969); the normal quantile after
M. J. Wichura, AS241, Appl. Statist. 37 (1988); the gamma density by C. Loader's saddle-point form (2000), its CDF by
the classic series and continued fraction (DLMF 8.11.4, 8.9.2).

Measured against mpmath, largest error seen: exp 0.85 ulp, log 0.78, expm1 and log1p 2.0, ndtr 5.3, ndtri 4.7, gamma
CDF 1.2e-13 and quantile 9e-14 relative. Speed on one AVX-512 core, millions a second over float64[10^6]: exp 1000,
log 840, ndtr 83, ndtri 81; a gamma quantile takes 0.5 us for k = 2 and 2 us for k = 10^4.

Helpers take and give float64 scalars; a NaN argument gives a NaN of unspecified payload. Each `*_array(x, out)`
kernel is out[i] = f(x[i]) over float64[n].
"""

import math

import numpy as np

from fraudloom.kernels.jit import helper, kernel


def _hex(words: str) -> tuple[float, ...]:
    return tuple(float.fromhex(word) for word in words.split())


#: fdlibm e_exp.c: the even part of r coth(r / 2), |r| <= ln 2 / 2.
EXP_P = _hex(
    "0x1.555555555553ep-3 -0x1.6c16c16bebd93p-9 0x1.1566aaf25de2cp-14 -0x1.bbd41c5d26bf1p-20 0x1.6376972bea4d0p-25"
)
#: fdlibm e_log.c: (log((1 + s) / (1 - s)) - 2 s) / s in s^2.
LOG_L = _hex(
    "0x1.5555555555593p-1 0x1.999999997fa04p-2 0x1.2492494229359p-2 0x1.c71c51d8e78afp-3 0x1.7466496cb03dep-3 "
    "0x1.39a09d078c69fp-3 0x1.2f112df3e5244p-3"
)
#: Cody 1969, |x| <= 0.67448975: numerator.
CDF_A = _hex(
    "0x1.0d08ec54894e1p-4 0x1.1e1cbd1b4f7f3p+1 0x1.420e744d785b7p+7 0x1.0aec20879fd71p+10 0x1.1babeccdad2ecp+14"
)
#: Its denominator, leading 1 omitted.
CDF_B = _hex("0x1.799ee342fb2dep+5 0x1.e80c9d57e55b8p+9 0x1.40a77529cadc8p+13 0x1.63879423b87adp+15")
#: Cody 1969, up to sqrt(32): numerator.
CDF_C = _hex(
    "0x1.71e703c5f5815p-27 0x1.98841fadbdc66p-2 0x1.1c42c35b8bc02p+3 0x1.7606d0dd78164p+6 0x1.2aa2986aba462p+9 "
    "0x1.37d133e6111ecp+11 0x1.ac030c15dc8d7p+12 0x1.6a953624f0f60p+13 0x1.3395b7fd2fc8ep+13"
)
#: Its denominator, leading 1 omitted.
CDF_D = _hex(
    "0x1.64445aaec9f9bp+4 0x1.d6c69b0ffcde7p+7 0x1.7bd82a96b49bfp+10 0x1.9558eeca29d27p+12 0x1.22de495c3a6a3p+14 "
    "0x1.10a9e7cb10e86p+15 0x1.300001aeb6fe4p+15 0x1.3395b7fd35f61p+14"
)
#: Cody 1969, beyond sqrt(32): numerator in 1 / x^2.
CDF_P = _hex(
    "0x1.7a090772574dap-6 0x1.ba2902b84421cp-3 0x1.04eae6653ed94p-3 0x1.6c4d83d16707ap-6 0x1.74ab3fc4e4f8bp-10 "
    "0x1.e86ed886dc483p-16"
)
#: Its denominator, leading 1 omitted.
CDF_Q = _hex(
    "0x1.48c54508800dbp+0 0x1.df79d6855f0adp-2 0x1.0e4993e122c39p-4 0x1.efc42917d7de7p-9 0x1.32147a014bad1p-14"
)
#: AS241, |u - 1/2| <= 0.425: numerator.
QNT_A = _hex(
    "0x1.39a296f7d925ep+11 0x1.052d26b2e45e4p+15 0x1.06c1c55b78f20p+16 0x1.66c3e869b752ap+15 0x1.ad1d8cd4ee71dp+13 "
    "0x1.ece5d2213c0ccp+10 0x1.0a4888b1a436ep+7 0x1.b18d91e9eef75p+1"
)
#: Its denominator, trailing 1 omitted.
QNT_B = _hex(
    "0x1.46a7eca984a16p+12 0x1.c0e457cb1ae76p+14 0x1.3317caa64f4bep+15 0x1.4b772d5d65266p+14 0x1.512322e75c89fp+12 "
    "0x1.5797efdc8b3f7p+9 0x1.5281b386e1ab5p+5"
)
#: AS241, sqrt(-log(tail)) <= 5: numerator.
QNT_C = _hex(
    "0x1.9615ac0b7ace9p-11 0x1.744eb6c45ec67p-6 0x1.ef2abb9b85c37p-3 0x1.453cc085375b2p+0 0x1.d2ecb1a3d02c4p+1 "
    "0x1.713f71462256ap+2 0x1.2857748cab19bp+2 0x1.6c665fde9526ap+0"
)
#: Its denominator, trailing 1 omitted.
QNT_D = _hex(
    "0x1.20d3f686439e4p-30 0x1.1f18cbfdf2728p-11 0x1.f207a7eab17bfp-7 0x1.2f5123394f040p-3 0x1.61292f23385c9p-1 "
    "0x1.ad278e6526633p+0 0x1.06cefbb46a449p+1"
)
#: AS241, further out: numerator.
QNT_E = _hex(
    "0x1.afb74d693bf93p-23 0x1.c6ec6cc59e02ap-16 0x1.45c1908425345p-10 0x1.b2b41193b4ee7p-6 0x1.2fad9315255cfp-2 "
    "0x1.c8ea6461fa445p+0 0x1.5daea6e875003p+2 0x1.aa1b1c13ee526p+2"
)
#: Its denominator, trailing 1 omitted.
QNT_F = _hex(
    "0x1.269bff1f8c190p-49 0x1.31446f740b9e0p-23 0x1.35c2c496374bfp-16 0x1.9c8bc979dc5d7p-11 0x1.e76f93215462ap-7 "
    "0x1.186eb183443fbp-3 0x1.331d34fc7d77fp-1"
)
#: Stirling's series, B_2n / (2n (2n - 1)): log Gamma(x) less its leading terms, in odd powers of 1 / x.
STI_S = _hex(
    "0x1.5555555555555p-4 -0x1.6c16c16c16c17p-9 0x1.a01a01a01a01ap-11 -0x1.3813813813814p-11 0x1.b951e2b18ff23p-11 "
    "-0x1.f6ab0d9993c7dp-10 0x1.a41a41a41a41ap-8"
)

LN2_HI, LN2_LO, LOG2_E = _hex("0x1.62e42fee00000p-1 0x1.a39ef35793c76p-33 0x1.71547652b82fep+0")
#: Adding this rounds to an integer, which then sits in the low bits.
ROUND = float.fromhex("0x1.8p+52")
TWO_52 = float.fromhex("0x1p+52")
TWO_54 = float.fromhex("0x1p+54")
MIN_NORMAL = float.fromhex("0x1p-1022")
EXP_TOP, EXP_BOTTOM = 710.0, -746.0
ROUND_BITS = np.uint64(0x4338000000000000)
TWO_52_BITS = np.uint64(0x4330000000000000)
LOG_BASE = np.uint64(0x3FE6A09E00000000)
LOG_SHIFT = np.uint64(0x3FF0000000000000 - 0x3FE6A09E00000000)
MANTISSA = np.uint64((1 << 52) - 1)
EXP_OFFSET = np.uint64(2200)
EXP_BIAS = np.uint64(1100 - 1023)
QNT_SHIFT = float.fromhex("0x1.999999999999ap+0")
U1, U52 = np.uint64(1), np.uint64(52)

HALF_LOG_TWO_PI, TWO_PI, ROOT_32 = _hex("0x1.d67f1c864beb5p-1 0x1.921fb54442d18p+2 0x1.6a09e667f3bcdp+2")
INV_ROOT_TWO_PI = float.fromhex("0x1.9884533d43651p-2")
CDF_SPLIT, QNT_SPLIT, QNT_SPLIT_2 = _hex("0x1.5956b87379746p-1 0x1.b333333333333p-2 0x1.71eb851eb851fp-3")
EPS = float.fromhex("0x1p-54")
#: Iteration bounds, far above what was counted over the documented range: 819 terms of the series (k = 10^4, x = k),
#: 198 of the fraction, 7 steps of the quantile (6,000 pairs of k and u).
GAMMA_STEPS = 4000
QUANTILE_STEPS = 30


@helper
def exp(x):
    """e**x within 1 ulp; subnormal results rounded twice (within 2 ulp); 0 below -745.2, inf above 709.8."""
    x = EXP_TOP if x > EXP_TOP else x
    x = EXP_BOTTOM if x < EXP_BOTTOM else x
    shifted = x * LOG2_E + ROUND
    n = shifted - ROUND
    hi = x - n * LN2_HI
    lo = n * LN2_LO
    r = hi - lo
    t = r * r
    c = r - t * (EXP_P[0] + t * (EXP_P[1] + t * (EXP_P[2] + t * (EXP_P[3] + t * EXP_P[4]))))
    y = 1.0 + (r * c / (2.0 - c) - lo + hi)
    # 2**n in two factors, each normal; biased to stay unsigned, since a signed 64-bit shift does not vectorise.
    biased = np.float64(shifted).view(np.uint64) - ROUND_BITS + EXP_OFFSET
    half = biased >> U1
    first = np.uint64((half - EXP_BIAS) << U52).view(np.float64)
    second = np.uint64((biased - half - EXP_BIAS) << U52).view(np.float64)
    return y * first * second


@helper
def log(x):
    """Natural logarithm within 1 ulp, subnormals included; -inf at 0, NaN below, inf at inf."""
    tiny = x < MIN_NORMAL
    scaled = x * TWO_54 if tiny else x
    bits = np.float64(scaled).view(np.uint64) + LOG_SHIFT
    # The exponent becomes a float by sitting in the low bits of 2**52: no integer conversion, so it vectorises.
    k = np.uint64((bits >> U52) | TWO_52_BITS).view(np.float64) - TWO_52 - 1023.0
    k = k - 54.0 if tiny else k
    f = np.uint64((bits & MANTISSA) + LOG_BASE).view(np.float64) - 1.0
    half_square = 0.5 * f * f
    s = f / (2.0 + f)
    z = s * s
    w = z * z
    even = w * (LOG_L[1] + w * (LOG_L[3] + w * LOG_L[5]))
    odd = z * (LOG_L[0] + w * (LOG_L[2] + w * (LOG_L[4] + w * LOG_L[6])))
    y = s * (half_square + (odd + even)) + k * LN2_LO - half_square + f + k * LN2_HI
    y = y if x < np.inf else x
    y = y if x > 0.0 else np.nan
    return -np.inf if x == 0.0 else y


@helper
def expm1(x):
    """e**x - 1 within a few ulp (W. Kahan's correction by the rounded logarithm)."""
    if x < -40.0:
        return -1.0
    w = exp(x)
    if w in (1.0, np.inf):
        return x if w == 1.0 else w
    return (w - 1.0) * x / log(w)


@helper
def log1p(x):
    """log(1 + x) within a few ulp for x > -1 (Kahan's correction); -inf at -1."""
    w = 1.0 + x
    if w in (1.0, np.inf):
        return x
    if w <= 0.0:
        return log(w)
    return log(w) * (x / (w - 1.0))


@helper
def _half_square_exp(x):
    """exp(-x * x / 2) with the square split: x to a sixteenth exactly, so the large exponent has no rounding error."""
    coarse = (x * 16.0 + ROUND) - ROUND
    coarse = coarse * 0.0625
    return exp(-0.5 * (coarse * coarse)) * exp(-0.5 * ((x - coarse) * (x + coarse)))


@helper
def ndtr(x):
    """Standard normal CDF within 8 ulp from -38 on, subnormals included; 0 below -38.6, 1 from 8.3 on."""
    y = abs(x)
    if y <= CDF_SPLIT:
        t = x * x if y > EPS else 0.0
        a = (((CDF_A[0] * t + CDF_A[1]) * t + CDF_A[2]) * t + CDF_A[3]) * t + CDF_A[4]
        b = (((t + CDF_B[0]) * t + CDF_B[1]) * t + CDF_B[2]) * t + CDF_B[3]
        return 0.5 + x * a / b
    if y > 40.0:
        return 0.0 if x < 0.0 else 1.0
    if y <= ROOT_32:
        c = (((CDF_C[0] * y + CDF_C[1]) * y + CDF_C[2]) * y + CDF_C[3]) * y + CDF_C[4]
        c = (((c * y + CDF_C[5]) * y + CDF_C[6]) * y + CDF_C[7]) * y + CDF_C[8]
        d = (((y + CDF_D[0]) * y + CDF_D[1]) * y + CDF_D[2]) * y + CDF_D[3]
        d = (((d * y + CDF_D[4]) * y + CDF_D[5]) * y + CDF_D[6]) * y + CDF_D[7]
        ratio = c / d
    else:
        t = 1.0 / (y * y)
        p = ((((CDF_P[0] * t + CDF_P[1]) * t + CDF_P[2]) * t + CDF_P[3]) * t + CDF_P[4]) * t + CDF_P[5]
        q = ((((t + CDF_Q[0]) * t + CDF_Q[1]) * t + CDF_Q[2]) * t + CDF_Q[3]) * t + CDF_Q[4]
        ratio = (INV_ROOT_TWO_PI - t * p / q) / y
    tail = _half_square_exp(y) * ratio
    return tail if x < 0.0 else 1.0 - tail


@helper
def ndtri(u):
    """Standard normal quantile within 8 ulp for u in (0, 1) from 2^-54 on; -inf at 0 and below, inf at 1 and above.

    The upper half works with 1 - u, which is exact there, so both tails are equally precise.
    """
    q = u - 0.5
    if abs(q) <= QNT_SPLIT:
        r = QNT_SPLIT_2 - q * q
        a, b = QNT_A, QNT_B
        top = ((((((a[0] * r + a[1]) * r + a[2]) * r + a[3]) * r + a[4]) * r + a[5]) * r + a[6]) * r + a[7]
        low = ((((((b[0] * r + b[1]) * r + b[2]) * r + b[3]) * r + b[4]) * r + b[5]) * r + b[6]) * r + 1.0
        return q * top / low
    tail = u if q < 0.0 else 1.0 - u
    if tail <= 0.0:
        return -np.inf if q < 0.0 else np.inf
    r = math.sqrt(-log(tail))
    if r <= 5.0:
        r = r - QNT_SHIFT
        c, d = QNT_C, QNT_D
    else:
        r = r - 5.0
        c, d = QNT_E, QNT_F
    top = ((((((c[0] * r + c[1]) * r + c[2]) * r + c[3]) * r + c[4]) * r + c[5]) * r + c[6]) * r + c[7]
    low = ((((((d[0] * r + d[1]) * r + d[2]) * r + d[3]) * r + d[4]) * r + d[5]) * r + d[6]) * r + 1.0
    return -(top / low) if q < 0.0 else top / low


@helper
def _stirling_rest(x):
    """log Gamma(x) - ((x - 1/2) log x - x + log(2 pi) / 2) for x >= 16, within 1e-17."""
    r = 1.0 / x
    t = r * r
    s = STI_S[3] + t * (STI_S[4] + t * (STI_S[5] + t * STI_S[6]))
    return r * (STI_S[0] + t * (STI_S[1] + t * (STI_S[2] + t * s)))


@helper
def lgamma(x):
    """log Gamma(x) for 0 < x <= 1e300, within 2e-14 absolutely or relatively, whichever is larger."""
    product = 1.0
    while x < 16.0:
        product = product * x
        x = x + 1.0
    y = (x - 0.5) * log(x) - x + HALF_LOG_TWO_PI + _stirling_rest(x)
    return y - log(product)


@helper
def _gamma_peak(k, x):
    """x**k e**-x / Gamma(k + 1) for k, x > 0.

    From k = 16 on by the saddle point: the exponent k log(k / x) + x - k is a power series in (k - x) / (k + x) near
    the mode, so large terms never cancel.
    """
    if k < 16.0:
        return exp(k * log(x) - x - lgamma(k + 1.0))
    v = (k - x) / (k + x)
    if abs(v) < 0.25:
        t = v * v
        s = 0.0
        for j in range(18, 0, -1):
            s = (s + 1.0 / (2 * j + 1)) * t
        deviance = (k - x) * v + 2.0 * k * v * s
    else:
        deviance = k * log(k / x) + x - k
    return exp(-deviance - _stirling_rest(k)) / math.sqrt(TWO_PI * k)


@helper
def _gamma_pair(k, x, peak):
    """(P, Q): both regularised incomplete gamma functions at x > 0, given `_gamma_peak(k, x)`."""
    if x < k + 1.0:
        term = 1.0
        total = 1.0
        a = k
        for _ in range(GAMMA_STEPS):
            a = a + 1.0
            term = term * (x / a)
            total = total + term
            if term < total * EPS:
                break
        lower = min(peak * total, 1.0)
        return lower, 1.0 - lower
    # Lentz's evaluation of the continued fraction; x >= k + 1 keeps every denominator above 1.
    b = x + 1.0 - k
    c = np.inf
    d = 1.0 / b
    h = d
    for i in range(1, GAMMA_STEPS):
        a = i * (k - i)
        b = b + 2.0
        d = 1.0 / (a * d + b)
        c = b + a / c
        step = c * d
        h = h * step
        if abs(step - 1.0) <= 4.0 * EPS:
            break
    upper = min(peak * k * h, 1.0)
    return 1.0 - upper, upper


@helper
def gamma_cdf(k, x):
    """Regularised lower incomplete gamma P(k, x) within 1e-12 relative for k in [0.05, 1e4]; 0 for x <= 0.

    Results below about 1e-300 lose precision as the density underflows.
    """
    if x <= 0.0:
        return 0.0
    if x == np.inf:
        return 1.0
    return _gamma_pair(k, x, _gamma_peak(k, x))[0]


@helper
def _gamma_start(k, u, least):
    """A first x for the quantile: Wilson and Hilferty's cube, kept above the rigorous lower bound `least`."""
    if k < 0.5:
        return least if u <= 0.75 else max(least, -log(1.0 - u))
    c = 1.0 / (9.0 * k)
    root = 1.0 - c + ndtri(u) * math.sqrt(c)
    return least if root <= 0.0 else max(least, k * (root * root * root))


@helper
def gamma_quantile(k, u):
    """x with P(k, x) = u, within 1e-12 relative, for k in [0.05, 1e4] and u in [2^-54, 1 - 2^-53].

    Newton's iteration in log x on log P (on log Q for u > 3/4, through 1 - u, exact there): both are concave in log x,
    so after one step it approaches from one side. 0 for u <= 0, inf for u >= 1; results below the least normal double
    are rounded to subnormals or 0.
    """
    if u <= 0.0:
        return 0.0
    if u >= 1.0:
        return np.inf
    # P(k, x) <= x**k / Gamma(k + 1), with equality in the limit: a lower bound for x, exact when it is tiny.
    least = exp((log(u) + lgamma(k + 1.0)) / k)
    if least < EPS * EPS:
        return least
    x = _gamma_start(k, u, least)
    for _ in range(QUANTILE_STEPS):
        peak = _gamma_peak(k, x)
        lower, upper = _gamma_pair(k, x, peak)
        if u <= 0.75:
            step = -log(lower / u) * lower / (k * peak)
        else:
            step = log(upper / (1.0 - u)) * upper / (k * peak)
        x = x * exp(step)
        if abs(step) < 1e-9:
            break
    return x


@kernel
def exp_array(x, out):
    """out[i] = exp(x[i])."""
    for i in range(x.shape[0]):
        out[i] = exp(x[i])


@kernel
def log_array(x, out):
    """out[i] = log(x[i])."""
    for i in range(x.shape[0]):
        out[i] = log(x[i])


@kernel
def expm1_array(x, out):
    """out[i] = expm1(x[i])."""
    for i in range(x.shape[0]):
        out[i] = expm1(x[i])


@kernel
def log1p_array(x, out):
    """out[i] = log1p(x[i])."""
    for i in range(x.shape[0]):
        out[i] = log1p(x[i])


@kernel
def ndtr_array(x, out):
    """out[i] = ndtr(x[i])."""
    for i in range(x.shape[0]):
        out[i] = ndtr(x[i])


@kernel
def ndtri_array(u, out):
    """out[i] = ndtri(u[i])."""
    for i in range(u.shape[0]):
        out[i] = ndtri(u[i])


@kernel
def lgamma_array(x, out):
    """out[i] = lgamma(x[i])."""
    for i in range(x.shape[0]):
        out[i] = lgamma(x[i])


@kernel
def gamma_cdf_array(k, x, out):
    """out[i] = gamma_cdf(k[i], x[i])."""
    for i in range(x.shape[0]):
        out[i] = gamma_cdf(k[i], x[i])


@kernel
def gamma_quantile_array(k, u, out):
    """out[i] = gamma_quantile(k[i], u[i])."""
    for i in range(u.shape[0]):
        out[i] = gamma_quantile(k[i], u[i])
