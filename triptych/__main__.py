"""``python -m triptych``."""

from .cli import main

if __name__ == "__main__":
    main()
