"""The service, as its people see it from outside."""

import json
import os
import subprocess
import urllib.parse

import requests

from made import scratch

NORTH, SOUTH = "north", "south"


class Service:
    """Two tenants of their own on the server at VESTIBULE_URL, which is `.ci/cloud`'s, or on a local runner that is started with
    these arguments. An Administrator of each has enrolled, and there are people of SSO.
    """

    def __init__(self, arguments):
        self.answers, self.process = 0, None
        self.url = os.environ.get("VESTIBULE_URL")
        given = self.by_function() if self.url else self.by_seed(arguments)
        self.session = {}
        for tenant, password in given.items():
            answer = self.ask("POST", "/v1/login", json={"tenant": tenant, "username": "ann", "password": password}).json()
            self.session[tenant] = self.enrol(answer["enrolment"]["token"])
        for name in ("sam", "sue", "pat", "lea", "kim", "zoë@example.com"):
            person = {"username": name, "display_name": name, "kind": "employee", "role": "standard", "auth_type": "saml_sso"}
            self.ask("POST", "/v1/admin/users", self.session[NORTH], 201, json=person)

    def by_function(self):
        """Made by the function of the operators."""
        passwords = {}
        for tenant in (NORTH, SOUTH):
            command = {"command": "create_tenant", "id": tenant, "name": tenant,
                       "administrator": {"username": "ann", "display_name": "Ann"}}
            made = self.ask("POST", "/2015-03-31/functions/operators/invocations", json=command).json()
            passwords[tenant] = made["password"]
        return passwords

    def by_seed(self, arguments):
        password = "ann waters 9 blue ferns"
        ann = {"username": "ann", "password": password, "display_name": "Ann", "kind": "employee", "role": "administrator"}
        with open(f"{scratch.name}/seed", "w", encoding="utf-8") as file:
            json.dump({"tenants": [{"id": tenant, "name": tenant, "users": [ann]} for tenant in (NORTH, SOUTH)]}, file)
        command = [*arguments, "--port", "0", "--json", "--seed", file.name]
        with open(f"{scratch.name}/log", "w", encoding="utf-8") as log:
            self.process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=log, text=True)
        line = self.process.stdout.readline()
        if not line:
            with open(log.name, encoding="utf-8") as file:
                raise RuntimeError(file.read())
        self.url = json.loads(line)["url"]
        return dict.fromkeys((NORTH, SOUTH), password)

    def end(self):
        if self.process:
            self.process.terminate()
            self.process.wait()

    def ask(self, method, path, token=None, status=200, **more):
        headers = more.pop("headers", {}) | ({"Authorization": f"Bearer {token}"} if token else {})
        answer = requests.request(method, self.url + path if path.startswith("/") else path, headers=headers,
                                  allow_redirects=False, timeout=30, **more)
        assert status is None or answer.status_code == status, (method, path, answer.status_code, answer.text)
        self.answers += 1
        return answer

    def enrol(self, token):
        """Sets up an authenticator, which is oathtool; the session."""
        secret = self.ask("POST", "/v1/mfa/enrolments", token, 201, json={}).json()["secret"].replace(" ", "")
        code = subprocess.run(["oathtool", "--totp", "--base32", secret], capture_output=True, text=True, check=True)
        confirmed = self.ask("POST", "/v1/mfa/enrolments/confirm", token, json={"code": code.stdout.strip()})
        return confirmed.json()["session"]["token"]

    def configure(self, tenant=NORTH, **body):
        return self.ask("PUT", "/v1/admin/sso", self.session[tenant], json=body).json()

    def metadata(self, tenant=NORTH):
        return self.ask("GET", f"/v1/sso/{tenant}/metadata").text

    def start(self, query="", tenant=NORTH):
        """Where the browser is sent."""
        return self.ask("GET", f"/v1/sso/{tenant}/login?{query}", status=302).headers["Location"]

    def redirected(self, idp, tenant=NORTH):
        """What the browser is to bring the IdP."""
        location = self.start("return_to=/portal", tenant)
        assert location.startswith(idp.url + "?"), location
        return dict(urllib.parse.parse_qsl(urllib.parse.urlsplit(location).query, strict_parsing=True))

    def form(self, idp, name, key, **what):
        return idp.answer(self.metadata(), self.redirected(idp), name, key, **what)

    def started(self, idp, name, key, query):
        """What a browser brings back, and its pre-session cookie."""
        sent = self.ask("GET", f"/v1/sso/{NORTH}/login?{query}", status=302, headers={"Accept": "text/html"})
        asked = dict(urllib.parse.parse_qsl(urllib.parse.urlsplit(sent.headers["Location"]).query, strict_parsing=True))
        return idp.answer(self.metadata(), asked, name, key), sent.headers["Set-Cookie"].split(";")[0]

    def post(self, form, status=200, to=None, **more):
        assert form.action == f"{self.url}/v1/sso/{NORTH}/acs", form.action
        fields = {name: value for name, value in form.fields.items() if value}
        return self.ask("POST", to or form.action, status=status, data=fields, **more)

    def signed_in(self, form, name):
        answer = self.post(form).json()
        assert answer["status"] == "signed_in" and answer["user"]["username"] == name, answer
        session = self.ask("GET", "/v1/session", answer["session"]["token"]).json()
        assert session["session"]["amr"] == ["sso"], session
        return answer

    def refused(self, form, why, to=None, tenant=NORTH, **more):
        """The caller learns nothing; the Administrator learns which rule it was."""
        answer = self.post(form, 401, to, **more)
        problem = answer.json()
        told = {"type": "/problems/invalid_credentials", "title": "Sign-in refused", "status": 401, "code": "invalid_credentials"}
        assert problem | told == problem and len(problem) == 5, problem
        row = self.audit(answer, tenant)
        assert (row["action"], row["outcome"], row["reason"]) == ("sso.login", "refused", why), (why, row)
        return row

    def audit(self, answer, tenant=NORTH):
        rows = self.ask("GET", "/v1/admin/audit?limit=5", self.session[tenant]).json()["items"]
        [row] = [row for row in rows if row["request_id"] == answer.headers["X-Request-Id"]]
        return row
