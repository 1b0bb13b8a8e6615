"""Twin of the elementary and special functions: the same formulas, in plain floats.

Coefficients are the decimals as printed in the sources (the package holds their hex form); powers of two and exponents
go through `math.ldexp` and `math.frexp`, which are exact, where the package works on bits.
"""

import math

INF = math.inf


def _decimals(words):
    return [float(word) for word in words.split()]


def _polynomial(x, coefficients):
    """Horner's rule, highest power first."""
    y = coefficients[0]
    for c in coefficients[1:]:
        y = y * x + c
    return y


EXP_P = _decimals(
    "1.66666666666666019037e-01 -2.77777777770155933842e-03 6.61375632143793436117e-05 "
    "-1.65339022054652515390e-06 4.13813679705723846039e-08"
)
LOG_L = _decimals(
    "6.666666666666735130e-01 3.999999999940941908e-01 2.857142874366239149e-01 2.222219843214978396e-01 "
    "1.818357216161805012e-01 1.531383769920937332e-01 1.479819860511658591e-01"
)
CDF_A = _decimals(
    ".065682337918207449113 2.2352520354606839287 161.02823106855587881 1067.6894854603709582 18154.981253343561249"
)
CDF_B = _decimals("47.20258190468824187 976.09855173777669322 10260.932208618978205 45507.789335026729956")
CDF_C = _decimals(
    "1.0765576773720192317e-8 .39894151208813466764 8.8831497943883759412 93.506656132177855979 "
    "597.27027639480026226 2494.5375852903726711 6848.1904505362823326 11602.651437647350124 "
    "9842.7148383839780218"
)
CDF_D = _decimals(
    "22.266688044328115691 235.38790178262499861 1519.377599407554805 6485.558298266760755 18615.571640885098091 "
    "34900.952721145977266 38912.003286093271411 19685.429676859990727"
)
CDF_P = _decimals(
    ".02307344176494017303 .21589853405795699 .1274011611602473639 .022235277870649807 .001421619193227893466 "
    "2.9112874951168792e-5"
)
CDF_Q = _decimals(
    "1.28426009614491121 .468238212480865118 .0659881378689285515 .00378239633202758244 7.29751555083966205e-5"
)
QNT_A = _decimals(
    "2509.0809287301226727 33430.575583588128105 67265.770927008700853 45921.953931549871457 "
    "13731.693765509461125 1971.5909503065514427 133.14166789178437745 3.387132872796366608"
)
QNT_B = _decimals(
    "5226.495278852545925 28729.085735721942674 39307.89580009271061 21213.794301586595867 5394.1960214247511077 "
    "687.1870074920579083 42.313330701600911252"
)
QNT_C = _decimals(
    "7.7454501427834140764e-4 .0227238449892691845833 .24178072517745061177 1.27045825245236838258 "
    "3.64784832476320460504 5.7694972214606914055 4.6303378461565452959 1.42343711074968357734"
)
QNT_D = _decimals(
    "1.05075007164441684324e-9 5.475938084995344946e-4 .0151986665636164571966 .14810397642748007459 "
    ".68976733498510000455 1.6763848301838038494 2.05319162663775882187"
)
QNT_E = _decimals(
    "2.01033439929228813265e-7 2.71155556874348757815e-5 .0012426609473880784386 .026532189526576123093 "
    ".29656057182850489123 1.7848265399172913358 5.4637849111641143699 6.6579046435011037772"
)
QNT_F = _decimals(
    "2.04426310338993978564e-15 1.4215117583164458887e-7 1.8463183175100546818e-5 7.868691311456132591e-4 "
    ".0148753612908506148525 .13692988092273580531 .59983220655588793769"
)
STI_S = [1 / 12, -1 / 360, 1 / 1260, -1 / 1680, 1 / 1188, -691 / 360360, 1 / 156]
LN2_HI, LN2_LO, LOG2_E = 6.93147180369123816490e-01, 1.90821492927058770002e-10, 1.44269504088896338700
#: Upper 21 bits of the square root of 1/2: mantissas run from here to twice this.
LOG_CUT = 0x16A09E * 2.0**-21
HALF_LOG_TWO_PI, TWO_PI, INV_ROOT_TWO_PI = 0.91893853320467274178, 6.28318530717958647693, 0.39894228040143267794
ROOT_32 = 5.65685424949238019521
EPS = 2.0**-54


def exp(x):
    """Reduce by n ln 2, fdlibm's rational form, scale by 2**n in two exact factors."""
    if math.isnan(x):
        return x
    x = min(max(x, -746.0), 710.0)
    n = round(x * LOG2_E)
    hi = x - n * LN2_HI
    lo = n * LN2_LO
    r = hi - lo
    t = r * r
    c = r - t * _polynomial(t, EXP_P[::-1])
    y = 1.0 + (r * c / (2.0 - c) - lo + hi)
    return y * math.ldexp(1.0, n // 2) * math.ldexp(1.0, n - n // 2)


def log(x):
    """Split off the exponent, then fdlibm's series in s = f / (2 + f)."""
    if math.isnan(x) or x < 0.0:
        return math.nan
    if x in (0.0, INF):
        return -INF if x == 0.0 else x
    m, k = math.frexp(x)
    if m < LOG_CUT:
        m, k = 2.0 * m, k - 1
    f = m - 1.0
    half_square = 0.5 * f * f
    s = f / (2.0 + f)
    z = s * s
    w = z * z
    even = w * _polynomial(w, LOG_L[5::-2])
    odd = z * _polynomial(w, LOG_L[6::-2])
    return s * (half_square + (odd + even)) + k * LN2_LO - half_square + f + k * LN2_HI


def expm1(x):
    """Kahan's correction of exp(x) - 1 by the logarithm of the rounded exponential."""
    if x < -40.0:
        return -1.0
    w = exp(x)
    if w == 1.0:
        return x
    return w if w == INF else (w - 1.0) * x / log(w)


def log1p(x):
    """Kahan's correction of log(1 + x)."""
    w = 1.0 + x
    if w in (1.0, INF):
        return x
    return log(w) if w <= 0.0 else log(w) * (x / (w - 1.0))


def ndtr(x):
    """Cody's three ranges."""
    y = abs(x)
    if y <= 0.67448975:
        t = x * x if y > EPS else 0.0
        return 0.5 + x * _polynomial(t, CDF_A) / _polynomial(t, [1.0, *CDF_B])
    if y > 40.0:
        return 0.0 if x < 0.0 else 1.0
    if y <= ROOT_32:
        ratio = _polynomial(y, CDF_C) / _polynomial(y, [1.0, *CDF_D])
    else:
        t = 1.0 / (y * y)
        ratio = (INV_ROOT_TWO_PI - t * _polynomial(t, CDF_P) / _polynomial(t, [1.0, *CDF_Q])) / y
    coarse = round(y * 16.0) * 0.0625
    tail = exp(-0.5 * (coarse * coarse)) * exp(-0.5 * ((y - coarse) * (y + coarse))) * ratio
    return tail if x < 0.0 else 1.0 - tail


def ndtri(u):
    """Wichura's three ranges."""
    q = u - 0.5
    if abs(q) <= 0.425:
        r = 0.180625 - q * q
        return q * _polynomial(r, QNT_A) / _polynomial(r, [*QNT_B, 1.0])
    tail = u if q < 0.0 else 1.0 - u
    if tail <= 0.0:
        return -INF if q < 0.0 else INF
    r = math.sqrt(-log(tail))
    if r <= 5.0:
        r -= 1.6
        z = _polynomial(r, QNT_C) / _polynomial(r, [*QNT_D, 1.0])
    else:
        r -= 5.0
        z = _polynomial(r, QNT_E) / _polynomial(r, [*QNT_F, 1.0])
    return -z if q < 0.0 else z


def _stirling_rest(x):
    r = 1.0 / x
    return r * _polynomial(r * r, STI_S[::-1])


def lgamma(x):
    """Shift to 16 and above, then Stirling's series."""
    product = 1.0
    while x < 16.0:
        product *= x
        x += 1.0
    return (x - 0.5) * log(x) - x + HALF_LOG_TWO_PI + _stirling_rest(x) - log(product)


def _gamma_peak(k, x):
    if k < 16.0:
        return exp(k * log(x) - x - lgamma(k + 1.0))
    v = (k - x) / (k + x)
    if abs(v) < 0.25:
        s = 0.0
        for j in range(18, 0, -1):
            s = (s + 1.0 / (2 * j + 1)) * (v * v)
        deviance = (k - x) * v + 2.0 * k * v * s
    else:
        deviance = k * log(k / x) + x - k
    return exp(-deviance - _stirling_rest(k)) / math.sqrt(TWO_PI * k)


def _series(k, x):
    """1 + x / (k + 1) + x^2 / ((k + 1) (k + 2)) + ... until a term no longer counts."""
    term = total = 1.0
    a = k
    while True:
        a += 1.0
        term *= x / a
        total += term
        if term < total * EPS:
            return total


def _fraction(k, x):
    """1 / (x + 1 - k + 1 (k - 1) / (x + 3 - k + 2 (k - 2) / (x + 5 - k + ...))) by Lentz's products."""
    b = x + 1.0 - k
    c = INF
    d = h = 1.0 / b
    i = 0
    while True:
        i += 1
        a = i * (k - i)
        b += 2.0
        d = 1.0 / (a * d + b)
        c = b + a / c
        h *= c * d
        if abs(c * d - 1.0) <= 4.0 * EPS:
            return h


def _gamma_pair(k, x):
    peak = _gamma_peak(k, x)
    if x < k + 1.0:
        lower = min(peak * _series(k, x), 1.0)
        return lower, 1.0 - lower
    upper = min(peak * k * _fraction(k, x), 1.0)
    return 1.0 - upper, upper


def gamma_cdf(k, x):
    """Series below k + 1, continued fraction above."""
    if x <= 0.0:
        return 0.0
    return 1.0 if x == INF else _gamma_pair(k, x)[0]


def gamma_quantile(k, u):
    """Newton in log x on the log of the smaller-sided probability."""
    if u <= 0.0 or u >= 1.0:
        return 0.0 if u <= 0.0 else INF
    least = exp((log(u) + lgamma(k + 1.0)) / k)
    if least < 2.0**-108:
        return least
    if k < 0.5:
        x = least if u <= 0.75 else max(least, -log(1.0 - u))
    else:
        c = 1.0 / (9.0 * k)
        root = 1.0 - c + ndtri(u) * math.sqrt(c)
        x = least if root <= 0.0 else max(least, k * (root * root * root))
    while True:
        peak = _gamma_peak(k, x)
        lower, upper = _gamma_pair(k, x)
        if u <= 0.75:
            step = -log(lower / u) * lower / (k * peak)
        else:
            step = log(upper / (1.0 - u)) * upper / (k * peak)
        x *= exp(step)
        if abs(step) < 1e-9:
            return x


def _over(function, *arrays):
    *inputs, out = arrays
    for i, values in enumerate(zip(*inputs, strict=True)):
        out[i] = function(*(float(v) for v in values))


def exp_array(x, out):
    """`exp` of each."""
    _over(exp, x, out)


def log_array(x, out):
    """`log` of each."""
    _over(log, x, out)


def expm1_array(x, out):
    """`expm1` of each."""
    _over(expm1, x, out)


def log1p_array(x, out):
    """`log1p` of each."""
    _over(log1p, x, out)


def ndtr_array(x, out):
    """`ndtr` of each."""
    _over(ndtr, x, out)


def ndtri_array(u, out):
    """`ndtri` of each."""
    _over(ndtri, u, out)


def lgamma_array(x, out):
    """`lgamma` of each."""
    _over(lgamma, x, out)


def gamma_cdf_array(k, x, out):
    """`gamma_cdf` of each."""
    _over(gamma_cdf, k, x, out)


def gamma_quantile_array(k, u, out):
    """`gamma_quantile` of each."""
    _over(gamma_quantile, k, u, out)
