// The certified npm package `oidc-provider` with in-memory storage on 127.0.0.1, for tests.
//
// The first line of standard input is its configuration as JSON: port (0: any), accessTokenSeconds, clients,
// accounts (claims by user name) and resources (scopes by resource indicator). Optional keys:
//   requirePushed   require pushed authorization requests (RFC 9126 5)
//   dpopNonces      require nonces in DPoP proofs (RFC 9449 8)
//   fapi            the FAPI 2.0 Security Profile
//   acr             the authentication context class of every sign-in
//   certificates    {key, certificate, authorities}, PEM: a second port with TLS that requests client
//                   certificates; mtls_endpoint_aliases announces it (RFC 8705 5)
// When it is ready, it prints one line, {"issuer": "http://127.0.0.1:…"}. It ends when its standard input ends,
// so it never outlives its parent.
//
// GET /events returns the events so far as JSON, without tokens, codes and secrets. POST /keys changes the
// signing keys.
import { generateKeyPairSync, randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { createServer } from 'node:http';
import { createServer as createTlsServer } from 'node:https';
import { createInterface } from 'node:readline';

import { errors, Provider } from 'oidc-provider';

const standardInput = createInterface({ input: process.stdin });
standardInput.on('close', () => process.exit(0));
const [line] = await once(standardInput, 'line');
const config = JSON.parse(line);

const server = createServer((request, response) => respond(request, response));
server.listen(config.port, '127.0.0.1');
await once(server, 'listening');
const issuer = `http://127.0.0.1:${server.address().port}`;
const tlsOrigin = config.certificates && (await serveTls(config.certificates));

const options = {
  clients: config.clients,
  findAccount: (ctx, sub) => account(sub),
  acrValues: config.acr ? [config.acr] : [],
  claims: { openid: ['sub'], profile: ['name', 'roles'], email: ['email', 'email_verified'] },
  clientAuthMethods: [
    ...['client_secret_basic', 'client_secret_post', 'client_secret_jwt', 'private_key_jwt', 'none'],
    ...(tlsOrigin ? ['tls_client_auth', 'self_signed_tls_client_auth'] : []),
  ],
  conformIdTokenClaims: false,
  cookies: { keys: [randomBytes(32).toString('hex')] },
  discovery: tlsOrigin ? { mtls_endpoint_aliases: certificateEndpoints(tlsOrigin) } : {},
  // Without the provider's dispatcher, which refuses loopback addresses.
  fetch: (url, { dispatcher, ...options }) => fetch(url, options),
  pkce: { required: () => true },
  rotateRefreshToken: true,
  ttl: {
    AccessToken: config.accessTokenSeconds,
    Grant: 3600,
    IdToken: 3600,
    Interaction: 600,
    RefreshToken: 3600,
    Session: 3600,
  },
  interactions: { url: (ctx, interaction) => `/interaction/${interaction.uid}` },
  features: {
    backchannelLogout: { enabled: true },
    claimsParameter: { enabled: true },
    devInteractions: { enabled: false },
    dPoP: {
      enabled: true,
      nonceSecret: randomBytes(32),
      requireNonce: () => Boolean(config.dpopNonces),
    },
    encryption: { enabled: true },
    fapi: config.fapi ? { enabled: true, profile: '2.0' } : { enabled: false },
    introspection: { enabled: true },
    jwtResponseModes: { enabled: true },
    jwtUserinfo: { enabled: true },
    mTLS: tlsOrigin ? certificateRules() : { enabled: false },
    pushedAuthorizationRequests: {
      enabled: true,
      requirePushedAuthorizationRequests: Boolean(config.requirePushed),
    },
    requestObjects: { enabled: true },
    revocation: { enabled: true },
    resourceIndicators: { enabled: true, getResourceServerInfo: resourceServer },
    rpInitiatedLogout: { enabled: true, logoutSource: signOutPage, postLogoutSuccessSource: signedOutPage },
  },
  renderError: (ctx, out) => {
    ctx.type = 'html';
    ctx.body = page(`<h1>${escapeHtml(out.error)}</h1><p>${escapeHtml(out.error_description ?? '')}</p>`);
  },
};
const events = [];
let provider;
let serve;
signWithNewKeys();
process.stdout.write(`${JSON.stringify({ issuer })}\n`);

// --- configuration

/** Replaces the provider by one with new keys and the same stored data. */
function signWithNewKeys() {
  const before = provider;
  const memory = before ? { adapter: (model) => before[model].adapter } : {};
  provider = new Provider(issuer, { ...options, ...memory, jwks: { keys: newKeys() } });
  serve = provider.callback();
  watch();
}

/** New keys of several types, so that a relying party must select the right one. */
function newKeys() {
  const rsa = generateKeyPairSync('rsa', { modulusLength: 2048 });
  const elliptic = generateKeyPairSync('ec', { namedCurve: 'P-256' });
  const edwards = generateKeyPairSync('ed25519');
  return [rsa, elliptic, edwards].map(({ privateKey }) => ({
    ...privateKey.export({ format: 'jwk' }),
    use: 'sig',
  }));
}

/** Serves the provider with TLS; client certificates are requested but optional. */
async function serveTls({ key, certificate, authorities }) {
  const settings = { key, cert: certificate, ca: authorities, requestCert: true, rejectUnauthorized: false };
  const tlsServer = createTlsServer(settings, (request, response) => respond(request, response));
  tlsServer.listen(0, '127.0.0.1');
  await once(tlsServer, 'listening');
  return `https://localhost:${tlsServer.address().port}`;
}

function certificateEndpoints(origin) {
  return {
    token_endpoint: `${origin}/token`,
    revocation_endpoint: `${origin}/token/revocation`,
    pushed_authorization_request_endpoint: `${origin}/request`,
    userinfo_endpoint: `${origin}/me`,
  };
}

/** RFC 8705 2.1 and 2.2, for direct TLS connections. */
function certificateRules() {
  return {
    enabled: true,
    certificateBoundAccessTokens: true,
    tlsClientAuth: true,
    selfSignedTlsClientAuth: true,
    getCertificate: ({ socket }) => presented(socket),
    certificateAuthorized: ({ socket }) => socket.authorized,
    // RFC 4514 lists the parts in reverse order.
    certificateSubjectMatches: ({ socket }, property, expected) =>
      property === 'tls_client_auth_subject_dn' &&
      presented(socket).subject.split('\n').reverse().join(',') === expected,
  };
}

function presented(socket) {
  return socket.getPeerX509Certificate?.();
}

function account(sub) {
  const claims = Object.values(config.accounts).find((known) => known.sub === sub);
  return claims && { accountId: sub, claims: () => claims };
}

function resourceServer(ctx, resource) {
  const scope = config.resources[resource];
  if (scope === undefined) throw new errors.InvalidTarget();
  return {
    scope,
    audience: resource,
    accessTokenFormat: 'jwt',
    accessTokenTTL: config.accessTokenSeconds,
    jwt: { sign: { alg: 'RS256' } },
  };
}

// --- events

function watch() {
  for (const name of ['authorization.success', 'authorization.error', 'end_session.success', 'grant.success']) {
    provider.on(name, (ctx, problem) => note(name, ctx, problem));
  }
  for (const name of ['grant.error', 'grant.revoked', 'revocation.error', 'end_session.error']) {
    provider.on(name, (ctx, problem) => note(name, ctx, problem));
  }
  for (const name of ['pushed_authorization_request.success', 'pushed_authorization_request.error']) {
    provider.on(name, (ctx, problem) => note(name, ctx, problem));
  }
  provider.on('backchannel.success', (ctx, { clientId }) => {
    events.push({ event: 'backchannel.success', client: clientId });
  });
  provider.on('backchannel.error', (ctx, problem, { clientId }) => {
    console.error(problem);
    events.push({ event: 'backchannel.error', client: clientId, error: problem.message });
  });
  provider.on('server_error', (ctx, problem) => {
    console.error(problem);
    note('server_error', ctx, problem);
  });
}

function note(event, { headers, oidc, socket }, problem) {
  const body = oidc.body ?? {};
  events.push({
    event,
    client: oidc.client?.clientId ?? oidc.params?.client_id ?? null,
    grant: oidc.params?.grant_type ?? null,
    resource: oidc.params?.resource ?? null,
    error: problem instanceof Error ? problem.error ?? problem.name : null,
    proof: clientAuthOf(headers, body, socket),
    verifier: 'code_verifier' in body,
    bound: 'dpop' in headers,
  });
}

/** The location of the client's secret, the algorithm of its assertion, or `certificate`. */
function clientAuthOf(headers, body, socket) {
  if (headers.authorization) return 'header';
  if ('client_secret' in body) return 'body';
  if ('client_assertion' in body) {
    return JSON.parse(Buffer.from(body.client_assertion.split('.')[0], 'base64url')).alg;
  }
  return presented(socket) ? 'certificate' : 'none';
}

// --- pages

async function respond(request, response) {
  const { pathname } = new URL(request.url, issuer);
  try {
    if (pathname === '/events') sendJson(response, events);
    else if (pathname === '/keys') sendJson(response, signWithNewKeys() ?? {});
    else if (pathname.startsWith('/interaction/')) await interact(request, response);
    else await serve(request, response);
  } catch (problem) {
    console.error(problem);
    response.writeHead(500).end('failed');
  }
}

/** The sign-in and consent pages; the user can deny both. */
async function interact(request, response) {
  const interaction = await provider.interactionDetails(request, response);
  if (request.method === 'GET') {
    send(response, interaction.prompt.name === 'login' ? signInPage(interaction) : consentPage(interaction));
    return;
  }
  const form = await readForm(request);
  if (form.has('deny')) {
    const result = { error: 'access_denied', error_description: 'The user <b>said</b> no.' };
    await provider.interactionFinished(request, response, result, { mergeWithLastSubmission: false });
  } else if (interaction.prompt.name === 'login') {
    const known = config.accounts[form.get('username')];
    if (!known) return send(response, signInPage(interaction));
    const login = { accountId: known.sub, ...(config.acr ? { acr: config.acr } : {}) };
    await provider.interactionFinished(request, response, { login });
  } else {
    const result = { consent: { grantId: await grantOf(interaction) } };
    await provider.interactionFinished(request, response, result, { mergeWithLastSubmission: true });
  }
}

async function grantOf({ grantId, params, prompt: { details }, session }) {
  const { accountId } = session;
  const grant = grantId
    ? await provider.Grant.find(grantId)
    : new provider.Grant({ accountId, clientId: params.client_id });
  if (details.missingOIDCScope) grant.addOIDCScope(details.missingOIDCScope.join(' '));
  if (details.missingOIDCClaims) grant.addOIDCClaims(details.missingOIDCClaims);
  for (const [resource, scopes] of Object.entries(details.missingResourceScopes ?? {})) {
    grant.addResourceScope(resource, scopes.join(' '));
  }
  return grant.save();
}

function signInPage({ uid }) {
  const fields = '<input name="username"><button name="allow" value="yes">Sign in</button>';
  return interactionPage('Sign in', uid, fields);
}

function consentPage({ uid, params }) {
  const asked = `<p>${escapeHtml(params.client_id)} asks for ${escapeHtml(params.scope)}</p>`;
  return interactionPage('Allow?', uid, `${asked}<button name="allow" value="yes">Allow</button>`);
}

function interactionPage(title, uid, content) {
  const deny = '<button name="deny" value="yes">Cancel</button>';
  return page(
    `<h1>${title}</h1><form method="post" action="/interaction/${escapeHtml(uid)}">${content}${deny}</form>`,
  );
}

function signOutPage(ctx, form) {
  const button = '<button name="logout" value="yes">Sign out</button></form>';
  ctx.body = page(`<h1>Sign out?</h1>${form.replace('</form>', button)}`);
}

function signedOutPage(ctx) {
  ctx.body = page('<h1>Signed out</h1>');
}

function page(content) {
  return `<!doctype html><title>Provider</title>${content}`;
}

function escapeHtml(text) {
  return String(text).replace(/[&<>"']/g, (character) => `&#${character.charCodeAt(0)};`);
}

async function readForm(request) {
  let body = '';
  for await (const chunk of request) body += chunk;
  return new URLSearchParams(body);
}

function send(response, html) {
  response.writeHead(200, { 'Content-Type': 'text/html; charset=utf-8' }).end(html);
}

function sendJson(response, document) {
  response.writeHead(200, { 'Content-Type': 'application/json' }).end(JSON.stringify(document));
}
