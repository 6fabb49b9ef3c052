"""Compare the three implementations: the same as ``triptych compare``, with the same options.

python compare_all_implementations.py --help
"""

import sys

sys.path.append(sys.path.pop(0))  # last: no file in this folder is taken for an installed module

from triptych.__main__ import main

if __name__ == "__main__":
    main(["compare_all_implementations.py", *sys.argv[1:]], name="")
