"""The site of all pages. A page adds itself by `site.page`, a model by `@admin.register(…, site=site)`."""

from collections.abc import Callable, Mapping
from http import HTTPStatus
from typing import Any, TypeAlias

from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse
from django.template.response import TemplateResponse
from django.urls import URLPattern, path
from unfold.sites import UnfoldAdminSite

from entitlements.admin.audited import record
from entitlements.audit import Change
from entitlements.composition import sidecar

View: TypeAlias = Callable[[HttpRequest], HttpResponse]


class SidecarAdminSite(UnfoldAdminSite):
    """Unfold's site with pages that are about no model."""

    index_title = "Overview"
    enable_nav_sidebar = True

    def __init__(self) -> None:
        super().__init__("admin")
        self._pages: list[URLPattern] = []

    def page(self, route: str, *, name: str, permission: str) -> Callable[[View], View]:
        """Adds a page at `/admin/<route>`, reversed as `admin:<name>`, for who has the permission.

        Args:
            route: where, with a slash at its end.
            name: for `reverse`.
            permission: such as `entitlements.view_cachedcustomer`.
        """

        def add(view: View) -> View:
            def guarded(request: HttpRequest) -> HttpResponse:
                if not request.user.has_perm(permission):
                    raise PermissionDenied
                return view(request)

            self._pages.append(path(route, self.admin_view(guarded), name=name))
            return view

        return add

    def each_context(self, request: HttpRequest) -> dict[str, Any]:
        """What every page shows: how many overrides are in force, for who may see it."""
        context: dict[str, Any] = super().each_context(request)
        stored = sidecar().overrides
        if stored is not None and request.user.has_perm("entitlements.view_entitlementoverride"):
            context["overrides_in_force"] = len(stored.in_force())
        return context

    def extra_urls(self) -> list[URLPattern]:
        """What unfold puts before the models' own."""
        return self._pages

    def render(
        self, request: HttpRequest, template: str, context: Mapping[str, Any], *, status: int = 200
    ) -> TemplateResponse:
        """A page in the site's frame; `context` holds at least a `title`."""
        request.current_app = self.name
        return TemplateResponse(request, template, {**self.each_context(request), **context}, status=status)

    def password_change(
        self, request: HttpRequest, extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        """The visitor's own password; changed, that stands in the audit trail."""
        response: HttpResponse = super().password_change(request, extra_context)
        if request.method == "POST" and response.status_code == HTTPStatus.FOUND:
            record(request, Change("user.password", request.user.get_username()))
        return response

    def index(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> TemplateResponse:
        """The overview."""
        from entitlements.admin import overview  # noqa: PLC0415 - which is a page of this site

        return self.render(
            request, "entitlements/overview.html", {**overview.context(request), **(extra_context or {})}
        )


site = SidecarAdminSite()
