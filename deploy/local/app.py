"""An application to start from: `GET /?customer=C&feature=F` says whether C may use F, as the sidecar says.

It needs nothing but Python; docs/http.md and the README show other ways to ask.
"""

import json
import os
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.error import URLError
from urllib.parse import parse_qs, urlsplit
from urllib.request import Request, urlopen

METHOD = "stigg.sidecar.v1.SidecarService/GetBooleanEntitlement"
TIMEOUT_SECONDS = 5.0


def may_use(sidecar_url: str, customer_id: str, feature_id: str) -> bool:
    """Whether the sidecar grants it; it fails where no sidecar answers."""
    question = json.dumps({"customerId": customer_id, "featureId": feature_id}).encode()
    request = Request(  # noqa: S310 - the URL is the operator's
        f"{sidecar_url}/{METHOD}", question, {"Content-Type": "application/json"}
    )
    with urlopen(request, timeout=TIMEOUT_SECONDS) as answer:  # noqa: S310
        return bool(json.load(answer).get("hasAccess", False))


class Page(BaseHTTPRequestHandler):
    """The one page."""

    sidecar_url = ""

    def do_GET(self) -> None:
        """Asks for the customer and the feature of the address."""
        asked = parse_qs(urlsplit(self.path).query)
        customer, feature = (
            asked.get("customer", ["customer-demo"])[0],
            asked.get("feature", ["feature-sso"])[0],
        )
        try:
            is_allowed = may_use(self.sidecar_url, customer, feature)
        except URLError as error:
            self._answer(503, f"no sidecar answers at {self.sidecar_url}: {error.reason}")
        else:
            self._answer(200, f"{customer} {'may' if is_allowed else 'may not'} use {feature}")

    def _answer(self, status: int, sentence: str) -> None:
        body = f"{sentence}\n".encode()
        self.send_response(status)
        self.send_header("Content-Type", "text/plain; charset=utf-8")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


def main() -> None:
    """Serves until it is ended."""
    Page.sidecar_url = os.environ.get("SIDECAR_URL", "http://localhost:8081")
    server = ThreadingHTTPServer(("", int(os.environ.get("PORT", "8000"))), Page)
    print(f"listening on port {server.server_address[1]}, asking {Page.sidecar_url}", flush=True)  # noqa: T201
    server.serve_forever()


if __name__ == "__main__":
    main()
