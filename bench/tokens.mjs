// Helps bench/tokens, bench/run and bench/growth: an issuer with one key of each kind, and files of tokens that it signed.
//
//   node bench/tokens.mjs DIRECTORY NUMBER [ALGORITHM,ALGORITHM…]
//
// serves its key set on a free port until it is ended, and writes into DIRECTORY: `issuer` (its URL) and, for each
// algorithm (all, or those named), NUMBER tokens of 1,000 users, one in each line. Their claims are those of an ordinary access token.
import { createServer } from 'node:http';
import { createSign, generateKeyPairSync, randomUUID, sign } from 'node:crypto';
import { renameSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';

const [directory, number] = [process.argv[2], Number(process.argv[3])];
const users = 1000;
const lifetime = 6 * 3600;

const keys = {
  RS256: generateKeyPairSync('rsa', { modulusLength: 2048 }),
  ES256: generateKeyPairSync('ec', { namedCurve: 'P-256' }),
  EdDSA: generateKeyPairSync('ed25519'),
};
const signers = {
  RS256: (data) => createSign('RSA-SHA256').update(data).sign(keys.RS256.privateKey),
  ES256: (data) => sign('sha256', data, { key: keys.ES256.privateKey, dsaEncoding: 'ieee-p1363' }),
  EdDSA: (data) => sign(null, data, keys.EdDSA.privateKey),
};
const published = JSON.stringify({
  keys: Object.entries(keys).map(([alg, pair]) => (
    { ...pair.publicKey.export({ format: 'jwk' }), alg, kid: alg, use: 'sig' }
  )),
});

const encode = (value) => Buffer.from(JSON.stringify(value)).toString('base64url');

function token(alg, index, issuer, now) {
  const claims = {
    iss: issuer, sub: `user${index % users}`, aud: 'bench', iat: now, exp: now + lifetime, jti: randomUUID(),
    sid: randomUUID(), scope: 'openid profile email', email: `user${index % users}@users.example`,
  };
  const message = `${encode({ alg, kid: alg, typ: 'JWT' })}.${encode(claims)}`;
  return `${message}.${signers[alg](Buffer.from(message)).toString('base64url')}`;
}

const server = createServer((_, response) => {
  response.writeHead(200, { 'content-type': 'application/json' }).end(published);
});
server.listen(0, '127.0.0.1', () => {
  const issuer = `http://127.0.0.1:${server.address().port}`;
  const now = Math.floor(Date.now() / 1000);
  for (const alg of process.argv[4]?.split(',') ?? Object.keys(keys)) {
    const tokens = Array.from({ length: number }, (_, index) => token(alg, index, issuer, now));
    writeFileSync(join(directory, alg), tokens.join('\n') + '\n');
  }
  writeFileSync(join(directory, 'issuer.new'), issuer);
  renameSync(join(directory, 'issuer.new'), join(directory, 'issuer'));
});
