"""`python -m wakeword`."""

import sys

from wakeword.cli import main

sys.exit(main())
