// A certified OpenID Connect issuer on loopback. Takes a port. Its clients get access tokens for themselves: `agent`, the
// users `alice` and `bob`, each the subject of its own, and `mcpgw`, which may also exchange a user's token (RFC 8693) for
// one that another service believes.
// POST /rotate: signs with a new key from now on, and keeps the one before in its key set.
import { generateKeyPairSync, randomUUID } from 'node:crypto';
import { createServer } from 'node:http';
import { pathToFileURL } from 'node:url';

// Packages lie in the tools cache, not beside this script.
const entry = `${process.env.MCPGW_NPM_PEERS}/node_modules/oidc-provider/lib/index.js`;
const { Provider, errors } = await import(pathToFileURL(entry));
const jose = await import(pathToFileURL(`${process.env.MCPGW_NPM_PEERS}/node_modules/jose/dist/webapi/index.js`));

const port = Number(process.argv[2]);
const issuer = `http://127.0.0.1:${port}`;
const audience = 'mcpgw';
const users = ['alice', 'bob'];
const secret = 'a-secret-of-the-test';
const exchangeGrant = 'urn:ietf:params:oauth:grant-type:token-exchange';
const accessTokenType = 'urn:ietf:params:oauth:token-type:access_token';

function key() {
  const { privateKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' });
  return { ...privateKey.export({ format: 'jwk' }), kid: randomUUID(), alg: 'ES256', use: 'sig' };
}

function client(id, grants) {
  return {
    client_id: id, client_secret: secret, id_token_signed_response_alg: 'ES256', grant_types: grants,
    redirect_uris: [], response_types: [],
  };
}

function resource(name) {
  return { scope: 'mcp', audience: name, accessTokenFormat: 'jwt', accessTokenTTL: 600, jwt: { sign: { alg: 'ES256' } } };
}

function provider(keys) {
  const made = new Provider(issuer, {
    clients: [
      ...['agent', ...users].map((id) => client(id, ['client_credentials'])),
      client('mcpgw', ['client_credentials', exchangeGrant]),
    ],
    jwks: { keys },
    scopes: ['mcp'],
    features: {
      clientCredentials: { enabled: true },
      devInteractions: { enabled: false },
      resourceIndicators: {
        enabled: true,
        defaultResource: () => 'urn:mcpgw',
        getResourceServerInfo: () => resource(audience),
      },
    },
  });
  const parameters = ['subject_token', 'subject_token_type', 'requested_token_type', 'audience', 'scope'];
  made.registerGrantType(exchangeGrant, (ctx) => exchange(made, keys, ctx), parameters);
  return made;
}

// A token of the same subject, for another audience, in exchange for a good one of a user.
async function exchange(provider, keys, ctx) {
  const { client: asking, params } = ctx.oidc;
  if (params.subject_token_type !== accessTokenType || !params.audience) throw new errors.InvalidRequest('incomplete');
  const known = jose.createLocalJWKSet({ keys: keys.map(({ d, ...shown }) => shown) });
  const verified = await jose.jwtVerify(params.subject_token, known, { issuer, audience }).catch(() => {
    throw new errors.InvalidGrant('the subject token is not good');
  });
  const { sub } = verified.payload;
  if (!users.includes(sub)) throw new errors.InvalidGrant('the subject is no user');
  const token = new provider.AccessToken({ client: asking, accountId: sub, scope: params.scope, gty: exchangeGrant });
  token.resourceServer = new provider.ResourceServer(params.audience, resource(params.audience));
  token.setAudience(params.audience);
  ctx.body = {
    access_token: await token.save(), issued_token_type: accessTokenType, token_type: token.tokenType,
    expires_in: token.expiration, scope: token.scope,
  };
}

let keys = [key()];
let serve = provider(keys).callback();
createServer((request, response) => {
  if (request.url === '/rotate') {
    keys = [key(), keys[0]];
    serve = provider(keys).callback();
    response.writeHead(200, { 'content-length': 0 }).end();
    return;
  }
  serve(request, response);
}).listen(port, '127.0.0.1', () => console.log('listening'));
