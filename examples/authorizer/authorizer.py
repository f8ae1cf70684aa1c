"""A Lambda authorizer for an HTTP API of API Gateway: it admits requests that carry a session of Vestibule.

Payload format 2.0 with simple responses. The environment has VESTIBULE_URL, VESTIBULE_CLIENT_ID and VESTIBULE_CLIENT_SECRET.
If Vestibule does not answer, the authorizer fails, and API Gateway answers 500: nobody gets in.
"""

import base64
import json
import os
import urllib.parse
import urllib.request


def handler(event, _context=None):
    scheme, _, token = event.get("headers", {}).get("authorization", "").partition(" ")
    session = introspect(token) if scheme.lower() == "bearer" and token else {"active": False}
    if not session["active"]:
        return {"isAuthorized": False}
    # What the integration gets, as $context.authorizer.tenant and so on.
    names = ["tenant", "sub", "username", "kind", "role", "acr", "auth_time"]
    return {"isAuthorized": True, "context": {name: session[name] for name in names}}


def introspect(token):
    """Asks Vestibule whose session a token is (RFC 7662)."""
    credential = f"{os.environ['VESTIBULE_CLIENT_ID']}:{os.environ['VESTIBULE_CLIENT_SECRET']}"
    request = urllib.request.Request(
        f"{os.environ['VESTIBULE_URL']}/v1/introspect",
        data=urllib.parse.urlencode({"token": token}).encode(),
        headers={"Authorization": "Basic " + base64.b64encode(credential.encode()).decode()},
    )
    with urllib.request.urlopen(request, timeout=3) as answer:
        return json.load(answer)
