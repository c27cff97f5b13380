"""Writes docs/configuration.md from the variables themselves, so that it cannot drift.

Usage: python -m docs.configuration [--check]
"""

from pathlib import Path
from typing import Any

from docs.generated import write_or_check
from entitlements.config.variables import SECRETS, SidecarConfig, variable_names

PAGE = Path(__file__).with_suffix(".md")
OWN_PREFIXES = ("SIDECAR_", "DATABASE_", "TLS_")
"""The vendor's image does not know these."""
_TOLD_OTHERWISE = {"CACHE_MAX_SIZE_BYTES": "half of the memory there is"}
"""Defaults that are worked out when it starts."""
_HEAD = """\
# Configuration

Written by `make docs` from `entitlements/config/variables.py`; `make check` fails when the two differ.

An empty variable is one that is not set. Booleans are 1/0, true/false, yes/no, on/off in any case. All
mistakes are told at once, one line each, and keep the sidecar from starting; a name that looks misspelt is
warned about. What is in force, and where each value came from:

    manage.py runsidecar --check-config

A variable marked *secret* is never shown, and `NAME_FILE` may name a file that holds it.
"""


def page() -> str:
    """The page: the vendor's variables, then our own, each with its default, bounds and meaning."""
    own = [name for name in variable_names() if name.startswith(OWN_PREFIXES)]
    vendors = [name for name in variable_names() if name not in own]
    return "\n".join([_HEAD, *_table("The vendor's", vendors), "", *_table("Our own", own), ""])


def bounds(schema: dict[str, Any]) -> str:
    """What a value may be, as `0 < n <= 86400` or the words; empty when anything of its type may be.

    Args:
        schema: JSON schema of one variable.
    """
    if "enum" in schema:
        return ", ".join(f"`{word}`" for word in schema["enum"])
    if "minLength" in schema:
        return "not empty"
    lower = f"{schema['minimum']:g} <= " if "minimum" in schema else ""
    lower = f"{schema['exclusiveMinimum']:g} < " if "exclusiveMinimum" in schema else lower
    upper = f" <= {schema['maximum']:.15g}" if "maximum" in schema else ""
    return f"`{lower}n{upper}`" if lower or upper else ""


def _table(title: str, names: list[str]) -> list[str]:
    schemas = SidecarConfig.model_json_schema()["properties"]
    rows = [_row(name, schemas[name.lower()]) for name in names]
    return [f"## {title}", "", "| variable | default | bounds | meaning |", "|---|---|---|---|", *rows]


def _row(name: str, schema: dict[str, Any]) -> str:
    secret = " *secret*" if name in SECRETS else ""
    cells = (f"`{name}`{secret}", _default(name), bounds(schema), schema.get("description", ""))
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


def _default(name: str) -> str:
    default = SidecarConfig.model_fields[name.lower()].default
    if name in _TOLD_OTHERWISE:
        return _TOLD_OTHERWISE[name]
    if name in SECRETS or not isinstance(default, (str, int, float, Path)):
        return ""
    return f"`{str(default).lower() if isinstance(default, bool) else default}`"


def main() -> None:
    """Writes the page, or exits with 1 and a sentence when it is out of date."""
    write_or_check(PAGE, page(), description=__doc__)


if __name__ == "__main__":
    main()
