// Decides for nginx's auth_request whether a request has a session, by POST /v1/introspect (RFC 7662).

// Answers 204 for a session, 401 for none, and 403 if the location has a $max_age and the last code is older. Any other status
// makes nginx answer 500, so a failure lets nobody in.
async function check(r) {
    const token = r.variables.session_token;
    if (!token) {
        r.return(401);
        return;
    }
    const reply = await r.subrequest('/_introspect', { method: 'POST', body: `token=${token}` });
    if (reply.status !== 200) {
        r.error(`introspection was answered ${reply.status}`);
        r.return(500);
        return;
    }
    const session = JSON.parse(reply.responseText);
    if (!session.active) {
        r.return(401);
        return;
    }
    if (r.variables.max_age && !isFresh(session, Number(r.variables.max_age))) {
        r.return(403);
        return;
    }
    r.headersOut['X-User-Id'] = `${session.tenant}/${session.sub}`;
    // A header has ASCII only.
    r.headersOut['X-Username'] = encodeURIComponent(session.username);
    r.headersOut['X-Role'] = session.role;
    r.headersOut['X-Acr'] = session.acr;
    r.return(204);
}

// Only a code of the authenticator app counts, and neither a recovery token nor a password alone.
function isFresh(session, maxAge) {
    return session.amr.includes('otp') && Date.now() / 1000 - session.auth_time <= maxAge;
}

// Leads a browser to a page and back. Another client gets the status.
function lead(r, status, page) {
    if ((r.headersIn['Accept'] || '').includes('text/html')) {
        r.return(303, `${page}?return_to=${encodeURIComponent(r.variables.request_uri)}`);
    } else {
        r.return(status);
    }
}

function signIn(r) {
    lead(r, 401, '/login');
}

function stepUp(r) {
    lead(r, 403, '/step-up');
}

// The cookies that are not Vestibule's.
function otherCookies(r) {
    const cookies = (r.headersIn['Cookie'] || '').split(';').map((cookie) => cookie.trim());
    return cookies.filter((cookie) => !cookie.startsWith('__Host-vestibule')).join('; ');
}

export default { check, signIn, stepUp, otherCookies };
