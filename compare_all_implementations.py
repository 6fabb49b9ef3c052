"""Compare the three implementations: the launcher of ``triptych compare``, and it takes the same options.

python compare_all_implementations.py --help
"""

import sys

from triptych.cli import main

if __name__ == "__main__":
    main(["compare", *sys.argv[1:]])
