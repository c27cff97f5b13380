"""What is served over HTTP, on METRICS_PORT."""

from django.urls import path
from django_prometheus.exports import ExportToDjangoView

from entitlements import views
from sidecar_project.settings import SIDECAR

urlpatterns = [
    path(SIDECAR.config.health_endpoint_url, views.live, name="live"),
    path(SIDECAR.config.ready_endpoint_url, views.ready, name="ready"),
    path("metrics", ExportToDjangoView, name="metrics"),
]
