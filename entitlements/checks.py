"""Django system checks of the sidecar's own configuration; `manage.py check --deploy` runs them."""

from collections.abc import Sequence
from typing import Any

from django.conf import settings
from django.core.checks import CheckMessage, Error, register

CONFIGURATION_PROBLEM = "sidecar.E001"


@register("sidecar", deploy=True)
def check_configuration(**_kwargs: Any) -> Sequence[CheckMessage]:
    """One error for each variable that cannot be used."""
    return [Error(problem, id=CONFIGURATION_PROBLEM) for problem in settings.SIDECAR_PROBLEMS]
