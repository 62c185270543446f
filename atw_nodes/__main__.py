"""``python -m atw_nodes``."""

from .cli import main

raise SystemExit(main())
