// A real OpenID provider for the tests, and a second port on which a test says what its people do.
//
// Arguments: the folder that holds node_modules, and one JSON object: { cert, key } (files; without them plain
// HTTP), and any of `settings` below. Prints one line of JSON when it listens; ends when its standard input does.
import { generateKeyPairSync } from 'node:crypto';
import { readFileSync } from 'node:fs';
import http from 'node:http';
import https from 'node:https';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';

const [tools, options] = [process.argv[2], JSON.parse(process.argv[3] ?? '{}')];
const load = (file) => import(pathToFileURL(join(tools, 'node_modules', file)));
const { Provider, errors } = await load('oidc-provider/lib/index.js');
const { createMemoryAdapter } = await load('oidc-provider/lib/adapters/memory_adapter.js');
const { SignJWT, importJWK } = await load('jose/dist/webapi/index.js');

const CLIENT = 'alpine-cli';
const RESOURCE = 'urn:alpine:api';
const AUDIENCE = 'alpine';
const DEVICE = 'urn:ietf:params:oauth:grant-type:device_code';

// All times are seconds. What a test may change while the provider runs: POST /settings.
const settings = {
  algorithm: 'ES256',
  accessTokenTtl: 300,
  deviceCodeTtl: 300,
  refreshTokenTtl: 3600,
  interval: 1, // between two questions of a device
  rotateRefreshTokens: true,
  slowDowns: 0, // so many of the next questions are answered slow_down
  tokenStatus: 0, // instead of 200, if not 0, at the token endpoint
  jwksStatus: 0, // the same of the key set
  jwksDelay: 0,
  revocation: true, // whether tokens can be given back
};
const { cert, key, ...rest } = options;
Object.assign(settings, rest);

const accounts = new Map(); // account -> { tenant, roles, claims }
const grants = new Map(); // grant -> account
const codes = []; // user codes, as they were handed out
const requests = new Map(); // path -> times of requests, in milliseconds
const device = createMemoryAdapter();
const keys = []; // private JWKs, the signer first
let provider;
let made = 0;

function newKey(alg) {
  const [type, parameters] = {
    ES256: ['ec', { namedCurve: 'P-256' }],
    RS256: ['rsa', { modulusLength: 2048 }],
    EdDSA: ['ed25519', {}],
  }[alg];
  const jwk = generateKeyPairSync(type, parameters).privateKey.export({ format: 'jwk' });
  made += 1;
  return { ...jwk, kid: `key-${made}`, alg, use: 'sig' };
}

function configuration() {
  const [signer] = keys;
  return {
    adapter: device,
    clients: [{
      client_id: CLIENT,
      token_endpoint_auth_method: 'none',
      application_type: 'native',
      grant_types: [DEVICE, 'refresh_token'],
      redirect_uris: [],
      response_types: [],
      id_token_signed_response_alg: signer.alg,
    }],
    jwks: { keys },
    clientDefaults: { id_token_signed_response_alg: signer.alg },
    enabledJWA: { idTokenSigningAlgValues: ['ES256', 'RS256', 'EdDSA'] },
    features: {
      devInteractions: { enabled: false },
      deviceFlow: { enabled: true },
      revocation: { enabled: settings.revocation, allowedPolicy: (_ctx, client, token) => token.clientId === client.clientId },
      resourceIndicators: {
        enabled: true,
        getResourceServerInfo: (_ctx, indicator) => {
          if (indicator !== RESOURCE) throw new errors.InvalidTarget();
          const sign = { alg: signer.alg, kid: signer.kid };
          return { scope: 'alpine', audience: AUDIENCE, accessTokenFormat: 'jwt', jwt: { sign } };
        },
      },
    },
    scopes: ['openid', 'offline_access'],
    findAccount: (_ctx, id) => ({ accountId: id, claims: () => ({ sub: id }) }),
    extraTokenClaims: (_ctx, token) => claimsOf(token.accountId),
    expiresWithSession: () => false,
    issueRefreshToken: (_ctx, client, code) => client.grantTypeAllowed('refresh_token') && code.scopes.has('offline_access'),
    rotateRefreshToken: () => settings.rotateRefreshTokens,
    ttl: {
      AccessToken: () => settings.accessTokenTtl,
      DeviceCode: () => settings.deviceCodeTtl,
      RefreshToken: () => settings.refreshTokenTtl,
      Grant: 86400,
      IdToken: 3600,
    },
  };
}

// Keys are given when a provider is made: rotation makes a new one over the same stores.
function build() {
  const built = new Provider(issuer, configuration());
  built.use(async (ctx, next) => {
    const question = ctx.path === '/token' && ctx.method === 'POST';
    if (question && settings.tokenStatus) {
      ctx.status = settings.tokenStatus;
      ctx.body = 'not now';
      return;
    }
    if (question && settings.slowDowns > 0) {
      settings.slowDowns -= 1;
      ctx.status = 400;
      ctx.body = { error: 'slow_down' };
      return;
    }
    if (ctx.path === '/jwks') {
      await new Promise((done) => { setTimeout(done, settings.jwksDelay * 1000); });
      if (settings.jwksStatus) {
        ctx.status = settings.jwksStatus;
        ctx.body = 'not now';
        return;
      }
    }
    await next();
    if (ctx.oidc?.route === 'device_authorization' && ctx.status === 200) {
      ctx.body.interval = settings.interval;
      codes.push(ctx.body.user_code);
    }
  });
  built.on('server_error', (_ctx, error) => { console.error(error); });
  provider = built;
}

function claimsOf(account) {
  const { tenant, roles, claims } = accounts.get(account) ?? {};
  return { tenant, roles, ...claims };
}

async function codeOf(userCode) {
  const code = await provider.DeviceCode.findByUserCode(userCode.replaceAll(/\W/g, ''), { ignoreExpiration: true });
  if (!code) throw new Error(`no such user code: ${userCode}`);
  return code;
}

const control = {
  // A person signs in, enters the code and agrees: { user_code, account, tenant?, roles?, claims? }
  async '/approve'({ user_code, account, ...of }) {
    const code = await codeOf(user_code);
    if (code.isExpired) throw new Error('the code is expired');
    accounts.set(account, of);
    const asked = code.params.scope.split(' ');
    const grant = new provider.Grant({ accountId: account, clientId: code.clientId });
    grant.addOIDCScope(asked.filter((scope) => ['openid', 'offline_access'].includes(scope)).join(' '));
    if (code.params.resource) grant.addResourceScope(code.params.resource, 'alpine');
    const grantId = await grant.save();
    grants.set(grantId, account);
    Object.assign(code, { accountId: account, grantId, scope: asked.join(' '), authTime: Math.floor(Date.now() / 1000) });
    if (code.params.resource) code.resource = code.params.resource;
    await code.save();
    return { asked, resource: code.params.resource };
  },

  // The person says no: { user_code }
  async '/deny'({ user_code }) {
    const code = await codeOf(user_code);
    Object.assign(code, { error: 'access_denied', errorDescription: 'the person said no' });
    await code.save();
    return {};
  },

  // Every refresh token of the account, or of all, is worth nothing from now on: { account? }
  async '/revoke'({ account }) {
    let revoked = 0;
    for (const [grantId, of] of grants) {
      if (account !== undefined && of !== account) continue;
      await provider.RefreshToken.revokeByGrantId(grantId);
      await provider.Grant.adapter.destroy(grantId);
      grants.delete(grantId);
      revoked += 1;
    }
    return { revoked };
  },

  // What an account is from its next token on: { account, tenant?, roles?, claims? }
  '/account'({ account, ...of }) {
    accounts.set(account, of);
    return {};
  },

  // An access token such as a device is given, without a device: { account, tenant?, roles?, claims?, audience?,
  // ttl?, kid?, header? }; claims and header win over what would be there, null removes.
  async '/mint'({ account, tenant, roles, claims = {}, audience = AUDIENCE, ttl = settings.accessTokenTtl, kid, header = {} }) {
    const signer = retired.concat(keys).find((one) => one.kid === (kid ?? keys[0].kid));
    if (!signer) throw new Error(`no such key: ${kid}`);
    const now = Math.floor(Date.now() / 1000);
    const body = {
      tenant, roles, jti: `minted-${now}-${Math.random()}`, sub: account, iat: ttl < 0 ? now + ttl - 60 : now, exp: now + ttl,
      scope: 'alpine', client_id: CLIENT, iss: issuer, aud: audience, ...claims,
    };
    const head = { alg: signer.alg, typ: 'at+jwt', kid: signer.kid, ...header };
    for (const part of [body, head]) {
      for (const name of Object.keys(part)) if (part[name] === null) delete part[name];
    }
    const token = await new SignJWT(body).setProtectedHeader(head).sign(await importJWK(signer, signer.alg));
    return { token };
  },

  // A new signing key: { algorithm?, publish? (true: in the key set), sign? (true: signs from now on), keep? (true: the
  // old ones stay published) }. A key that is not published can still be named to /mint.
  '/rotate'({ algorithm = settings.algorithm, publish = true, sign = true, keep = true }) {
    settings.algorithm = algorithm;
    const fresh = newKey(algorithm);
    if (!publish) {
      retired.push(fresh);
      return { kid: fresh.kid };
    }
    if (!keep) retired.push(...keys.splice(0));
    if (sign) keys.unshift(fresh); else keys.push(fresh);
    build();
    return { kid: fresh.kid };
  },

  '/settings'(change) {
    Object.assign(settings, change);
    build();
    return settings;
  },

  // The user codes of all devices, the first first.
  '/codes'() {
    return codes;
  },

  // When each path was asked for, in milliseconds since 1970.
  '/requests'() {
    return Object.fromEntries(requests);
  },
};
const retired = []; // keys that sign nothing any more, or are published nowhere

const wire = (cert ? https : http).createServer(cert ? { cert: readFileSync(cert), key: readFileSync(key) } : {});
wire.on('request', (request, response) => {
  const path = request.url.split('?')[0];
  requests.set(path, [...(requests.get(path) ?? []), Date.now()]);
  provider.callback()(request, response);
});

const desk = http.createServer((request, response) => {
  const chunks = [];
  request.on('data', (chunk) => chunks.push(chunk));
  request.on('end', async () => {
    const answer = (status, body) => {
      response.writeHead(status, { 'content-type': 'application/json' });
      response.end(JSON.stringify(body));
    };
    try {
      const act = control[request.url];
      if (!act) answer(404, { error: 'no such thing to do' });
      else answer(200, await act(JSON.parse(Buffer.concat(chunks).toString() || '{}')));
    } catch (error) {
      answer(400, { error: String(error) });
    }
  });
});

const listen = (server, port = 0) => new Promise((done) => { server.listen(port, '127.0.0.1', () => done(server.address().port)); });
const port = await listen(wire, options.port);
const issuer = `${cert ? 'https' : 'http'}://127.0.0.1:${port}`;
keys.push(newKey(settings.algorithm));
build();
console.log(JSON.stringify({ issuer, control: `http://127.0.0.1:${await listen(desk)}`, client_id: CLIENT, resource: RESOURCE }));
process.stdin.on('end', () => process.exit(0)).resume();
