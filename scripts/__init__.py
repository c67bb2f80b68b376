"""One file, one artefact. Each runs alone: python -m scripts.NAME --help."""

import signal
import sys

if sys.argv[:1] == ["-m"] and signal.getsignal(signal.SIGINT) is signal.default_int_handler:
    # `python -m scripts.NAME` is about to import: until _cli.run listens, Ctrl-C just ends it.
    signal.signal(signal.SIGINT, signal.SIG_DFL)
