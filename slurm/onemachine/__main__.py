"""`python -m slurm.onemachine`: see `commands`."""

import sys

from slurm.onemachine.commands import main

sys.exit(main(sys.argv[1:]))
