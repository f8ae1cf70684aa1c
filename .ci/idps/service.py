"""The service, as its people see it from outside."""

import json
import subprocess
import urllib.parse

import requests

from made import scratch


class Service:
    """The local runner with two tenants, an Administrator of each who has enrolled, and people of SSO."""

    def __init__(self, program):
        people = lambda admin, *names: [
            {"username": admin, "password": f"{admin} counts 8 blue herons", "display_name": admin, "kind": "employee",
             "role": "administrator"},
            *({"username": name, "display_name": name, "kind": "employee", "role": "standard", "auth_type": "saml_sso"}
              for name in names),
        ]
        seed = {"tenants": [
            {"id": "acme", "name": "Acme", "users": people("ann", "sam", "sue", "pat", "zoë@example.com", "lea")},
            {"id": "beta", "name": "Beta", "users": people("bea", "sam")},
        ]}
        with open(f"{scratch.name}/seed", "w", encoding="utf-8") as file:
            json.dump(seed, file)
        self.log = open(f"{scratch.name}/log", "w+", encoding="utf-8")
        serve = [program, "serve", "--ephemeral", "--port", "0", "--json", "--seed", f"{scratch.name}/seed"]
        self.process = subprocess.Popen(serve, stdout=subprocess.PIPE, stderr=self.log, text=True)
        line = self.process.stdout.readline()
        assert line, open(self.log.name, encoding="utf-8").read()
        self.url = json.loads(line)["url"]
        self.answers = 0
        self.session = {"acme": self.administrator("acme", "ann"), "beta": self.administrator("beta", "bea")}

    def ask(self, method, path, token=None, status=200, **more):
        headers = more.pop("headers", {}) | ({"Authorization": f"Bearer {token}"} if token else {})
        answer = requests.request(method, self.url + path if path.startswith("/") else path, headers=headers,
                                  allow_redirects=False, timeout=30, **more)
        assert status is None or answer.status_code == status, (method, path, answer.status_code, answer.text)
        self.answers += 1
        return answer

    def administrator(self, tenant, name):
        body = {"tenant": tenant, "username": name, "password": f"{name} counts 8 blue herons"}
        answer = self.ask("POST", "/v1/login", json=body).json()
        return self.enrol(answer["enrolment"]["token"])

    def enrol(self, token):
        """Sets up an authenticator, which is oathtool; the session."""
        secret = self.ask("POST", "/v1/mfa/enrolments", token, 201, json={}).json()["secret"].replace(" ", "")
        code = subprocess.run(["oathtool", "--totp", "--base32", secret], capture_output=True, text=True, check=True)
        confirmed = self.ask("POST", "/v1/mfa/enrolments/confirm", token, json={"code": code.stdout.strip()})
        return confirmed.json()["session"]["token"]

    def configure(self, tenant="acme", **body):
        return self.ask("PUT", "/v1/admin/sso", self.session[tenant], json=body).json()

    def metadata(self, tenant="acme"):
        return self.ask("GET", f"/v1/sso/{tenant}/metadata").text

    def redirected(self, idp, tenant="acme"):
        """What the browser is to bring the IdP."""
        location = self.ask("GET", f"/v1/sso/{tenant}/login?return_to=/portal", status=302).headers["Location"]
        assert location.startswith(idp.url + "?"), location
        return dict(urllib.parse.parse_qsl(urllib.parse.urlsplit(location).query, strict_parsing=True))

    def form(self, idp, name, key, **what):
        return idp.answer(self.metadata(), self.redirected(idp), name, key, **what)

    def post(self, form, status=200, to=None, **more):
        assert form.action == f"{self.url}/v1/sso/acme/acs", form.action
        fields = {name: value for name, value in form.fields.items() if value}
        return self.ask("POST", to or form.action, status=status, data=fields, **more)

    def signed_in(self, form, name):
        answer = self.post(form).json()
        assert answer["status"] == "signed_in" and answer["user"]["username"] == name, answer
        session = self.ask("GET", "/v1/session", answer["session"]["token"]).json()
        assert session["session"]["amr"] == ["sso"], session
        return answer

    def refused(self, form, why, to=None, tenant="acme"):
        """The caller learns nothing; the Administrator learns which rule it was."""
        answer = self.post(form, 401, to)
        problem = answer.json()
        told = {"type": "/problems/invalid_credentials", "title": "Sign-in refused", "status": 401, "code": "invalid_credentials"}
        assert problem | told == problem and len(problem) == 5, problem
        row = self.audit(answer, tenant)
        assert (row["action"], row["outcome"], row["reason"]) == ("sso.login", "refused", why), (why, row)

    def audit(self, answer, tenant="acme"):
        rows = self.ask("GET", "/v1/admin/audit?limit=5", self.session[tenant]).json()["items"]
        [row] = [row for row in rows if row["request_id"] == answer.headers["X-Request-Id"]]
        return row
