// The IdPs from npm. Reads one command per line on standard input, and writes one result per line on standard output: an IdP's
// metadata, or the form that a browser posts in answer to a request.
'use strict';
const fs = require('fs');
const readline = require('readline');
const samlify = require('samlify');
const samlp = require('samlp');

const REDIRECT = 'urn:oasis:names:tc:SAML:2.0:bindings:HTTP-Redirect';
const PASSWORD = 'urn:oasis:names:tc:SAML:2.0:ac:classes:PasswordProtectedTransport';
const UNSPECIFIED = 'urn:oasis:names:tc:SAML:1.1:nameid-format:unspecified';

console.warn = () => {}; // samlify warns about missing logout endpoints
// Schemas are checked elsewhere (scenarios.py).
samlify.setSchemaValidator({ validate: async () => 'not checked' });
const read = (file) => fs.readFileSync(file, 'utf8');

// samlify's own template omits the authentication statement, which the profile requires.
const template = (withStatement) => samlify.SamlLib.defaultLoginResponseTemplate.context
    .replace('{Issuer}</saml:Issuer><saml:Subject>', '{AssertionIssuer}</saml:Issuer><saml:Subject>')
    .replace('{AuthnStatement}', withStatement ? '<saml:AuthnStatement AuthnInstant="{IssueInstant}"><saml:AuthnContext>' +
        `<saml:AuthnContextClassRef>${PASSWORD}</saml:AuthnContextClassRef></saml:AuthnContext></saml:AuthnStatement>` : '');

const idps = {
    samlify: {
        of: ({ entity, url, keys, sha = 256, withStatement = true }) => samlify.IdentityProvider({
            entityID: entity,
            signingCert: keys.map((key) => read(key.cert)),
            privateKey: read(keys[0].key),
            requestSignatureAlgorithm: `http://www.w3.org/${sha === 1 ? '2000/09/xmldsig#' : '2001/04/xmldsig-more#'}rsa-sha${sha}`,
            nameIDFormat: [UNSPECIFIED],
            singleSignOnService: [{ Binding: REDIRECT, Location: url }],
            loginResponseTemplate: { context: template(withStatement), attributes: [] },
        }),
        metadata(command) {
            return this.of(command).getMetadata();
        },
        async answer(command) {
            const idp = this.of(command);
            const sp = samlify.ServiceProvider({ metadata: command.sp, wantMessageSigned: command.sign === 'both' });
            const request = await idp.parseLoginRequest(sp, 'redirect', { query: command.query });
            const acs = sp.entityMeta.getAssertionConsumerService('post');
            const at = (seconds) => new Date(Date.now() + seconds * 1000).toISOString();
            const tags = {
                ID: `_${samlify.Utility.base64Encode(at(0) + Math.random()).replace(/\W/g, '')}`,
                AssertionID: `_a${samlify.Utility.base64Encode(at(0) + Math.random()).replace(/\W/g, '')}`,
                Issuer: command.entity,
                AssertionIssuer: command.entity,
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
                NameID: command.name,
                AttributeStatement: '',
                ...command.tags,
            };
            for (const [tag, seconds] of Object.entries(command.shifted || {})) tags[tag] = at(seconds);
            const filled = (text) => ({ id: tags.ID, context: samlify.SamlLib.replaceTagsByValue(text, tags) });
            const result = await idp.createLoginResponse(sp, request, 'post', {}, { customTagReplacement: filled });
            return { action: result.entityEndpoint, SAMLResponse: result.context, RelayState: command.query.RelayState };
        },
    },
    samlp: {
        async metadata(command) {
            const { protocol, host, pathname } = new URL(command.url);
            const path = { redirectEndpointPath: pathname, postEndpointPath: pathname };
            const request = { headers: { host }, protocol: protocol.slice(0, -1), originalUrl: pathname };
            return this.run(samlp.metadata({ issuer: command.entity, cert: read(command.keys[0].cert), ...path }), request);
        },
        async answer(command) {
            const sp = samlify.ServiceProvider({ metadata: command.sp }).entityMeta;
            const acs = sp.getAssertionConsumerService('post');
            const known = (audience, xml, request, then) => then(null, audience === sp.getEntityID() ? acs : null);
            const page = await this.run(samlp.auth({
                issuer: command.entity, cert: read(command.keys[0].cert), key: read(command.keys[0].key), getPostURL: known,
                recipient: acs, destination: acs, signatureAlgorithm: `rsa-sha${command.sha || 256}`,
                digestAlgorithm: `sha${command.sha || 256}`, authnContextClassRef: PASSWORD, lifetimeInSeconds: command.lifetime || 300,
                signAssertion: command.sign !== 'response', signResponse: command.sign === 'both' || command.sign === 'response',
                getUserFromRequest: () => ({ id: command.name, displayName: 'Zoë <&> Söhne', name: {}, emails: [{ value: 'z@example.com' }] }),
            }), { method: 'GET', query: command.query, headers: {} });
            return { page };
        },
        // The page that the middleware sends.
        run: (middleware, request) => new Promise((resolve, reject) => {
            middleware(request, { set() {}, send: resolve }, reject);
        }),
    },
};

readline.createInterface({ input: process.stdin }).on('line', async (line) => {
    const command = JSON.parse(line);
    try {
        console.log(JSON.stringify({ result: await idps[command.idp][command.do](command) }));
    } catch (error) {
        console.log(JSON.stringify({ error: String(error && error.stack || error) }));
    }
});
