/** A tenant that the user is signed in to. Times are seconds since 1970, UTC. */
export interface Tenant {
  slug: string;
  name: string;
  /** The user's name at this tenant. */
  user: string;
  /** For display only: the API decides what a user may do. */
  roles: string[];
  /** The claims that the tenant lets pages see. */
  claims: Record<string, unknown>;
  access_expires_at: number;
  signed_in_at: number;
  expires_at: number;
  login_url: string;
  logout_url: string;
}

export interface Session {
  tenants: Tenant[];
  session: { expires_at: number; idle_expires_at: number } | null;
  /** Of the portal's pages for this reader, such as "de": the one that they chose there, or the browser's. */
  language: string;
}

/** What `session`, `fetch` and `login` throw, beside the errors of the browser. */
export interface PortalError extends Error {
  name: "PortalError";
  code: "session_unavailable" | "popup_blocked" | "sign_in_cancelled" | "body_not_repeatable" | "another_account";
}

/** A path of a tenant's API: of the default one, or of `api`. */
export interface ApiPath {
  tenant: string;
  /** One of several APIs, by its name in the tenant file. */
  api?: string;
  /** Begins with a slash; may have a query. */
  path: string;
}

/** What a function for `signIn` gets. */
export interface SignInRequest {
  tenant: string;
  loginUrl: string;
  /** Opens the sign-in window. Call it in a user's click, or the browser blocks it (`popup_blocked`). */
  open(): Promise<void>;
  /** Signs in in this window. The promise never settles. */
  leave(): Promise<never>;
}

export interface PortalRequestInit extends RequestInit {
  /**
   * What happens when the portal asks for a sign-in: a window of its own (in this one where that is blocked), this
   * window, nothing, or what a function does: the request is repeated when its promise is fulfilled.
   */
  signIn?: "popup" | "redirect" | "none" | ((request: SignInRequest) => Promise<unknown>);
  /** Keep the request in sessionStorage when the page is left to sign in. Only bodies that are strings. */
  keep?: boolean;
}

/** A request that was kept when the page was left. */
export interface KeptRequest {
  url: string;
  method: string;
  body: string;
  type: string | null;
  tenant: string;
  /** Who made it, as far as the page knew. */
  user?: string;
}

export interface PortalEvent {
  type: "signed_in" | "ended" | "expiring" | "switched";
  /** null: the whole session. */
  tenant: string | null;
  /** Of "expiring": seconds since 1970, UTC. */
  expires_at: number | null;
}

export interface PortalSocket extends EventTarget {
  binaryType: BinaryType;
  readonly readyState: number;
  readonly protocol: string;
  send(data: string | BufferSource | Blob): void;
  close(code?: number, reason?: string): void;
}

export function session(): Promise<Session>;
export function fetch(input: string | URL | Request | ApiPath, init?: PortalRequestInit): Promise<Response>;
export function kept(): KeptRequest | null;
export function login(options: {
  tenant: string;
  provider?: string;
  prompt?: "none" | "login" | "select_account";
  loginHint?: string;
  /** Where the browser goes afterwards; this page by default. */
  returnTo?: string;
  popup?: boolean;
}): Promise<Tenant | undefined>;
export function logout(options?: { tenant?: string }): void;
export function switchTo(tenant: string, options?: { from?: string; keepPage?: boolean }): Promise<void>;
export function socket(path: string | ApiPath, protocols?: string | string[]): PortalSocket;
export function on(type: PortalEvent["type"], callback: (event: PortalEvent) => void): () => void;
