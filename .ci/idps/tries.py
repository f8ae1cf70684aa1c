"""IdPs that are not ours sign people in, and are refused where they are wrong: pysaml2, samlify, samlp and Keycloak, each set up
from this service's metadata alone, and this service from theirs. Started by .ci/idps/run.
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
from made import Key, OfNpm, Pysaml2, scratch, signed_by_xmlsec1
from service import NORTH, SOUTH, Service

UID = "urn:oid:0.9.2342.19200300.100.1.1"
METADATA = schema._create_xml_schema_validator(
    os.path.join(os.path.dirname(schema._data_schemas.__file__), "saml-schema-metadata-2.0.xsd"))


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
    for tenant in (NORTH, SOUTH):
        schema.validate(service.metadata(tenant), METADATA)
    service.configure(metadata_xml=idp.metadata(key))
    request = service.redirected(idp)["SAMLRequest"]
    schema.validate(zlib.decompress(base64.b64decode(request), -15).decode())


def signs_in_as_others_do(service, idp, key):
    """What pysaml2 does if told to, and what OpenSAML does."""
    service.configure(metadata_xml=idp.federation(key, service.metadata()))
    end = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(time.time() + 600))
    answer = service.signed_in(service.form(idp, "sam", key, session_not_on_or_after=end), "sam")
    assert answer["session"]["expires_at"] == end, (answer, end)
    for over in ("Assertion", "Response"):
        for prefixes in ("xs", "#default ns1 xs"):
            unsigned = service.form(idp, "sam", key, sign="none")
            service.signed_in(signed_by_xmlsec1(unsigned, key, over, prefixes), "sam")


def rolls_over(service, idp, old, new, metadata):
    """The IdP changes its key: both for a while, then the new one alone. What GET shows, PUT takes."""
    by = lambda key: service.form(idp, "sam", key)
    service.configure(metadata_xml=idp.metadata(old))
    service.signed_in(by(old), "sam")
    service.refused(by(new), "signature")
    both = service.configure(**metadata(old, new))
    shown = service.ask("GET", "/v1/admin/sso", service.session[NORTH]).json()
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
    users = service.ask("GET", "/v1/admin/users?q=lea", service.session[NORTH]).json()["items"]
    path = f"/v1/admin/users/{users[0]['id']}"
    service.ask("PATCH", path, service.session[NORTH], json={"sso_name_id": "S-1-5-21/Lea"})
    enrol = service.post(service.form(idp, "S-1-5-21/Lea", key)).json()
    assert enrol["status"] == "enrolment_required", enrol
    service.refused(service.form(idp, "s-1-5-21/lea", key), "unknown_subject")


def refusals(service, idp, key, other):
    """What pysaml2 gets wrong, or is told to."""
    service.configure(metadata_xml=idp.metadata(key))
    service.configure(SOUTH, metadata_xml=idp.metadata(key))
    south = f"{service.url}/v1/sso/{SOUTH}"
    form = lambda **what: service.form(idp, "sam", key, **what)
    confirmed = lambda **data: {"assertion": {"subject": {"subject_confirmation": {"subject_confirmation_data": data}}}}
    service.refused(form(sp_entity_id=f"{south}/metadata", also=[service.metadata(SOUTH)]), "audience")
    for sign in ("assertion", "response"):
        service.refused(form(sign=sign, farg=confirmed(recipient=f"{south}/acs")), "recipient")
        service.refused(form(sign=sign, farg=confirmed(in_response_to="_another")), "in_response_to")
        service.refused(form(sign=sign, policy={"lifetime": {"minutes": -2}}), "expired")
        service.refused(form(sign=sign), "destination", to=f"{south}/acs", tenant=SOUTH)
        service.refused(form(sign=sign, sha=1), "signature_algorithm")
        service.refused(form(sign=sign, issuer=saml.Issuer(text="https://other.example/idp")), "issuer")
        service.refused(service.form(idp, "sam", other, sign=sign), "signature")
    service.refused(form(policy={"lifetime": {"days": 30}}), "valid_too_long")
    service.refused(form(digest_alg="http://www.w3.org/2000/09/xmldsig#sha1"), "signature_algorithm")
    service.refused(form(sha=1, digest_alg="http://www.w3.org/2001/04/xmlenc#sha256"), "signature_algorithm")
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
    """From the IdP's portal: off by default; on, it leads to a start."""
    def form():
        made = service.form(idp, "sam", key, asked=False)
        del made.fields["RelayState"]
        return made
    service.configure(metadata_xml=idp.metadata(key))
    service.refused(form(), "unsolicited")
    service.configure(metadata_xml=idp.metadata(key), idp_initiated=True)
    # It is not looked into: the browser starts a sign-in, once.
    assert service.post(form(), 303).headers["Location"] == "login?unsolicited=true"
    answer, cookie = service.started(idp, "sam", key, "unsolicited=true")
    assert service.post(answer, 303, headers={"Cookie": cookie}).headers["Location"] == "/"
    _, cookie = service.started(idp, "sam", key, "unsolicited=true")
    service.refused(form(), "unsolicited", headers={"Cookie": cookie})


def refusals_of_samlify(service, idp, key):
    service.configure(metadata_xml=idp.metadata(key))
    acs = f"{service.url}/v1/sso/{SOUTH}/acs"
    said = lambda **tags: service.form(idp, "sam", key, said=tags)
    service.signed_in(service.form(idp, "sam", key, stated=False), "sam")  # as it comes: without an AuthnStatement
    service.refused(said(Audience=f"{service.url}/v1/sso/{SOUTH}/metadata"), "audience")
    service.refused(said(SubjectRecipient=acs), "recipient")
    service.refused(said(Destination=acs), "destination")
    service.refused(said(Issuer="https://other.example/idp"), "issuer")
    service.refused(said(AssertionIssuer="https://other.example/idp"), "issuer")
    service.refused(said(StatusCode="urn:oasis:names:tc:SAML:2.0:status:Responder"), "status")
    service.refused(service.form(idp, "sam", key, shifted={"ConditionsNotBefore": 90}), "not_yet_valid")
    service.signed_in(service.form(idp, "sam", key, shifted={"ConditionsNotBefore": 50}), "sam")
    service.refused(service.form(idp, "sam", key, shifted={"ConditionsNotOnOrAfter": -61}), "expired")
    service.refused(service.form(idp, "sam", key, shifted={"SubjectConfirmationDataNotOnOrAfter": -61}), "expired")
    service.refused(service.form(idp, "sam", key, sha=1), "signature_algorithm")


def browser(service, idp, key):
    """A browser goes on to where the request said, with the session in a cookie."""
    service.configure(metadata_xml=idp.metadata(key))
    form, cookie = service.started(idp, "sam", key, "return_to=/portal")
    service.refused(form, "pre_session")
    answer = service.post(form, 303, headers={"Cookie": cookie})
    assert answer.headers["Location"] == "/portal" and "HttpOnly" in answer.headers["Set-Cookie"], answer.headers


def keycloak_signs_in(service, idp):
    """Keycloak, each side set up from the other's metadata and by what docs/sso.md says."""
    shown = service.configure(metadata_xml=idp.metadata(), provisioning={"administrators": [keycloak.GROUP]})
    assert shown["sign_requests"], shown  # its metadata wants that
    schema.validate(service.metadata(), METADATA)
    idp.client(service.metadata())
    start = lambda: service.start("return_to=/portal")
    service.signed_in(idp.sign_in(start(), "sam"), "sam")
    # A changed request and an unsigned one end at Keycloak.
    idp.refuses(keycloak.altered(start(), "RelayState"))
    idp.refuses(keycloak.altered(start(), "Signature"))
    idp.refuses(keycloak.without(start(), "SigAlg", "Signature"))
    # Two who are new here: one of the group, one of none.
    for name, role in (("kay", "administrator"), ("kit", "standard")):
        answer = service.post(idp.sign_in(start(), name)).json()
        assert answer["status"] == "enrolment_required", answer
        [user] = service.ask("GET", f"/v1/admin/users?q={name}", service.session[NORTH]).json()["items"]
        seen = (user["username"], user["role"], user["display_name"])
        assert seen == (name, role, f"{name} Example"), user


def look_alikes_of_keycloak(service, idp):
    """Keycloak tells people apart whose names look alike. So does this service, with provisioning and without."""
    for provisioning in ({}, {"provisioning": {}}):
        service.configure(metadata_xml=idp.metadata(), **provisioning)
        for name in ("ｋim", "ᵏim", "𝐤im", "kⅰm"):
            answer = service.refused(idp.sign_in(service.start(), name), "unknown_subject")
            assert (answer["name_id"], answer["name_id_format"]) == (name, saml.NAMEID_FORMAT_UNSPECIFIED), answer
    answer = service.post(idp.sign_in(service.start(), "kim")).json()
    assert answer["status"] == "enrolment_required", answer
    service.enrol(answer["enrolment"]["token"])
    service.signed_in(idp.sign_in(service.start(), "kim"), "kim")


def steps_up_by_keycloak(service, idp):
    """Keycloak answers again in silence, and dates that anew. A step-up has it ask who they are, and counts alone."""
    service.configure(metadata_xml=idp.metadata(), mfa_contexts=[keycloak.CONTEXT])
    browser = keycloak.Browser()

    def stepped_up(form):
        token = service.signed_in(form, "sam")["session"]["token"]
        return "step_up_until" in service.ask("GET", "/v1/session", token).json()["session"]

    # Each session is new, and keeps nothing of the one before.
    assert not stepped_up(idp.sign_in(service.start(), "sam", browser))
    assert not stepped_up(browser.open(service.start()))
    assert stepped_up(idp.sign_in(service.start("step_up=true"), "sam", browser))
    assert not stepped_up(browser.open(service.start()))


old, new, curve = Key("old"), Key("new"), Key("curve", ec.generate_private_key(ec.SECP256R1()))
pysaml2, samlify, auth0 = Pysaml2(), OfNpm("samlify"), OfNpm("samlp")
realm = keycloak.Keycloak(os.environ["KEYCLOAK"]) if "KEYCLOAK" in os.environ else None
service = Service(sys.argv[1:])
try:
    written_by_the_schema(service, pysaml2, old)
    signed = [{"sign": sign} for sign in ("assertion", "response", "both")]
    every = [how | {"sha": sha} for how in signed for sha in (256, 384, 512)]
    for idp, name in ((pysaml2, "sam"), (samlify, "sue"), (auth0, "zoë@example.com")):
        enrols_once(service, idp, name, old)
    signs_in(service, pysaml2, "sam", old, every)
    signs_in(service, pysaml2, "sam", curve, every)
    signs_in_as_others_do(service, pysaml2, old)
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
    if realm:
        realm.wait()
        keycloak_signs_in(service, realm)
        look_alikes_of_keycloak(service, realm)
        steps_up_by_keycloak(service, realm)
    who = "pysaml2, samlify, samlp and Keycloak" if realm else "pysaml2, samlify and samlp"
    print(f"{who}: signed in, rolled over and refused as they should be, in {service.answers} answers")
finally:
    service.end()
    scratch.cleanup()
