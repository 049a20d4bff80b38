// A backend for the browser as the documentation of express-openid-connect shows it: the session is in an
// encrypted cookie, and calls below /api are forwarded with the access token.
import http from 'node:http';
import express from 'express';
import openid from 'express-openid-connect';
import { createProxyMiddleware } from 'http-proxy-middleware';

const { PORT, API, ISSUER, CLIENT_ID, CLIENT_SECRET } = process.env;
const app = express();

app.use(openid.auth({
  issuerBaseURL: ISSUER,
  baseURL: `http://127.0.0.1:${PORT}`,
  clientID: CLIENT_ID,
  clientSecret: CLIENT_SECRET,
  secret: 'a secret of the session cookie of more than 32 characters',
  authRequired: true,
  idpLogout: false,
  authorizationParams: { response_type: 'code', response_mode: 'query', scope: 'openid profile email' },
}));

app.use('/api', createProxyMiddleware({
  target: API,
  agent: new http.Agent({ keepAlive: true }),
  on: {
    proxyReq: (proxied, request) => {
      proxied.removeHeader('Cookie');
      proxied.setHeader('Authorization', `Bearer ${request.oidc.accessToken.access_token}`);
    },
  },
}));

app.listen(Number(PORT), '127.0.0.1');
