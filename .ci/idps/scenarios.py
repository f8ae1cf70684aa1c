"""Sign-in by independent IdPs, and refusals of their wrong responses: pysaml2, samlify, samlp and Keycloak. Each is configured from
this service's metadata only, and this service from theirs. Started by .ci/idps/run.
"""

import base64
import os
import sys
import time
import zlib

from cryptography.hazmat.primitives.asymmetric import ec
from saml2 import saml
from saml2.xml import schema

import keycloak
from python_idps import Key, NodeIdp, Pysaml2, scratch, signed_by_xmlsec1
from service import NORTH, SOUTH, Service

UID = "urn:oid:0.9.2342.19200300.100.1.1"
METADATA = schema._create_xml_schema_validator(
    os.path.join(os.path.dirname(schema._data_schemas.__file__), "saml-schema-metadata-2.0.xsd"))


def enrol_once(service, idp, name, key):
    """A user of SSO enrols once, and needs no code at later sign-ins."""
    service.configure(metadata_xml=idp.metadata(key))
    answer = service.post(service.form(idp, name, key)).json()
    assert answer["status"] == "enrolment_required" and "session" not in answer, answer
    service.enrol(answer["enrolment"]["token"])
    service.assert_signed_in(service.form(idp, name, key), name)


def sign_in_variants(service, idp, name, key, variants):
    service.configure(metadata_xml=idp.metadata(key))
    for variant in variants:
        service.assert_signed_in(service.form(idp, name, key, **variant), name)


def validate_schemas(service, idp, key):
    for tenant in (NORTH, SOUTH):
        schema.validate(service.metadata(tenant), METADATA)
    service.configure(metadata_xml=idp.metadata(key))
    request = service.start_query(idp)["SAMLRequest"]
    schema.validate(zlib.decompress(base64.b64decode(request), -15).decode())


def sign_in_like_opensaml(service, idp, key):
    """Metadata of a federation, the end of a session, and signatures as OpenSAML makes them."""
    service.configure(metadata_xml=idp.federation(key, service.metadata()))
    end = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(time.time() + 600))
    answer = service.assert_signed_in(service.form(idp, "sam", key, session_not_on_or_after=end), "sam")
    assert answer["session"]["expires_at"] == end, (answer, end)
    for over in ("Assertion", "Response"):
        for prefixes in ("xs", "#default ns1 xs"):
            unsigned = service.form(idp, "sam", key, sign="none")
            service.assert_signed_in(signed_by_xmlsec1(unsigned, key, over, prefixes), "sam")


def change_keys(service, idp, old, new, metadata):
    """The IdP changes its key: both are configured for a while, then only the new one. PUT accepts what GET returns."""
    by = lambda key: service.form(idp, "sam", key)
    service.configure(metadata_xml=idp.metadata(old))
    service.assert_signed_in(by(old), "sam")
    service.assert_refused(by(new), "signature")
    both = service.configure(**metadata(old, new))
    shown = service.send("GET", "/v1/admin/sso", service.session[NORTH]).json()
    assert shown == both
    assert shown["certificates"] == [old.pem, new.pem], shown
    seen = [(one["sha256"], one["not_after"], one["expired"]) for one in shown["certificates_seen"]]
    assert seen == [(key.sha256, "2031-03-04T05:06:07Z", False) for key in (old, new)], seen
    again = {name: shown[name] for name in ("idp_entity_id", "sso_url", "certificates")}
    assert service.configure(**again)["certificates"] == shown["certificates"]
    service.assert_signed_in(by(old), "sam")
    service.assert_signed_in(by(new), "sam")
    service.configure(metadata_xml=idp.metadata(new))
    service.assert_signed_in(by(new), "sam")
    service.assert_refused(by(old), "signature")


def name_ids_of_pysaml2(service, idp, key):
    """pysaml2 ignores the requested NameIDFormat. Its own policy chooses the name ID, by default a random one."""
    service.configure(metadata_xml=idp.metadata(key))
    for form in (saml.NAMEID_FORMAT_PERSISTENT, saml.NAMEID_FORMAT_EMAILADDRESS):
        service.assert_signed_in(service.form(idp, "sam", key, format=form), "sam")
    service.assert_refused(service.form(idp, None, key), "unknown_subject")
    lasting = {"policy": {"nameid_format": saml.NAMEID_FORMAT_PERSISTENT}, "uid": "pat"}
    service.assert_refused(service.form(idp, None, key, **lasting), "unknown_subject")
    # An attribute links the user once; then the name ID of pysaml2 identifies the user.
    service.configure(metadata_xml=idp.metadata(key), link_attribute=UID)
    form = service.form(idp, None, key, **lasting)
    answer = service.post(form)
    assert answer.json()["status"] == "enrolment_required", answer.text
    assert service.audit(answer)["changed"] == ["sso_name_id"]
    service.enrol(answer.json()["enrolment"]["token"])
    service.configure(metadata_xml=idp.metadata(key))
    xml = base64.b64decode(form.fields["SAMLResponse"]).decode()
    name = xml.split("NameID ", 1)[1].split(">", 1)[1].split("<", 1)[0]
    service.assert_signed_in(service.form(idp, name, key, format=saml.NAMEID_FORMAT_PERSISTENT, uid="pat"), "pat")
    # An Administrator may set the name ID instead.
    users = service.send("GET", "/v1/admin/users?q=lea", service.session[NORTH]).json()["items"]
    path = f"/v1/admin/users/{users[0]['id']}"
    service.send("PATCH", path, service.session[NORTH], json={"sso_name_id": "S-1-5-21/Lea"})
    enrol = service.post(service.form(idp, "S-1-5-21/Lea", key)).json()
    assert enrol["status"] == "enrolment_required", enrol
    service.assert_refused(service.form(idp, "s-1-5-21/lea", key), "unknown_subject")


def refusals(service, idp, key, other):
    """Wrong responses of pysaml2."""
    service.configure(metadata_xml=idp.metadata(key))
    service.configure(SOUTH, metadata_xml=idp.metadata(key))
    south = f"{service.url}/v1/sso/{SOUTH}"
    form = lambda **what: service.form(idp, "sam", key, **what)
    confirmed = lambda **data: {"assertion": {"subject": {"subject_confirmation": {"subject_confirmation_data": data}}}}
    service.assert_refused(form(sp_entity_id=f"{south}/metadata", more_sps=[service.metadata(SOUTH)]), "audience")
    for sign in ("assertion", "response"):
        service.assert_refused(form(sign=sign, farg=confirmed(recipient=f"{south}/acs")), "recipient")
        service.assert_refused(form(sign=sign, farg=confirmed(in_response_to="_another")), "in_response_to")
        service.assert_refused(form(sign=sign, policy={"lifetime": {"minutes": -2}}), "expired")
        service.assert_refused(form(sign=sign), "destination", to=f"{south}/acs", tenant=SOUTH)
        service.assert_refused(form(sign=sign, sha=1), "signature_algorithm")
        service.assert_refused(form(sign=sign, issuer=saml.Issuer(text="https://other.example/idp")), "issuer")
        service.assert_refused(service.form(idp, "sam", other, sign=sign), "signature")
    service.assert_refused(form(policy={"lifetime": {"days": 30}}), "valid_too_long")
    service.assert_refused(form(digest_alg="http://www.w3.org/2000/09/xmldsig#sha1"), "signature_algorithm")
    service.assert_refused(form(sha=1, digest_alg="http://www.w3.org/2001/04/xmlenc#sha256"), "signature_algorithm")
    service.assert_refused(form(sign="none"), "unsigned")
    service.assert_refused(form(sign="response", encrypt_assertion=True, encrypt_cert_assertion=key.pem), "encrypted")
    service.assert_refused(form(solicited=False), "in_response_to")
    service.assert_refused(service.form(idp, "ann", key), "not_of_sso")
    service.assert_refused(service.form(idp, "nobody", key), "unknown_subject")
    again = form()
    service.assert_signed_in(again, "sam")
    service.assert_refused(again, "in_response_to")
    again.fields["RelayState"] = service.start_query(idp)["RelayState"]
    service.assert_refused(again, "in_response_to")


def unsolicited(service, idp, key):
    """Unsolicited responses are refused by default. If enabled, they start a sign-in."""
    def form():
        response = service.form(idp, "sam", key, solicited=False)
        del response.fields["RelayState"]
        return response
    service.configure(metadata_xml=idp.metadata(key))
    service.assert_refused(form(), "unsolicited")
    service.configure(metadata_xml=idp.metadata(key), idp_initiated=True)
    # The response is not read: the browser starts a sign-in, once.
    assert service.post(form(), 303).headers["Location"] == "login?unsolicited=true"
    answer, cookie = service.browser_form(idp, "sam", key, "unsolicited=true")
    assert service.post(answer, 303, headers={"Cookie": cookie}).headers["Location"] == "/"
    _, cookie = service.browser_form(idp, "sam", key, "unsolicited=true")
    service.assert_refused(form(), "unsolicited", headers={"Cookie": cookie})


def refusals_of_samlify(service, idp, key):
    service.configure(metadata_xml=idp.metadata(key))
    acs = f"{service.url}/v1/sso/{SOUTH}/acs"
    with_tags = lambda **tags: service.form(idp, "sam", key, tags=tags)
    service.assert_signed_in(service.form(idp, "sam", key, withStatement=False), "sam")  # without an AuthnStatement, as samlify sends it
    service.assert_refused(with_tags(Audience=f"{service.url}/v1/sso/{SOUTH}/metadata"), "audience")
    service.assert_refused(with_tags(SubjectRecipient=acs), "recipient")
    service.assert_refused(with_tags(Destination=acs), "destination")
    service.assert_refused(with_tags(Issuer="https://other.example/idp"), "issuer")
    service.assert_refused(with_tags(AssertionIssuer="https://other.example/idp"), "issuer")
    service.assert_refused(with_tags(StatusCode="urn:oasis:names:tc:SAML:2.0:status:Responder"), "status")
    service.assert_refused(service.form(idp, "sam", key, shifted={"ConditionsNotBefore": 90}), "not_yet_valid")
    service.assert_signed_in(service.form(idp, "sam", key, shifted={"ConditionsNotBefore": 50}), "sam")
    service.assert_refused(service.form(idp, "sam", key, shifted={"ConditionsNotOnOrAfter": -61}), "expired")
    service.assert_refused(service.form(idp, "sam", key, shifted={"SubjectConfirmationDataNotOnOrAfter": -61}), "expired")
    service.assert_refused(service.form(idp, "sam", key, sha=1), "signature_algorithm")


def browser(service, idp, key):
    """A browser is sent to `return_to`, with the session in a cookie."""
    service.configure(metadata_xml=idp.metadata(key))
    form, cookie = service.browser_form(idp, "sam", key, "return_to=/portal")
    service.assert_refused(form, "pre_session")
    answer = service.post(form, 303, headers={"Cookie": cookie})
    assert answer.headers["Location"] == "/portal" and "HttpOnly" in answer.headers["Set-Cookie"], answer.headers


def sign_in_by_keycloak(service, idp):
    """Each side is configured from the other's metadata, as docs/sso.md describes."""
    shown = service.configure(metadata_xml=idp.metadata(), provisioning={"administrators": [keycloak.GROUP]})
    assert shown["sign_requests"], shown  # its metadata requires that
    schema.validate(service.metadata(), METADATA)
    idp.client(service.metadata())
    start = lambda: service.start("return_to=/portal")
    service.assert_signed_in(idp.sign_in(start(), "sam"), "sam")
    # Keycloak refuses a changed and an unsigned request.
    idp.assert_refused(keycloak.altered(start(), "RelayState"))
    idp.assert_refused(keycloak.altered(start(), "Signature"))
    idp.assert_refused(keycloak.without(start(), "SigAlg", "Signature"))
    # Two new users: one in the group, one in no group.
    for name, role in (("kay", "administrator"), ("kit", "standard")):
        answer = service.post(idp.sign_in(start(), name)).json()
        assert answer["status"] == "enrolment_required", answer
        [user] = service.send("GET", f"/v1/admin/users?q={name}", service.session[NORTH]).json()["items"]
        seen = (user["username"], user["role"], user["display_name"])
        assert seen == (name, role, f"{name} Example"), user


def lookalikes_of_keycloak(service, idp):
    """Keycloak distinguishes users with lookalike names. So does this service, with and without provisioning."""
    for provisioning in ({}, {"provisioning": {}}):
        service.configure(metadata_xml=idp.metadata(), **provisioning)
        for name in ("ｋim", "ᵏim", "𝐤im", "kⅰm"):
            answer = service.assert_refused(idp.sign_in(service.start(), name), "unknown_subject")
            assert (answer["name_id"], answer["name_id_format"]) == (name, saml.NAMEID_FORMAT_UNSPECIFIED), answer
    answer = service.post(idp.sign_in(service.start(), "kim")).json()
    assert answer["status"] == "enrolment_required", answer
    service.enrol(answer["enrolment"]["token"])
    service.assert_signed_in(idp.sign_in(service.start(), "kim"), "kim")


def step_up_by_keycloak(service, idp):
    """Keycloak answers repeated requests without asking, with a new AuthnInstant. Only a requested step-up, for which Keycloak asks again, counts."""
    service.configure(metadata_xml=idp.metadata(), mfa_contexts=[keycloak.CONTEXT])
    browser = keycloak.Browser()

    def stepped_up(form):
        token = service.assert_signed_in(form, "sam")["session"]["token"]
        return "step_up_until" in service.send("GET", "/v1/session", token).json()["session"]

    # Each session is new, and inherits no step-up.
    assert not stepped_up(idp.sign_in(service.start(), "sam", browser))
    assert not stepped_up(browser.open(service.start()))
    assert stepped_up(idp.sign_in(service.start("step_up=true"), "sam", browser))
    assert not stepped_up(browser.open(service.start()))


old, new, curve = Key("old"), Key("new"), Key("curve", ec.generate_private_key(ec.SECP256R1()))
pysaml2, samlify, samlp = Pysaml2(), NodeIdp("samlify"), NodeIdp("samlp")
realm = keycloak.Keycloak(os.environ["KEYCLOAK"]) if "KEYCLOAK" in os.environ else None
service = Service(sys.argv[1:])
try:
    validate_schemas(service, pysaml2, old)
    signed = [{"sign": sign} for sign in ("assertion", "response", "both")]
    every = [how | {"sha": sha} for how in signed for sha in (256, 384, 512)]
    for idp, name in ((pysaml2, "sam"), (samlify, "sue"), (samlp, "zoë@example.com")):
        enrol_once(service, idp, name, old)
    sign_in_variants(service, pysaml2, "sam", old, every)
    sign_in_variants(service, pysaml2, "sam", curve, every)
    sign_in_like_opensaml(service, pysaml2, old)
    sign_in_variants(service, samlify, "sue", old, [{"sign": "both"}, {"sha": 512}])
    sign_in_variants(service, samlp, "zoë@example.com", old, signed)
    name_ids_of_pysaml2(service, pysaml2, old)
    for idp in (pysaml2, samlify):
        change_keys(service, idp, old, new, lambda *keys: {"metadata_xml": idp.metadata(*keys)})
    pem = lambda *keys: {"idp_entity_id": samlp.entity, "sso_url": samlp.url, "certificates": [key.pem for key in keys]}
    change_keys(service, samlp, old, new, pem)
    refusals(service, pysaml2, old, new)
    unsolicited(service, pysaml2, old)
    refusals_of_samlify(service, samlify, old)
    browser(service, pysaml2, old)
    if realm:
        realm.wait()
        sign_in_by_keycloak(service, realm)
        lookalikes_of_keycloak(service, realm)
        step_up_by_keycloak(service, realm)
    who = "pysaml2, samlify, samlp and Keycloak" if realm else "pysaml2, samlify and samlp"
    print(f"{who}: all sign-ins, key changes and refusals as expected, in {service.requests} requests")
finally:
    service.end()
    scratch.cleanup()
