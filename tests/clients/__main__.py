"""``python -m tests.clients``: makes what the programs need in ``.clients/``, and measures all of them."""

from __future__ import annotations

import os
import sys

from tests import runner
from tests.clients.catalogue import prepare
from tests.clients.test_clients import FOLDER
from tests.support.processes import ROOT

if __name__ == "__main__":
    folder = ROOT / ".clients"
    prepare(folder)
    os.environ[FOLDER] = str(folder)
    sys.exit(runner.main(["tests.clients"]))
