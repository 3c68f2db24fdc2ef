"""`python -m bench.fan_out`: how the deployed functions fan out, all cases or those named."""

from __future__ import annotations

from ..suite import Suite
from .cases import CASES, QUICK, Sizes

main = Suite("python -m bench.fan_out", __doc__, CASES, Sizes(), QUICK).run

if __name__ == "__main__":
    main()
