// A certified OpenID Connect issuer on loopback, with one client that gets access tokens for itself. Takes a port.
// POST /rotate: signs with a new key from now on, and keeps the one before in its key set.
import { generateKeyPairSync, randomUUID } from 'node:crypto';
import { createServer } from 'node:http';
import { pathToFileURL } from 'node:url';

// Packages lie in the tools cache, not beside this script.
const entry = `${process.env.MCPGW_NPM_PEERS}/node_modules/oidc-provider/lib/index.js`;
const { Provider } = await import(pathToFileURL(entry));

const port = Number(process.argv[2]);
const issuer = `http://127.0.0.1:${port}`;
const audience = 'mcpgw';

function key() {
  const { privateKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' });
  return { ...privateKey.export({ format: 'jwk' }), kid: randomUUID(), alg: 'ES256', use: 'sig' };
}

function provider(keys) {
  return new Provider(issuer, {
    clients: [{
      client_id: 'agent', client_secret: 'a-secret-of-the-test', id_token_signed_response_alg: 'ES256',
      grant_types: ['client_credentials'],
      redirect_uris: [], response_types: [],
    }],
    jwks: { keys },
    scopes: ['mcp'],
    features: {
      clientCredentials: { enabled: true },
      devInteractions: { enabled: false },
      resourceIndicators: {
        enabled: true,
        defaultResource: () => 'urn:mcpgw',
        getResourceServerInfo: () => ({
          scope: 'mcp', audience, accessTokenFormat: 'jwt', accessTokenTTL: 600, jwt: { sign: { alg: 'ES256' } },
        }),
      },
    },
  });
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
