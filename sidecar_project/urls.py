"""What is served over HTTP, on METRICS_PORT."""

from django.urls import URLPattern, URLResolver, path
from django.urls.resolvers import RoutePattern
from django_prometheus.exports import ExportToDjangoView

from entitlements import views
from sidecar_project.settings import SIDECAR

urlpatterns: list[URLPattern | URLResolver] = [
    path(SIDECAR.config.health_endpoint_url, views.live, name="live"),
    path(SIDECAR.config.ready_endpoint_url, views.ready, name="ready"),
    path("metrics", ExportToDjangoView, name="metrics"),
]
if SIDECAR.config.sidecar_admin_enabled:
    # By name: the pages are imported when the first visitor comes, and cost nothing before.
    urlpatterns.append(
        URLResolver(RoutePattern("admin/"), "entitlements.admin.urls", app_name="admin", namespace="admin")
    )
