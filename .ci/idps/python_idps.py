"""The IdPs for tests, and the keys they sign with."""

import base64
import datetime
import html.parser
import json
import logging
import os
import re
import shutil
import subprocess
import tempfile

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from saml2 import BINDING_HTTP_REDIRECT, entity, md, saml
from saml2.config import IdPConfig
from saml2.metadata import entities_descriptor, entity_descriptor
from saml2.server import Server
from saml2.sigver import security_context

PASSWORD = "urn:oasis:names:tc:SAML:2.0:ac:classes:PasswordProtectedTransport"
XMLSEC1 = shutil.which("xmlsec1")
logging.disable(logging.CRITICAL)  # pysaml2 logs a lot
# pysaml2 does not list these methods, but xmlsec1, which signs for it, supports them.
entity.SIG_ALLOWED_ALG += tuple((f"ECDSA{sha}", f"http://www.w3.org/2001/04/xmldsig-more#ecdsa-sha{sha}") for sha in (256, 384, 512))
scratch = tempfile.TemporaryDirectory()


class Key:
    """A signing key of an IdP and its certificate, as files."""

    def __init__(self, name, private=None):
        private = private or rsa.generate_private_key(65537, 2048)
        self.name, self.key, self.cert = name, f"{scratch.name}/{name}.key", f"{scratch.name}/{name}.pem"
        self.ends = datetime.datetime(2031, 3, 4, 5, 6, 7, tzinfo=datetime.timezone.utc)
        subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])
        certificate = x509.CertificateBuilder(subject, subject, private.public_key(), x509.random_serial_number(),
                                       datetime.datetime(2026, 1, 1), self.ends).sign(private, hashes.SHA256())
        form = serialization.PrivateFormat.TraditionalOpenSSL
        with open(self.key, "wb") as file:
            file.write(private.private_bytes(serialization.Encoding.PEM, form, serialization.NoEncryption()))
        self.pem = certificate.public_bytes(serialization.Encoding.PEM).decode()
        with open(self.cert, "w", encoding="ascii") as file:
            file.write(self.pem)
        self.sha256 = certificate.fingerprint(hashes.SHA256()).hex()


class Form(html.parser.HTMLParser):
    """The form in a page, as a browser would post it."""

    def __init__(self, page):
        super().__init__()
        self.action, self.fields = None, {}
        self.feed(page)

    def handle_starttag(self, tag, attrs):
        attrs = dict(attrs)
        if tag == "form":
            self.action = attrs["action"]
        elif tag == "input" and "name" in attrs:
            self.fields[attrs["name"]] = attrs.get("value") or ""


class Pysaml2:
    entity, url = "https://pysaml2.example/idp", "https://pysaml2.example/sso"

    def server(self, keys, sps=(), policy=None):
        idp = {"endpoints": {"single_sign_on_service": [(self.url, BINDING_HTTP_REDIRECT)]},
               "policy": {"default": {"lifetime": {"minutes": 5}, **(policy or {})}}}
        return Server(config=IdPConfig().load({
            "entityid": self.entity, "xmlsec_binary": XMLSEC1, "key_file": keys[0].key,
            "cert_file": keys[0].cert, "additional_cert_files": [key.cert for key in keys[1:]],
            "metadata": {"inline": list(sps)}, "service": {"idp": idp},
        }))

    def metadata(self, *keys):
        return str(entity_descriptor(self.server(keys).config))

    def federation(self, key, sp):
        """Signed metadata of a federation, with optional content, in which this IdP is one of several entities."""
        config = self.server([key]).config
        person = {"given_name": "Zoë", "contact_type": "technical", "email_address": ["zoe@example.com"]}
        config.organization = {"name": [("Söhne & Co", "de")], "display_name": ["Söhne"], "url": [("https://example.com", "de")]}
        config.contact_person, config.valid_for = [person], 24
        entities = [md.entity_descriptor_from_string(sp), entity_descriptor(config)]
        signer = security_context(config)
        return str(entities_descriptor(entities, 24, "federation", "all", True, signer)[1])

    def answer(self, sp, query, name, key, sign="assertion", sha=256, policy=None, more_sps=(), solicited=True, **options):
        """The form that answers a request. Without a name, pysaml2 chooses one by its policy."""
        server = self.server([key], [sp, *more_sps], policy)
        request = server.parse_authn_request(query["SAMLRequest"], BINDING_HTTP_REDIRECT).message
        arguments = server.response_args(request)
        binding, destination = arguments.pop("binding"), arguments["destination"]
        if not solicited:
            arguments["in_response_to"] = None
        if name is not None:
            arguments["name_id"] = saml.NameID(text=name, format=options.pop("format", saml.NAMEID_FORMAT_UNSPECIFIED))
        digest = {1: "http://www.w3.org/2000/09/xmldsig#", 384: "http://www.w3.org/2001/04/xmldsig-more#"}
        digest = digest.get(sha, "http://www.w3.org/2001/04/xmlenc#") + f"sha{sha}"
        kind = "ecdsa" if key.name == "curve" else "rsa"
        method = f"http://www.w3.org/{'2000/09/xmldsig#' if sha == 1 else '2001/04/xmldsig-more#'}{kind}-sha{sha}"
        arguments |= {
            "identity": {"uid": [options.pop("uid", "sam")]}, "userid": "4711", "authn": {"class_ref": PASSWORD},
            "sign_assertion": sign in ("assertion", "both"), "sign_response": sign in ("response", "both"),
            "sign_alg": method, "digest_alg": digest, **options,
        }
        response = server.create_authn_response(**arguments)
        return Form(server.apply_binding(binding, str(response), destination, query.get("RelayState", ""), response=True)["data"])


def signed_by_xmlsec1(form, key, over, prefixes):
    """Signs an unsigned response of pysaml2 as OpenSAML does, with a list of namespace prefixes."""
    xml = base64.b64decode(form.fields["SAMLResponse"]).decode()
    xml = xml.replace("<ns0:Response ", '<ns0:Response xmlns:xs="http://www.w3.org/2001/XMLSchema" ', 1)
    start = re.search(rf'<ns\d:{over} [^>]*\bID="([^"]*)"', xml)
    at = xml.index("</ns1:Issuer>", start.start()) + len("</ns1:Issuer>")
    dsig, c14n = "http://www.w3.org/2000/09/xmldsig#", "http://www.w3.org/2001/10/xml-exc-c14n#"
    template = f"""<ds:Signature xmlns:ds="{dsig}"><ds:SignedInfo><ds:CanonicalizationMethod Algorithm="{c14n}"/>
        <ds:SignatureMethod Algorithm="http://www.w3.org/2001/04/xmldsig-more#rsa-sha256"/><ds:Reference URI="#{start[1]}">
        <ds:Transforms><ds:Transform Algorithm="{dsig}enveloped-signature"/><ds:Transform Algorithm="{c14n}">
        <ec:InclusiveNamespaces xmlns:ec="{c14n}" PrefixList="{prefixes}"/></ds:Transform></ds:Transforms>
        <ds:DigestMethod Algorithm="http://www.w3.org/2001/04/xmlenc#sha256"/><ds:DigestValue/></ds:Reference></ds:SignedInfo>
        <ds:SignatureValue/><ds:KeyInfo><ds:X509Data/></ds:KeyInfo></ds:Signature>"""
    with open(f"{scratch.name}/response", "w", encoding="utf-8") as file:
        file.write(xml[:at] + template + xml[at:])
    kind = "protocol" if over == "Response" else "assertion"
    command = [XMLSEC1, "--sign", "--privkey-pem", f"{key.key},{key.cert}", "--id-attr:ID",
               f"urn:oasis:names:tc:SAML:2.0:{kind}:{over}", file.name]
    signed = subprocess.run(command, capture_output=True, check=True).stdout
    form.fields["SAMLResponse"] = base64.encodebytes(signed).decode()  # in lines of 76 characters, as some IdPs do
    return form


class NodeIdp:
    """An IdP of node_idps.js."""

    child = None

    def __init__(self, name):
        self.name, self.entity, self.url = name, f"https://{name}.example/idp", f"https://{name}.example/sso"

    def do(self, action, keys, **more):
        if NodeIdp.child is None:
            script = os.path.join(os.path.dirname(__file__), "node_idps.js")
            NodeIdp.child = subprocess.Popen(["node", "--no-deprecation", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                           text=True)
        command = {"idp": self.name, "do": action, "entity": self.entity, "url": self.url,
                 "keys": [{"key": key.key, "cert": key.cert} for key in keys], **more}
        print(json.dumps(command), file=NodeIdp.child.stdin, flush=True)
        answer = json.loads(NodeIdp.child.stdout.readline())
        assert "result" in answer, answer["error"]
        return answer["result"]

    def metadata(self, *keys):
        return self.do("metadata", keys)

    def answer(self, sp, query, name, key, **options):
        result = self.do("answer", [key], sp=sp, query=query, name=name, **options)
        if "page" in result:
            return Form(result["page"])
        form = Form("")
        form.action = result.pop("action")
        form.fields = result
        return form
