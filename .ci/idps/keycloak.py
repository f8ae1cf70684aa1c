"""Configures Keycloak as its administrator, and signs in there as a browser. `.ci/with-keycloak` starts it."""

import html.parser
import http.cookiejar
import json
import os
import time
import urllib.error
import urllib.parse
import urllib.request

import requests

from python_idps import Form

with open(os.path.join(os.path.dirname(__file__), "realm.json"), encoding="utf-8") as file:
    REALM = json.load(file)
[GROUP] = (group["name"] for group in REALM["groups"])
CONTEXT = "urn:oasis:names:tc:SAML:2.0:ac:classes:unspecified"  # Keycloak reports it for every sign-in
PASSWORDS = {user["username"]: user["credentials"][0]["value"] for user in REALM["users"]}


class PageText(html.parser.HTMLParser):
    """The text of a page."""

    def __init__(self, page):
        super().__init__()
        self.text = ""
        self.feed(page)

    def handle_data(self, data):
        self.text += data


class Browser:
    """Keeps cookies. As browsers do, it sends `Secure` cookies to this machine over HTTP too."""

    def __init__(self):
        policy = http.cookiejar.DefaultCookiePolicy(secure_protocols=("http", "https"))
        cookies = urllib.request.HTTPCookieProcessor(http.cookiejar.CookieJar(policy))
        self.opener = urllib.request.build_opener(cookies)

    def open(self, address, fields=None):
        """Opens a page, and returns its form."""
        try:
            answer = self.opener.open(address, fields and urllib.parse.urlencode(fields).encode(), timeout=60)
        except urllib.error.HTTPError as error:
            raise AssertionError((error.code, PageText(error.read().decode()).text)) from error
        return Form(answer.read().decode())


class Keycloak:
    def __init__(self, url):
        self.server, self.realm = url, REALM["realm"]
        self.entity = f"{url}/realms/{self.realm}"
        self.url = f"{self.entity}/protocol/saml"

    def wait(self):
        for _ in range(600):
            try:
                if requests.get(f"{self.server}/realms/{self.realm}", timeout=10).ok:
                    return
            except requests.ConnectionError:
                pass
            time.sleep(0.5)
        raise RuntimeError("Keycloak does not start: see target/keycloak/*/log")

    def admin(self, method, path, status, **more):
        login = {"grant_type": "password", "client_id": "admin-cli", "username": "admin", "password": "admin"}
        token = requests.post(f"{self.server}/realms/master/protocol/openid-connect/token", data=login, timeout=60)
        headers = {"Authorization": f"Bearer {token.json()['access_token']}", **more.pop("headers", {})}
        answer = requests.request(method, f"{self.server}/admin/realms{path}", headers=headers, timeout=60, **more)
        assert answer.status_code == status, (method, path, answer.status_code, answer.text)
        return answer

    def metadata(self):
        answer = requests.get(f"{self.url}/descriptor", timeout=60)
        assert answer.ok, answer.text
        return answer.text

    def client(self, metadata):
        """Creates a client from a service provider's metadata, as Keycloak's page "Import client" does, with mappers."""
        headers = {"Content-Type": "application/xml"}
        client = self.admin("POST", f"/{self.realm}/client-description-converter", 200, data=metadata.encode(), headers=headers).json()
        attributes = client["attributes"]
        assert attributes["saml.client.signature"] == "true" and attributes["saml.signing.certificate"], attributes
        mapper = lambda kind, name, **config: {
            "name": name, "protocol": "saml", "protocolMapper": f"saml-{kind}-mapper",
            "config": {"attribute.name": name, "attribute.nameformat": "Basic", **config}}
        properties = {"Username": "username", "FirstName": "firstName", "LastName": "lastName", "Email": "email"}
        client["protocolMappers"] = [mapper("user-property", name, **{"user.attribute": of}) for name, of in properties.items()]
        client["protocolMappers"].append(mapper("group-membership", "SecurityGroup", **{"single": "true", "full.path": "false"}))
        self.admin("POST", f"/{self.realm}/clients", 201, json=client)

    def sign_in(self, location, name, browser=None):
        """Opens the redirect URL and fills in Keycloak's login form. Returns the form that the browser then posts."""
        browser = browser or Browser()
        login_form = browser.open(location)
        assert login_form.action.startswith(self.server), login_form.action
        return browser.open(login_form.action, login_form.fields | {"username": name, "password": PASSWORDS[name]})

    def assert_refused(self, location):
        """Asserts that Keycloak shows its own error page, without a response for this service."""
        answer = requests.get(location, timeout=60)
        assert answer.status_code == 400 and "SAMLResponse" not in answer.text, (answer.status_code, answer.text)


def without(location, *names):
    """A URL without these parameters. The other parameters are unchanged."""
    address, query = location.split("?")
    return address + "?" + "&".join(part for part in query.split("&") if part.split("=")[0] not in names)


def altered(location, name):
    """A URL with another value of this parameter."""
    address, query = location.split("?")
    parts = [part.replace("=", "=A", 1) if part.split("=")[0] == name else part for part in query.split("&")]
    assert "&".join(parts) != query
    return address + "?" + "&".join(parts)
