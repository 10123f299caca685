"""``python -m mamlkit`` is the command ``mamlkit``."""

import sys

from mamlkit.cli import main

sys.exit(main())
