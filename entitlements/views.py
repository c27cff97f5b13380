"""Liveness and readiness over HTTP (contract/operations.md, Ports)."""

import os

from django.http import HttpRequest, JsonResponse
from django.views.decorators.http import require_safe

from entitlements.composition import VERSION, sidecar


@require_safe
def live(_request: HttpRequest) -> JsonResponse:
    """The process and its loop turn; never depends on Redis or the cloud."""
    return JsonResponse({"status": "UP"})


@require_safe
def ready(request: HttpRequest) -> JsonResponse:
    """Able to answer checks; with `?verbose`, who answers and how each part is as well."""
    health = sidecar().health
    body: dict[str, object] = {"status": "UP" if health.is_serving else "DOWN"}
    if "verbose" in request.GET:
        body["version"] = VERSION
        body["uptime_seconds"] = round(health.uptime_seconds)
        body["pid"] = os.getpid()
        body["parts"] = health.parts()
    return JsonResponse(body, status=200 if health.is_serving else 503)
