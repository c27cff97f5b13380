"""The Stigg cloud: HTTP clients and the feed."""

import sys
from typing import Any

_modules: dict[str, Any] = sys.modules
# httpx goes without its command line where that cannot be imported: it brings click, rich and pygments, 6 MB
# of memory that no server needs.
_modules.setdefault("httpx._main", None)
