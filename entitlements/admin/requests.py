"""What no page of the admin could have sent is refused before a page or the database looks at it."""

import re
from collections.abc import Callable, Iterable

from django.contrib.admin.helpers import ACTION_CHECKBOX_NAME
from django.core.exceptions import BadRequest
from django.http import HttpRequest, HttpResponse, QueryDict

NUL = "\x00"
"""PostgreSQL takes no text that holds it, and no form of Django's does."""
PAGES_OF_IDS = "/admin/entitlements/cachedcustomer/"
"""Ids of the cloud are data: one that holds a NUL has its pages, which ask no database for it."""
_ROW = re.compile(r"[0-9]{1,18}")
"""The key of a row, as large as databases count."""


def refusing_what_no_page_sends(
    get_response: Callable[[HttpRequest], HttpResponse],
) -> Callable[[HttpRequest], HttpResponse]:
    """A middleware; the pages themselves look at all else."""

    def middleware(request: HttpRequest) -> HttpResponse:
        texts = [request.path_info, *_texts(request.GET), *_texts(request.POST)]
        if not request.path_info.startswith(PAGES_OF_IDS) and any(NUL in text for text in texts):
            message = "the request holds a NUL"
            raise BadRequest(message)
        # Django's admin looks for the rows as they are named, and fails where that is no number of a row.
        if not all(_ROW.fullmatch(key) for key in request.POST.getlist(ACTION_CHECKBOX_NAME)):
            message = "the rows to act on are named by numbers"
            raise BadRequest(message)
        return get_response(request)

    return middleware


def _texts(query: QueryDict) -> Iterable[str]:
    for name, values in query.lists():
        yield name
        yield from values
