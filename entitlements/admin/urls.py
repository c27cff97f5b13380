"""All pages, each by the module that adds it to the site."""

from entitlements.admin import (
    audit_trail,
    configuration,
    customers,
    explain,
    fallbacks,
    outbox,
    overrides,
    shadow,
    users,
)
from entitlements.admin.site import site

__all__ = [
    "audit_trail",
    "configuration",
    "customers",
    "explain",
    "fallbacks",
    "outbox",
    "overrides",
    "shadow",
    "urlpatterns",
    "users",
]

urlpatterns, _app_name, _namespace = site.urls
