// The certified OpenID provider of npm's `oidc-provider`, in memory, on 127.0.0.1, for tests.
//
// The first line of standard input is its configuration as JSON: port (0: any), accessTokenSeconds, clients,
// accounts (claims by user name) and resources (scopes by resource indicator). May also be given:
//   requirePushed   insist on pushed authorization requests (RFC 9126 5)
//   dpopNonces      insist on nonces in DPoP proofs (RFC 9449 8)
//   fapi            the FAPI 2.0 Security Profile
//   acr             the authentication context class of every sign-in
//   certificates    {key, certificate, authorities}, PEM: a second door with TLS that asks clients for theirs;
//                   mtls_endpoint_aliases says where it is (RFC 8705 5)
// When it serves it prints one line, {"issuer": "http://127.0.0.1:…"}. It ends when standard input does, so it
// never outlives its parent.
//
// GET /events answers with what has happened so far, as JSON, without a token, code or secret in it. POST /keys
// changes the signing keys.
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

const server = createServer((request, response) => answer(request, response));
server.listen(config.port, '127.0.0.1');
await once(server, 'listening');
const issuer = `http://127.0.0.1:${server.address().port}`;
const certificateDoor = config.certificates && (await openCertificateDoor(config.certificates));

const options = {
  clients: config.clients,
  findAccount: (ctx, sub) => account(sub),
  acrValues: config.acr ? [config.acr] : [],
  claims: { openid: ['sub'], profile: ['name', 'roles'], email: ['email', 'email_verified'] },
  clientAuthMethods: [
    ...['client_secret_basic', 'client_secret_post', 'client_secret_jwt', 'private_key_jwt', 'none'],
    ...(certificateDoor ? ['tls_client_auth', 'self_signed_tls_client_auth'] : []),
  ],
  conformIdTokenClaims: false,
  cookies: { keys: [randomBytes(32).toString('hex')] },
  discovery: certificateDoor ? { mtls_endpoint_aliases: certificateEndpoints(certificateDoor) } : {},
  // Without its dispatcher, which does not call loopback addresses.
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
    mTLS: certificateDoor ? certificateRules() : { enabled: false },
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
    ctx.body = page(`<h1>${escaped(out.error)}</h1><p>${escaped(out.error_description ?? '')}</p>`);
  },
};
const events = [];
let provider;
let serve;
signWithNewKeys();
process.stdout.write(`${JSON.stringify({ issuer })}\n`);

// --- what the provider is told

/** The provider with other keys; what it remembers stays. */
function signWithNewKeys() {
  const before = provider;
  const memory = before ? { adapter: (model) => before[model].adapter } : {};
  provider = new Provider(issuer, { ...options, ...memory, jwks: { keys: newKeys() } });
  serve = provider.callback();
  watch();
}

/** New keys at every start. Several kinds, so that a relying party has to choose the one that fits. */
function newKeys() {
  const rsa = generateKeyPairSync('rsa', { modulusLength: 2048 });
  const elliptic = generateKeyPairSync('ec', { namedCurve: 'P-256' });
  const edwards = generateKeyPairSync('ed25519');
  return [rsa, elliptic, edwards].map(({ privateKey }) => ({
    ...privateKey.export({ format: 'jwk' }),
    use: 'sig',
  }));
}

/** Serves the same provider with TLS; clients may present a certificate, and are heard without one, too. */
async function openCertificateDoor({ key, certificate, authorities }) {
  const asking = { key, cert: certificate, ca: authorities, requestCert: true, rejectUnauthorized: false };
  const door = createTlsServer(asking, (request, response) => answer(request, response));
  door.listen(0, '127.0.0.1');
  await once(door, 'listening');
  return `https://localhost:${door.address().port}`;
}

function certificateEndpoints(door) {
  return {
    token_endpoint: `${door}/token`,
    revocation_endpoint: `${door}/token/revocation`,
    pushed_authorization_request_endpoint: `${door}/request`,
    userinfo_endpoint: `${door}/me`,
  };
}

/** RFC 8705 2.1 and 2.2, for connections that end here. */
function certificateRules() {
  return {
    enabled: true,
    certificateBoundAccessTokens: true,
    tlsClientAuth: true,
    selfSignedTlsClientAuth: true,
    getCertificate: ({ socket }) => presented(socket),
    certificateAuthorized: ({ socket }) => socket.authorized,
    // RFC 4514 names the parts in the opposite order.
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

// --- what is seen of it

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
    proof: proofOf(headers, body, socket),
    verifier: 'code_verifier' in body,
    bound: 'dpop' in headers,
  });
}

/** Where the client's secret was; or the algorithm of its assertion; or whether it came with a certificate. */
function proofOf(headers, body, socket) {
  if (headers.authorization) return 'header';
  if ('client_secret' in body) return 'body';
  if ('client_assertion' in body) {
    return JSON.parse(Buffer.from(body.client_assertion.split('.')[0], 'base64url')).alg;
  }
  return presented(socket) ? 'certificate' : 'none';
}

// --- pages

async function answer(request, response) {
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

/** Signs in, or asks for consent; both can be turned down. */
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
  const asked = `<p>${escaped(params.client_id)} asks for ${escaped(params.scope)}</p>`;
  return interactionPage('Allow?', uid, `${asked}<button name="allow" value="yes">Allow</button>`);
}

function interactionPage(title, uid, content) {
  const deny = '<button name="deny" value="yes">Cancel</button>';
  return page(
    `<h1>${title}</h1><form method="post" action="/interaction/${escaped(uid)}">${content}${deny}</form>`,
  );
}

function signOutPage(ctx, form) {
  const button = '<button name="logout" value="yes">Sign out</button></form>';
  ctx.body = page(`<h1>Sign out?</h1>${form.replace('</form>', button)}`);
}

function signedOutPage(ctx) {
  ctx.body = page('<h1>Signed out, and nowhere to go</h1>');
}

function page(content) {
  return `<!doctype html><title>Provider</title>${content}`;
}

function escaped(text) {
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
