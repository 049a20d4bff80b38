-- A database as the portal with schema 5 wrote it.
BEGIN TRANSACTION;
CREATE TABLE attempts (
        id TEXT PRIMARY KEY NOT NULL, tenant TEXT NOT NULL, provider TEXT NOT NULL,
        registration TEXT NOT NULL, binding_hash TEXT NOT NULL, nonce TEXT NOT NULL,
        code_verifier TEXT NOT NULL, redirect_uri TEXT NOT NULL, return_to TEXT NOT NULL,
        expires_at REAL NOT NULL);
INSERT INTO "attempts" VALUES('attempt-1','acme','default','rrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrr','bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb','nonce','sealed verifier','https://portal.example/t/acme/callback','/t/acme/',9000000000.5);
CREATE TABLE domains (
        name TEXT PRIMARY KEY NOT NULL, tenant TEXT NOT NULL, kind TEXT NOT NULL, token TEXT NOT NULL,
        proof TEXT NOT NULL, proven_at REAL NOT NULL, checked_at REAL NOT NULL, created_at REAL NOT NULL);
CREATE TABLE drafts (
        tenant TEXT PRIMARY KEY NOT NULL, content TEXT NOT NULL, format INTEGER NOT NULL,
        version INTEGER NOT NULL, based_on INTEGER NOT NULL, author TEXT NOT NULL, test TEXT NOT NULL,
        changed_at REAL NOT NULL);
CREATE TABLE events (
        id TEXT PRIMARY KEY NOT NULL, at REAL NOT NULL, tenant TEXT NOT NULL, kind TEXT NOT NULL,
        outcome TEXT NOT NULL, actor TEXT NOT NULL, target TEXT NOT NULL, reason TEXT NOT NULL,
        request_id TEXT NOT NULL, client TEXT NOT NULL, device TEXT NOT NULL);
INSERT INTO "events" VALUES('019b76daa80000000000000000000000',1767225600.0,'acme','tenant_added','done','{}','','','','','');
CREATE TABLE logins (
        id TEXT PRIMARY KEY NOT NULL, session TEXT NOT NULL, tenant TEXT NOT NULL, provider TEXT NOT NULL,
        registration TEXT NOT NULL, issuer TEXT NOT NULL, subject TEXT NOT NULL, sid TEXT,
        claims TEXT NOT NULL, tokens TEXT NOT NULL, access_expires_at REAL NOT NULL,
        signed_in_at REAL NOT NULL, expires_at REAL NOT NULL, version INTEGER NOT NULL,
        lease_owner TEXT, lease_expires_at REAL NOT NULL);
INSERT INTO "logins" VALUES('session-1:acme','session-1','acme','default','rrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrr','https://login.acme.example/','user-1','sid-1','{"sub":"user-1","name":"Ada \u00fc","sid":"sid-1"}','sealed token set',9000000000.5,1767225600.0,9000000000.5,281474976710655,NULL,0.0);
CREATE TABLE logouts (
        id TEXT PRIMARY KEY NOT NULL, tenant TEXT NOT NULL, binding_hash TEXT NOT NULL,
        next_url TEXT NOT NULL, expires_at REAL NOT NULL);
INSERT INTO "logouts" VALUES('step-1','acme','bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb','sealed address',9000000000.5);
CREATE TABLE meta (id TEXT PRIMARY KEY NOT NULL, value TEXT NOT NULL);
INSERT INTO "meta" VALUES('generation','1');
CREATE TABLE once (id TEXT PRIMARY KEY NOT NULL, expires_at REAL NOT NULL);
INSERT INTO "once" VALUES('jti-1',9000000000.5);
CREATE TABLE revisions (
        tenant TEXT NOT NULL, number INTEGER NOT NULL, content TEXT NOT NULL, format INTEGER NOT NULL,
        author TEXT NOT NULL, reason TEXT NOT NULL, test TEXT NOT NULL, published_at REAL NOT NULL,
        PRIMARY KEY (tenant, number));
CREATE TABLE sessions (
        id TEXT PRIMARY KEY NOT NULL, secret_hash TEXT NOT NULL, created_at REAL NOT NULL,
        last_seen_at REAL NOT NULL, idle_expires_at REAL NOT NULL, absolute_expires_at REAL NOT NULL,
        device TEXT NOT NULL);
INSERT INTO "sessions" VALUES('session-1','5555555555555555555555555555555555555555555555555555555555555555',1767225600.0,1767225600.25,9000000000.5,9000000000.5,'Firefox');
CREATE TABLE setup_links (
        id TEXT PRIMARY KEY NOT NULL, tenant TEXT NOT NULL, token_hash TEXT NOT NULL, name TEXT NOT NULL,
        author TEXT NOT NULL, browser_hash TEXT NOT NULL, created_at REAL NOT NULL, expires_at REAL NOT NULL,
        revoked_at REAL NOT NULL);
CREATE TABLE tenants (
        slug TEXT PRIMARY KEY NOT NULL, status TEXT NOT NULL, live INTEGER NOT NULL, created_at REAL NOT NULL,
        changed_at REAL NOT NULL);
CREATE INDEX attempts_expiry ON attempts (expires_at);
CREATE INDEX logouts_expiry ON logouts (expires_at);
CREATE UNIQUE INDEX sessions_secret ON sessions (secret_hash);
CREATE INDEX sessions_expiry ON sessions (min(idle_expires_at, absolute_expires_at));
CREATE INDEX logins_session ON logins (session, tenant);
CREATE INDEX logins_subject ON logins (issuer, subject);
CREATE INDEX logins_expiry ON logins (expires_at);
CREATE INDEX once_expiry ON once (expires_at);
CREATE INDEX logins_sid ON logins (sid);
CREATE UNIQUE INDEX setup_links_token ON setup_links (token_hash);
CREATE INDEX setup_links_tenant ON setup_links (tenant, created_at, id);
CREATE INDEX domains_tenant ON domains (tenant, name);
CREATE INDEX events_tenant ON events (tenant, id);
CREATE INDEX logins_tenant ON logins (tenant, signed_in_at, id);
COMMIT;
PRAGMA user_version = 5;
