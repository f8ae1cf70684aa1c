"""The service, seen by its users over HTTP."""

import json
import os
import subprocess
import urllib.parse

import requests

from python_idps import scratch

NORTH, SOUTH = "north", "south"


class Service:
    """Two new tenants on the server of `.ci/cloud` at VESTIBULE_URL, or on a local server that is started with these arguments.
    Each has an enrolled Administrator, and the first has users who sign in by SSO.
    """

    def __init__(self, arguments):
        self.requests, self.process = 0, None
        self.url = os.environ.get("VESTIBULE_URL")
        passwords = self.by_function() if self.url else self.by_seed(arguments)
        self.session = {}
        for tenant, password in passwords.items():
            answer = self.send("POST", "/v1/login", json={"tenant": tenant, "username": "ann", "password": password}).json()
            self.session[tenant] = self.enrol(answer["enrolment"]["token"])
        for name in ("sam", "sue", "pat", "lea", "kim", "zoë@example.com"):
            user = {"username": name, "display_name": name, "kind": "employee", "role": "standard", "auth_type": "saml_sso"}
            self.send("POST", "/v1/admin/users", self.session[NORTH], 201, json=user)

    def by_function(self):
        """Creates the tenants by the function `operators`. Returns the passwords of the Administrators."""
        passwords = {}
        for tenant in (NORTH, SOUTH):
            command = {"command": "create_tenant", "id": tenant, "name": tenant,
                       "administrator": {"username": "ann", "display_name": "Ann"}}
            created = self.send("POST", "/2015-03-31/functions/operators/invocations", json=command).json()
            passwords[tenant] = created["password"]
        return passwords

    def by_seed(self, arguments):
        """Starts a local server with the tenants. Returns the passwords of the Administrators."""
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

    def send(self, method, path, token=None, status=200, **more):
        headers = more.pop("headers", {}) | ({"Authorization": f"Bearer {token}"} if token else {})
        answer = requests.request(method, self.url + path if path.startswith("/") else path, headers=headers,
                                  allow_redirects=False, timeout=30, **more)
        assert status is None or answer.status_code == status, (method, path, answer.status_code, answer.text)
        self.requests += 1
        return answer

    def enrol(self, token):
        """Enrols with oathtool as the authenticator app. Returns the session."""
        secret = self.send("POST", "/v1/mfa/enrolments", token, 201, json={}).json()["secret"].replace(" ", "")
        code = subprocess.run(["oathtool", "--totp", "--base32", secret], capture_output=True, text=True, check=True)
        confirmed = self.send("POST", "/v1/mfa/enrolments/confirm", token, json={"code": code.stdout.strip()})
        return confirmed.json()["session"]["token"]

    def configure(self, tenant=NORTH, **body):
        return self.send("PUT", "/v1/admin/sso", self.session[tenant], json=body).json()

    def metadata(self, tenant=NORTH):
        return self.send("GET", f"/v1/sso/{tenant}/metadata").text

    def start(self, query="", tenant=NORTH):
        """Starts a sign-in. Returns the URL that the browser is sent to."""
        return self.send("GET", f"/v1/sso/{tenant}/login?{query}", status=302).headers["Location"]

    def start_query(self, idp, tenant=NORTH):
        """Starts a sign-in. Returns the query that the browser takes to the IdP."""
        location = self.start("return_to=/portal", tenant)
        assert location.startswith(idp.url + "?"), location
        return dict(urllib.parse.parse_qsl(urllib.parse.urlsplit(location).query, strict_parsing=True))

    def form(self, idp, name, key, **options):
        return idp.answer(self.metadata(), self.start_query(idp), name, key, **options)

    def browser_form(self, idp, name, key, query):
        """Starts a sign-in in a browser. Returns the form of the IdP's response, and the pre-session cookie."""
        sent = self.send("GET", f"/v1/sso/{NORTH}/login?{query}", status=302, headers={"Accept": "text/html"})
        sent_query = dict(urllib.parse.parse_qsl(urllib.parse.urlsplit(sent.headers["Location"]).query, strict_parsing=True))
        return idp.answer(self.metadata(), sent_query, name, key), sent.headers["Set-Cookie"].split(";")[0]

    def post(self, form, status=200, to=None, **more):
        assert form.action == f"{self.url}/v1/sso/{NORTH}/acs", form.action
        fields = {name: value for name, value in form.fields.items() if value}
        return self.send("POST", to or form.action, status=status, data=fields, **more)

    def assert_signed_in(self, form, name):
        answer = self.post(form).json()
        assert answer["status"] == "signed_in" and answer["user"]["username"] == name, answer
        session = self.send("GET", "/v1/session", answer["session"]["token"]).json()
        assert session["session"]["amr"] == ["sso"], session
        return answer

    def assert_refused(self, form, why, to=None, tenant=NORTH, **more):
        """Asserts the general refusal, and that the audit names the violated rule. Returns the audit row."""
        answer = self.post(form, 401, to, **more)
        problem = answer.json()
        expected = {"type": "/problems/invalid_credentials", "title": "Sign-in refused", "status": 401, "code": "invalid_credentials"}
        assert problem | expected == problem and len(problem) == 5, problem
        row = self.audit(answer, tenant)
        assert (row["action"], row["outcome"], row["reason"]) == ("sso.login", "refused", why), (why, row)
        return row

    def audit(self, answer, tenant=NORTH):
        rows = self.send("GET", "/v1/admin/audit?limit=5", self.session[tenant]).json()["items"]
        [row] = [row for row in rows if row["request_id"] == answer.headers["X-Request-Id"]]
        return row
