"""Whether the server of this container answers, for Docker's HEALTHCHECK: exit code 0 if it does, else 1.

    python healthcheck.py [PORT]

It asks this machine only, over TLS or without. The certificate is the server's own matter: a client checks it, not this.
"""

import ssl
import sys
from http.client import HTTPException
from urllib.request import HTTPSHandler, ProxyHandler, build_opener


def is_healthy(port: str) -> bool:
    trusting = ssl.create_default_context()
    trusting.check_hostname, trusting.verify_mode = False, ssl.CERT_NONE
    opener = build_opener(ProxyHandler({}), HTTPSHandler(context=trusting))  # a proxy does not know this machine's server
    for scheme in ("https", "http"):
        try:
            with opener.open(f"{scheme}://127.0.0.1:{port}/healthz", timeout=4) as response:
                return response.status == 200
        except (OSError, HTTPException):  # nothing there, another scheme, or an error of the server
            continue
    return False


if __name__ == "__main__":
    sys.exit(not is_healthy((sys.argv[1:] or ["8484"])[0]))
