"""Why was this customer denied? The same decision as over gRPC, by the process that serves the page."""

import os
from dataclasses import fields
from typing import Any
from urllib.parse import urlencode

from asgiref.sync import async_to_sync
from django import forms
from django.http import HttpRequest, HttpResponse
from django.urls import reverse

from entitlements.admin.comma_values import CommaValues
from entitlements.admin.customers import customer_url
from entitlements.admin.overrides import offered
from entitlements.admin.site import site
from entitlements.composition import sidecar
from entitlements.domain.decision import Query
from entitlements.service.explanation_document import explanation_document
from entitlements.service.question import DENY, GRANT, TYPED_KINDS, Question

MAX_ID_LENGTH = 1000
_KINDS = [("", "any"), *((kind, kind) for kind in TYPED_KINDS)]
_FALLBACKS = [("", "none"), (GRANT, "grants access"), (DENY, "denies access")]


def _id_field(label: str, *, required: bool = False) -> forms.CharField:
    # Not stripped: an id is what it is, and the page points out the spaces around it.
    return forms.CharField(label=label, required=required, strip=False, max_length=MAX_ID_LENGTH)


class QuestionForm(forms.Form):
    """What a caller may ask; in the address of the page, so that a colleague can be sent it."""

    customer = _id_field("Customer", required=True)
    feature = _id_field("Feature")
    resource = _id_field("Resource")
    currency = _id_field("Currency (not a feature)")
    usage = forms.FloatField(label="Requested usage", required=False)
    values = CommaValues(label="Requested enum values, by commas", required=False, max_length=MAX_ID_LENGTH)
    kind = forms.ChoiceField(label="Asked by the method for", choices=_KINDS, required=False)
    fallback = forms.ChoiceField(label="The call's own fallback", choices=_FALLBACKS, required=False)
    compare = forms.BooleanField(required=False, widget=forms.HiddenInput)

    def query(self) -> Query:
        """The question of a valid form, as a caller would ask it."""
        asked = self.cleaned_data | {"values": self.cleaned_data["values"] or ()}
        return Question(**{each.name: asked[each.name] for each in fields(Question)}).query()


@site.page("explain/", name="explain", permission="entitlements.view_cachedcustomer")
def explain(request: HttpRequest) -> HttpResponse:
    """The form, and below it the decision with all that it rests on."""
    form = QuestionForm(request.GET or None)
    context: dict[str, Any] = {"title": "Explain", "form": form}
    if form.is_bound and form.is_valid():
        context |= _explained(request, form)
    context["has_more"] = any(
        form.data.get(name) for name in ("resource", "currency", "usage", "values", "kind", "fallback")
    )
    return site.render(request, "entitlements/explain.html", context)


def _explained(request: HttpRequest, form: QuestionForm) -> dict[str, Any]:
    query, built = form.query(), sidecar()
    explanation = async_to_sync(built.explaining.explain)(query, compares=form.cleaned_data["compare"])
    ids = [query.key.customer_id, query.key.resource_id or "", query.feature_id, query.currency_id or ""]
    return {
        "explained": explanation_document(explanation),
        "process": os.getpid(),
        "shares_redis": built.redis is not None,
        "has_spaces": any(each != each.strip() for each in ids),
        "compare_url": f"?{_with(request, compare='on')}#cloud",
        "customer_url": customer_url(query.key),
        "rule_url": _rule_url(request, query.feature_id),
        **offered(request, query),
    }


def _with(request: HttpRequest, **changes: str) -> str:
    asked = request.GET.copy()
    for name, value in changes.items():
        asked[name] = value
    return asked.urlencode()


def _rule_url(request: HttpRequest, feature_id: str) -> str | None:
    """Where the fallback of this feature is set, for who may set it."""
    if not feature_id or not request.user.has_perm("entitlements.add_fallbackrule"):
        return None
    return f"{reverse('admin:entitlements_fallbackrule_changelist')}?{urlencode({'q': feature_id})}"
