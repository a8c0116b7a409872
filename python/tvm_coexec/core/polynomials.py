"""Polynomials of special functions, for kernels without branches; coefficients from the lowest on."""

from __future__ import annotations

# erf(x) / x as a polynomial in x * x, 0 to 1; relative error 1.2e-9 before rounding.
ERF_BELOW_1 = (
    *(1.1283791659, -0.37612627136, 0.11283600175, -0.026854444564),
    *(0.0051895353074, -8.0208411220e-4, 7.8891193e-5),
)
# log(1 - erf(x)) as a polynomial in x, 1 to 4; error of erf 1.0e-9. At 4 erf is 1 in float.
ERF_ABOVE_1 = (
    *(-3.5371876e-4, -1.1270400391, -0.63822567208, -0.10303737337),
    *(0.021805320606, -0.0029396078896, 1.8557407e-4),
)
# 2 ** x as a polynomial in x, -1/2 to 1/2; relative error 1.9e-9.
EXP2 = (
    *(0.9999999999190698, 0.6931472067096482, 0.24022651505048664, 0.055503272157661654),
    *(0.009617994514857937, 0.0013400431667170253, 0.0001547802209399985),
)
