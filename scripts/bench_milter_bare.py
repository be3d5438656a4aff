"""A milter on libmilter that decides nothing: what closedmail's milter is measured against.

Usage: bench_milter_bare.py PATH. It is called at the same steps, and does nothing there.
"""

import sys

import milter

_STEPS = milter.P_NOBODY | milter.P_NODATA | milter.P_NOUNKNOWN | milter.P_NOEOH | milter.P_NOHELO
_UNANSWERED = milter.P_NR_CONN | milter.P_NR_MAIL | milter.P_NR_HDR


def _negotiate(_context: object, options: list[int]) -> int:
    options[1] &= _STEPS | _UNANSWERED
    options[2] = options[3] = 0
    return int(milter.CONTINUE)


def _nothing(*_: object) -> int:
    return int(milter.CONTINUE)


def _unanswered(*_: object) -> int:
    return int(milter.NOREPLY)


if __name__ == "__main__":
    milter.set_connect_callback(_unanswered)
    milter.set_envfrom_callback(_unanswered)
    milter.set_envrcpt_callback(_nothing)
    milter.set_header_callback(_unanswered)
    milter.set_eom_callback(_nothing)
    milter.set_flags(milter.ADDHDRS | milter.CHGHDRS)
    milter.setconn(f"unix:{sys.argv[1]}")
    milter.register("bare", negotiate=_negotiate)
    milter.opensocket(True)
    milter.main()
