"""IdPs that are not ours sign people in, and are refused where they are wrong: pysaml2, samlify and samlp, each set up from
this service's metadata alone, and this service from theirs. Started by .ci/idps.
"""

import base64
import datetime
import html.parser
import json
import logging
import os
import shutil
import subprocess
import sys
import tempfile
import urllib.parse
import zlib

import requests
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from saml2 import BINDING_HTTP_REDIRECT, entity, saml
from saml2.config import IdPConfig
from saml2.metadata import entity_descriptor
from saml2.server import Server
from saml2.xml import schema

PASSWORD = "urn:oasis:names:tc:SAML:2.0:ac:classes:PasswordProtectedTransport"
UID = "urn:oid:0.9.2342.19200300.100.1.1"
METADATA = schema._create_xml_schema_validator(
    os.path.join(os.path.dirname(schema._data_schemas.__file__), "saml-schema-metadata-2.0.xsd"))
logging.disable(logging.CRITICAL)  # pysaml2 says what it does, at length
# xmlsec1, which signs for it, can do these too.
entity.SIG_ALLOWED_ALG += tuple((f"ECDSA{sha}", f"http://www.w3.org/2001/04/xmldsig-more#ecdsa-sha{sha}") for sha in (256, 384, 512))
scratch = tempfile.TemporaryDirectory()


# ---------------------------------------------------------------- keys and IdPs

class Key:
    """A key that an IdP signs with, and its certificate, as files."""

    def __init__(self, name, private=None):
        private = private or rsa.generate_private_key(65537, 2048)
        self.name, self.key, self.cert = name, f"{scratch.name}/{name}.key", f"{scratch.name}/{name}.pem"
        self.ends = datetime.datetime(2031, 3, 4, 5, 6, 7, tzinfo=datetime.timezone.utc)
        called = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])
        made = x509.CertificateBuilder(called, called, private.public_key(), x509.random_serial_number(),
                                       datetime.datetime(2026, 1, 1), self.ends).sign(private, hashes.SHA256())
        form = serialization.PrivateFormat.TraditionalOpenSSL
        with open(self.key, "wb") as file:
            file.write(private.private_bytes(serialization.Encoding.PEM, form, serialization.NoEncryption()))
        self.pem = made.public_bytes(serialization.Encoding.PEM).decode()
        with open(self.cert, "w", encoding="ascii") as file:
            file.write(self.pem)
        self.sha256 = made.fingerprint(hashes.SHA256()).hex()


class Form(html.parser.HTMLParser):
    """The form of a page, as a browser would post it."""

    def __init__(self, page):
        super().__init__()
        self.action, self.fields = None, {}
        self.feed(page)

    def handle_starttag(self, tag, attrs):
        attrs = dict(attrs)
        if tag == "form":
            self.action = attrs["action"]
        elif tag == "input" and "name" in attrs:
            self.fields[attrs["name"]] = attrs["value"]


class Pysaml2:
    entity, url = "https://pysaml2.example/idp", "https://pysaml2.example/sso"

    def server(self, keys, sps=(), policy=None):
        idp = {"endpoints": {"single_sign_on_service": [(self.url, BINDING_HTTP_REDIRECT)]},
               "policy": {"default": {"lifetime": {"minutes": 5}, **(policy or {})}}}
        return Server(config=IdPConfig().load({
            "entityid": self.entity, "xmlsec_binary": shutil.which("xmlsec1"), "key_file": keys[0].key,
            "cert_file": keys[0].cert, "additional_cert_files": [key.cert for key in keys[1:]],
            "metadata": {"inline": list(sps)}, "service": {"idp": idp},
        }))

    def metadata(self, *keys):
        return str(entity_descriptor(self.server(keys).config))

    def answer(self, sp, query, name, key, sign="assertion", sha=256, policy=None, also=(), asked=True, **what):
        """The form in answer to a request; with no name, pysaml2 chooses one by its policy."""
        server = self.server([key], [sp, *also], policy)
        request = server.parse_authn_request(query["SAMLRequest"], BINDING_HTTP_REDIRECT).message
        arguments = server.response_args(request)
        binding, destination = arguments.pop("binding"), arguments["destination"]
        if not asked:
            arguments["in_response_to"] = None
        if name is not None:
            arguments["name_id"] = saml.NameID(text=name, format=what.pop("format", saml.NAMEID_FORMAT_UNSPECIFIED))
        digest = {1: "http://www.w3.org/2000/09/xmldsig#", 384: "http://www.w3.org/2001/04/xmldsig-more#"}
        digest = digest.get(sha, "http://www.w3.org/2001/04/xmlenc#") + f"sha{sha}"
        kind = "ecdsa" if key.name == "curve" else "rsa"
        method = f"http://www.w3.org/{'2000/09/xmldsig#' if sha == 1 else '2001/04/xmldsig-more#'}{kind}-sha{sha}"
        arguments |= {
            "identity": {"uid": [what.pop("uid", "sam")]}, "userid": "4711", "authn": {"class_ref": PASSWORD},
            "sign_assertion": sign in ("assertion", "both"), "sign_response": sign in ("response", "both"),
            "sign_alg": method, "digest_alg": digest, **what,
        }
        response = server.create_authn_response(**arguments)
        return Form(server.apply_binding(binding, str(response), destination, query.get("RelayState", ""), response=True)["data"])


class OfNpm:
    """An IdP of idps_of_npm.js."""

    child = None

    def __init__(self, name):
        self.name, self.entity, self.url = name, f"https://{name}.example/idp", f"https://{name}.example/sso"

    def do(self, what, keys, **more):
        if OfNpm.child is None:
            script = os.path.join(os.path.dirname(__file__), "idps_of_npm.js")
            OfNpm.child = subprocess.Popen(["node", "--no-deprecation", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                           text=True)
        order = {"idp": self.name, "do": what, "entity": self.entity, "url": self.url,
                 "keys": [{"key": key.key, "cert": key.cert} for key in keys], **more}
        print(json.dumps(order), file=OfNpm.child.stdin, flush=True)
        answer = json.loads(OfNpm.child.stdout.readline())
        assert "made" in answer, answer["error"]
        return answer["made"]

    def metadata(self, *keys):
        return self.do("metadata", keys)

    def answer(self, sp, query, name, key, **what):
        made = self.do("answer", [key], sp=sp, query=query, name=name, **what)
        if "page" in made:
            return Form(made["page"])
        form = Form("")
        form.action = made.pop("action")
        form.fields = made
        return form


# ---------------------------------------------------------------- the service, as its people see it

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


# ---------------------------------------------------------------- what is tried

def enrols_once(service, idp, name, key):
    """Somebody of SSO: an authenticator once, and never a code at a sign-in."""
    service.configure(metadata_xml=idp.metadata(key))
    answer = service.post(service.form(idp, name, key)).json()
    assert answer["status"] == "enrolment_required" and "session" not in answer, answer
    service.enrol(answer["enrolment"]["token"])
    service.signed_in(service.form(idp, name, key), name)


def signs_in(service, idp, name, key, variants):
    service.configure(metadata_xml=idp.metadata(key))
    for variant in variants:
        service.signed_in(service.form(idp, name, key, **variant), name)


def written_by_the_schema(service, idp, key):
    for tenant in ("acme", "beta"):
        schema.validate(service.metadata(tenant), METADATA)
    service.configure(metadata_xml=idp.metadata(key))
    request = service.redirected(idp)["SAMLRequest"]
    schema.validate(zlib.decompress(base64.b64decode(request), -15).decode())



def rolls_over(service, idp, old, new, metadata):
    """The IdP changes its key: both for a while, then the new one alone. What GET shows, PUT takes."""
    by = lambda key: service.form(idp, "sam", key)
    service.configure(metadata_xml=idp.metadata(old))
    service.signed_in(by(old), "sam")
    service.refused(by(new), "signature")
    both = service.configure(**metadata(old, new))
    shown = service.ask("GET", "/v1/admin/sso", service.session["acme"]).json()
    assert shown == both
    assert shown["certificates"] == [old.pem, new.pem], shown
    seen = [(one["sha256"], one["not_after"], one["expired"]) for one in shown["certificates_seen"]]
    assert seen == [(key.sha256, "2031-03-04T05:06:07Z", False) for key in (old, new)], seen
    again = {name: shown[name] for name in ("idp_entity_id", "sso_url", "certificates")}
    assert service.configure(**again)["certificates"] == shown["certificates"]
    service.signed_in(by(old), "sam")
    service.signed_in(by(new), "sam")
    service.configure(metadata_xml=idp.metadata(new))
    service.signed_in(by(new), "sam")
    service.refused(by(old), "signature")


def names_of_pysaml2(service, idp, key):
    """pysaml2 looks at no NameIDFormat of ours: its own policy says what it calls people, at random by default."""
    service.configure(metadata_xml=idp.metadata(key))
    for form in (saml.NAMEID_FORMAT_PERSISTENT, saml.NAMEID_FORMAT_EMAILADDRESS):
        service.signed_in(service.form(idp, "sam", key, format=form), "sam")
    service.refused(service.form(idp, None, key), "unknown_subject")
    lasting = {"policy": {"nameid_format": saml.NAMEID_FORMAT_PERSISTENT}, "uid": "pat"}
    service.refused(service.form(idp, None, key, **lasting), "unknown_subject")
    # An attribute says who they are, once: then they are known by what pysaml2 calls them.
    service.configure(metadata_xml=idp.metadata(key), link_attribute=UID)
    form = service.form(idp, None, key, **lasting)
    answer = service.post(form)
    assert answer.json()["status"] == "enrolment_required", answer.text
    assert service.audit(answer)["changed"] == ["sso_name_id"]
    service.enrol(answer.json()["enrolment"]["token"])
    service.configure(metadata_xml=idp.metadata(key))
    xml = base64.b64decode(form.fields["SAMLResponse"]).decode()
    name = xml.split("NameID ", 1)[1].split(">", 1)[1].split("<", 1)[0]
    service.signed_in(service.form(idp, name, key, format=saml.NAMEID_FORMAT_PERSISTENT, uid="pat"), "pat")
    # An Administrator may say it instead.
    users = service.ask("GET", "/v1/admin/users?q=lea", service.session["acme"]).json()["items"]
    path = f"/v1/admin/users/{users[0]['id']}"
    service.ask("PATCH", path, service.session["acme"], json={"sso_name_id": "S-1-5-21/Lea"})
    enrol = service.post(service.form(idp, "S-1-5-21/Lea", key)).json()
    assert enrol["status"] == "enrolment_required", enrol
    service.refused(service.form(idp, "s-1-5-21/lea", key), "unknown_subject")


def refusals(service, idp, key, other):
    """What pysaml2 gets wrong, or is told to."""
    service.configure(metadata_xml=idp.metadata(key))
    service.configure("beta", metadata_xml=idp.metadata(key))
    beta = f"{service.url}/v1/sso/beta"
    form = lambda **what: service.form(idp, "sam", key, **what)
    confirmed = lambda **data: {"assertion": {"subject": {"subject_confirmation": {"subject_confirmation_data": data}}}}
    service.refused(form(sp_entity_id=f"{beta}/metadata", also=[service.metadata("beta")]), "audience")
    for sign in ("assertion", "response"):
        service.refused(form(sign=sign, farg=confirmed(recipient=f"{beta}/acs")), "recipient")
        service.refused(form(sign=sign, farg=confirmed(in_response_to="_another")), "in_response_to")
        service.refused(form(sign=sign, policy={"lifetime": {"minutes": -2}}), "expired")
        service.refused(form(sign=sign), "destination", to=f"{beta}/acs", tenant="beta")
        service.refused(form(sign=sign, sha=1), "signature_algorithm")
        service.refused(form(sign=sign, issuer=saml.Issuer(text="https://other.example/idp")), "issuer")
        service.refused(service.form(idp, "sam", other, sign=sign), "signature")
    service.refused(form(policy={"lifetime": {"days": 30}}), "valid_too_long")
    service.refused(form(digest_alg="http://www.w3.org/2000/09/xmldsig#sha1"), "signature_algorithm")
    service.refused(form(sign="none"), "unsigned")
    service.refused(form(sign="response", encrypt_assertion=True, encrypt_cert_assertion=key.pem), "encrypted")
    service.refused(form(asked=False), "in_response_to")
    service.refused(service.form(idp, "ann", key), "not_of_sso")
    service.refused(service.form(idp, "nobody", key), "unknown_subject")
    again = form()
    service.signed_in(again, "sam")
    service.refused(again, "in_response_to")
    again.fields["RelayState"] = service.redirected(idp)["RelayState"]
    service.refused(again, "in_response_to")


def unasked(service, idp, key):
    """From the IdP's portal: off by default; on, each assertion once."""
    def form():
        made = service.form(idp, "sam", key, asked=False)
        del made.fields["RelayState"]
        return made
    service.configure(metadata_xml=idp.metadata(key))
    service.refused(form(), "unsolicited")
    service.configure(metadata_xml=idp.metadata(key), idp_initiated=True)
    made = form()
    service.signed_in(made, "sam")
    service.refused(made, "spent")
    answered = service.form(idp, "sam", key)
    del answered.fields["RelayState"]
    service.refused(answered, "in_response_to")


def refusals_of_samlify(service, idp, key):
    service.configure(metadata_xml=idp.metadata(key))
    acs = f"{service.url}/v1/sso/beta/acs"
    said = lambda **tags: service.form(idp, "sam", key, said=tags)
    service.refused(service.form(idp, "sam", key, stated=False), "authn_statement")  # as it comes
    service.refused(said(Audience=f"{service.url}/v1/sso/beta/metadata"), "audience")
    service.refused(said(SubjectRecipient=acs), "recipient")
    service.refused(said(Destination=acs), "destination")
    service.refused(said(Issuer="https://other.example/idp"), "issuer")
    service.refused(said(StatusCode="urn:oasis:names:tc:SAML:2.0:status:Responder"), "status")
    service.refused(service.form(idp, "sam", key, shifted={"ConditionsNotBefore": 90}), "not_yet_valid")
    service.signed_in(service.form(idp, "sam", key, shifted={"ConditionsNotBefore": 50}), "sam")
    service.refused(service.form(idp, "sam", key, shifted={"ConditionsNotOnOrAfter": -61}), "expired")
    service.refused(service.form(idp, "sam", key, shifted={"SubjectConfirmationDataNotOnOrAfter": -61}), "expired")
    service.refused(service.form(idp, "sam", key, sha=1), "signature_algorithm")


def browser(service, idp, key):
    """A browser goes on to where the request said, with the session in a cookie."""
    service.configure(metadata_xml=idp.metadata(key))
    answer = service.post(service.form(idp, "sam", key), 303, headers={"Accept": "text/html"})
    assert answer.headers["Location"] == "/portal" and "HttpOnly" in answer.headers["Set-Cookie"], answer.headers


old, new, curve = Key("old"), Key("new"), Key("curve", ec.generate_private_key(ec.SECP256R1()))
pysaml2, samlify, auth0 = Pysaml2(), OfNpm("samlify"), OfNpm("samlp")
service = Service(sys.argv[1])
try:
    written_by_the_schema(service, pysaml2, old)
    signed = [{"sign": sign} for sign in ("assertion", "response", "both")]
    every = [how | {"sha": sha} for how in signed for sha in (256, 384, 512)]
    for idp, name in ((pysaml2, "sam"), (samlify, "sue"), (auth0, "zoë@example.com")):
        enrols_once(service, idp, name, old)
    signs_in(service, pysaml2, "sam", old, every)
    signs_in(service, pysaml2, "sam", curve, every)
    signs_in(service, samlify, "sue", old, [{"sign": "both"}, {"sha": 512}])
    signs_in(service, auth0, "zoë@example.com", old, signed)
    names_of_pysaml2(service, pysaml2, old)
    for idp in (pysaml2, samlify):
        rolls_over(service, idp, old, new, lambda *keys: {"metadata_xml": idp.metadata(*keys)})
    pem = lambda *keys: {"idp_entity_id": auth0.entity, "sso_url": auth0.url, "certificates": [key.pem for key in keys]}
    rolls_over(service, auth0, old, new, pem)
    refusals(service, pysaml2, old, new)
    unasked(service, pysaml2, old)
    refusals_of_samlify(service, samlify, old)
    browser(service, pysaml2, old)
    print(f"pysaml2, samlify and samlp: signed in, rolled over and refused as they should be, in {service.answers} answers")
finally:
    service.process.terminate()
    service.process.wait()
    scratch.cleanup()
