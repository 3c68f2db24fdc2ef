"""`python -m bench.functions`: what one event costs a deployed function, all cases or those named."""

from __future__ import annotations

from ..suite import Suite
from .cases import CASES, QUICK, Sizes

main = Suite("python -m bench.functions", __doc__, CASES, Sizes(), QUICK).run

if __name__ == "__main__":
    main()
