"""What Django serves over HTTP: the admin. Health and metrics are answered before it, see monitoring.py."""

from django.urls import URLPattern, URLResolver
from django.urls.resolvers import RoutePattern

from sidecar_project.settings import SIDECAR

urlpatterns: list[URLPattern | URLResolver] = []
if SIDECAR.config.sidecar_admin_enabled:
    # By name: the pages are imported when the first visitor comes, and cost nothing before.
    urlpatterns.append(
        URLResolver(RoutePattern("admin/"), "entitlements.admin.urls", app_name="admin", namespace="admin")
    )
