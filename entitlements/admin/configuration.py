"""What is in force: every variable with its value and where it came from; no secret is shown."""

import re
from typing import NamedTuple

from django.http import HttpRequest, HttpResponse

from entitlements.admin.site import site
from entitlements.composition import configured
from entitlements.config import Origin
from entitlements.secret_file import MASK
from entitlements.service.figures import size_from_bytes

_ORIGINS = {
    Origin.DEFAULT: "the default",
    Origin.ENVIRONMENT: "the environment",
    Origin.FILE: "a file",
    Origin.DERIVED: "derived from another variable",
}
_SWITCHES = {"True": "on", "False": "off"}
_PASSWORD_OF_URL = re.compile(r"(?<=//)[^/@\s]*(?=@)")


class Variable(NamedTuple):
    """One line of the page."""

    name: str
    value: str
    origin: str
    description: str


@site.page("configuration/", name="configuration", permission="entitlements.view_cachedcustomer")
def configuration(request: HttpRequest) -> HttpResponse:
    """What was set first, and the defaults below it."""
    loaded = configured()
    given: list[Variable] = []
    defaults: list[Variable] = []
    for row in loaded.describe():
        variable = Variable(
            row.name, shown(row.name, row.value), _ORIGINS[row.origin], row.description.replace("`", "")
        )
        (defaults if row.origin is Origin.DEFAULT else given).append(variable)
    context = {"title": "Configuration", "given": given, "defaults": defaults, "warnings": loaded.warnings}
    return site.render(request, "entitlements/configuration.html", context)


def shown(name: str, value: str) -> str:
    """A value for the page: bytes in a larger unit, and nobody's password."""
    if name.endswith("_BYTES") and value.isdecimal():
        return size_from_bytes(int(value))
    if value in _SWITCHES:
        return _SWITCHES[value]
    return _PASSWORD_OF_URL.sub(MASK, value) or "-"
