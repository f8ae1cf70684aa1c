// The IdPs of npm. One order a line on standard input, one answer a line on standard output: an IdP's metadata, or the form
// that it has a browser post in answer to a request.
'use strict';
const fs = require('fs');
const readline = require('readline');
const samlify = require('samlify');
const samlp = require('samlp');

const REDIRECT = 'urn:oasis:names:tc:SAML:2.0:bindings:HTTP-Redirect';
const PASSWORD = 'urn:oasis:names:tc:SAML:2.0:ac:classes:PasswordProtectedTransport';
const UNSPECIFIED = 'urn:oasis:names:tc:SAML:1.1:nameid-format:unspecified';

console.warn = () => {}; // samlify misses endpoints for logout
// Schemas are checked elsewhere (tries.py).
samlify.setSchemaValidator({ validate: async () => 'not here' });
const read = (file) => fs.readFileSync(file, 'utf8');

// How samlify says who somebody is. Its own template leaves out how they signed in, which the profile asks for.
const template = (stated) => samlify.SamlLib.defaultLoginResponseTemplate.context
    .replace('{Issuer}</saml:Issuer><saml:Subject>', '{AssertionIssuer}</saml:Issuer><saml:Subject>')
    .replace('{AuthnStatement}', stated ? '<saml:AuthnStatement AuthnInstant="{IssueInstant}"><saml:AuthnContext>' +
        `<saml:AuthnContextClassRef>${PASSWORD}</saml:AuthnContextClassRef></saml:AuthnContext></saml:AuthnStatement>` : '');

const idps = {
    samlify: {
        of: ({ entity, url, keys, sha = 256, stated = true }) => samlify.IdentityProvider({
            entityID: entity,
            signingCert: keys.map((key) => read(key.cert)),
            privateKey: read(keys[0].key),
            requestSignatureAlgorithm: `http://www.w3.org/${sha === 1 ? '2000/09/xmldsig#' : '2001/04/xmldsig-more#'}rsa-sha${sha}`,
            nameIDFormat: [UNSPECIFIED],
            singleSignOnService: [{ Binding: REDIRECT, Location: url }],
            loginResponseTemplate: { context: template(stated), attributes: [] },
        }),
        metadata(order) {
            return this.of(order).getMetadata();
        },
        async answer(order) {
            const idp = this.of(order);
            const sp = samlify.ServiceProvider({ metadata: order.sp, wantMessageSigned: order.sign === 'both' });
            const request = await idp.parseLoginRequest(sp, 'redirect', { query: order.query });
            const acs = sp.entityMeta.getAssertionConsumerService('post');
            const at = (seconds) => new Date(Date.now() + seconds * 1000).toISOString();
            const said = {
                ID: `_${samlify.Utility.base64Encode(at(0) + Math.random()).replace(/\W/g, '')}`,
                AssertionID: `_a${samlify.Utility.base64Encode(at(0) + Math.random()).replace(/\W/g, '')}`,
                Issuer: order.entity,
                AssertionIssuer: order.entity,
                IssueInstant: at(0),
                Destination: acs,
                SubjectRecipient: acs,
                Audience: sp.entityMeta.getEntityID(),
                InResponseTo: request.extract.request.id,
                StatusCode: 'urn:oasis:names:tc:SAML:2.0:status:Success',
                ConditionsNotBefore: at(0),
                ConditionsNotOnOrAfter: at(300),
                SubjectConfirmationDataNotOnOrAfter: at(300),
                NameIDFormat: UNSPECIFIED,
                NameID: order.name,
                AttributeStatement: '',
                ...order.said,
            };
            for (const [tag, seconds] of Object.entries(order.shifted || {})) said[tag] = at(seconds);
            const filled = (text) => ({ id: said.ID, context: samlify.SamlLib.replaceTagsByValue(text, said) });
            const made = await idp.createLoginResponse(sp, request, 'post', {}, { customTagReplacement: filled });
            return { action: made.entityEndpoint, SAMLResponse: made.context, RelayState: order.query.RelayState };
        },
    },
    samlp: {
        async metadata(order) {
            const { protocol, host, pathname } = new URL(order.url);
            const path = { redirectEndpointPath: pathname, postEndpointPath: pathname };
            const request = { headers: { host }, protocol: protocol.slice(0, -1), originalUrl: pathname };
            return this.told(samlp.metadata({ issuer: order.entity, cert: read(order.keys[0].cert), ...path }), request);
        },
        async answer(order) {
            const sp = samlify.ServiceProvider({ metadata: order.sp }).entityMeta;
            const acs = sp.getAssertionConsumerService('post');
            const known = (audience, xml, request, then) => then(null, audience === sp.getEntityID() ? acs : null);
            const page = await this.told(samlp.auth({
                issuer: order.entity, cert: read(order.keys[0].cert), key: read(order.keys[0].key), getPostURL: known,
                recipient: acs, destination: acs, signatureAlgorithm: `rsa-sha${order.sha || 256}`,
                digestAlgorithm: `sha${order.sha || 256}`, authnContextClassRef: PASSWORD, lifetimeInSeconds: order.lifetime || 300,
                signAssertion: order.sign !== 'response', signResponse: order.sign === 'both' || order.sign === 'response',
                getUserFromRequest: () => ({ id: order.name, displayName: 'Zoë <&> Söhne', name: {}, emails: [{ value: 'z@example.com' }] }),
            }), { method: 'GET', query: order.query, headers: {} });
            return { page };
        },
        // What the middleware sends.
        told: (middleware, request) => new Promise((resolve, reject) => {
            middleware(request, { set() {}, send: resolve }, reject);
        }),
    },
};

readline.createInterface({ input: process.stdin }).on('line', async (line) => {
    const order = JSON.parse(line);
    try {
        console.log(JSON.stringify({ made: await idps[order.idp][order.do](order) }));
    } catch (error) {
        console.log(JSON.stringify({ error: String(error && error.stack || error) }));
    }
});
