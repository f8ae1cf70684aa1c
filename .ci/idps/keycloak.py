"""Keycloak, as an Administrator sets it up and as a browser signs in there. Started by .ci/with-keycloak."""

import html.parser
import time
import urllib.parse

import requests

from made import Form

GROUP = "vestibule-administrators"
PASSWORD = "kay signs in at keycloak"


class Texts(html.parser.HTMLParser):
    """What a page says."""

    def __init__(self, page):
        super().__init__()
        self.text = ""
        self.feed(page)

    def handle_data(self, data):
        self.text += data


class Keycloak:
    def __init__(self, url, realm):
        self.server, self.realm = url, realm
        self.entity = f"{url}/realms/{realm}"
        self.url = f"{self.entity}/protocol/saml"

    def wait(self):
        for _ in range(600):
            try:
                if requests.get(f"{self.server}/realms/master", timeout=10).ok:
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

    def make(self, people):
        """The realm, with people by user name and the groups that each is in."""
        credentials = [{"type": "password", "value": PASSWORD, "temporary": False}]
        users = [{"username": name, "enabled": True, "email": f"{n}@example.com", "firstName": "Kay", "lastName": "Example",
                  "groups": groups, "credentials": credentials} for n, (name, groups) in enumerate(people.items())]
        self.admin("POST", "", 201, json={"realm": self.realm, "enabled": True, "groups": [{"name": GROUP}], "users": users})

    def metadata(self, *keys):
        answer = requests.get(f"{self.url}/descriptor", timeout=60)
        assert answer.ok, answer.text
        return answer.text

    def client(self, metadata):
        """The client that Keycloak makes of a service provider's metadata, with what docs/sso.md says."""
        headers = {"Content-Type": "application/xml"}
        made = self.admin("POST", f"/{self.realm}/client-description-converter", 200, data=metadata.encode(), headers=headers).json()
        attributes = made["attributes"]
        assert attributes["saml.client.signature"] == "true", attributes
        assert "saml.signing.certificate" in attributes, attributes
        attributes |= {"saml.assertion.signature": "true", "saml.encrypt": "false", "saml.signature.algorithm": "RSA_SHA256",
                       "saml_name_id_format": "username", "saml_force_name_id_format": "true"}
        groups = {"attribute.name": "SecurityGroup", "attribute.nameformat": "Basic", "single": "true", "full.path": "false"}
        names = {"attribute.name": "Username", "attribute.nameformat": "Basic", "user.attribute": "username"}
        made["protocolMappers"] = [
            {"name": "groups", "protocol": "saml", "protocolMapper": "saml-group-membership-mapper", "config": groups},
            {"name": "names", "protocol": "saml", "protocolMapper": "saml-user-property-mapper", "config": names},
        ]
        self.admin("POST", f"/{self.realm}/clients", 201, json=made)

    def sign_in(self, location, name):
        """What the browser posts in the end: it goes where it is sent, and fills in Keycloak's form."""
        browser = requests.Session()
        asked = Form(self.page(browser.get(location, timeout=60)))
        fields = asked.fields | {"username": name, "password": PASSWORD}
        return Form(self.page(browser.post(asked.action, data=fields, timeout=60)))

    @staticmethod
    def page(answer):
        assert answer.status_code == 200, (answer.status_code, " ".join(Texts(answer.text).text.split()))
        return answer.text

    def refuses(self, location):
        """Keycloak shows its own error page, and this service never hears of it."""
        answer = requests.get(location, timeout=60)
        assert answer.status_code == 400 and "SAMLResponse" not in answer.text, (answer.status_code, answer.text)


def without(location, *names):
    """An address without these parts of its query. The others stay as they are written."""
    address, query = location.split("?")
    return address + "?" + "&".join(part for part in query.split("&") if part.split("=")[0] not in names)


def altered(location, name):
    """An address with another value in its query."""
    address, query = location.split("?")
    parts = [part + "A" if part.split("=")[0] == name else part for part in query.split("&")]
    assert "&".join(parts) != query
    return address + "?" + "&".join(parts)


def parsed(location):
    return dict(urllib.parse.parse_qsl(urllib.parse.urlsplit(location).query, strict_parsing=True))
