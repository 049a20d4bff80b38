"""Behaviour of a kind of provider that its preset file cannot express.

A preset names its hooks with the key `hooks`; an installed package can bring its own class, see
docs/guides/write-a-preset.md. Prefer data: a hook is for rules that depend on the value at hand.
"""

from __future__ import annotations


class Hooks:
    """The rules of an ordinary provider. Subclasses override what their kind of provider does differently.

    Hooks are created without arguments, once for each preset, and are used by several threads: they have no
    state. They must return quickly and must not do I/O.
    """

    def shared_issuer(self, domain: str) -> str | None:
        """Return the issuer for a `domain` that stands for several organisations; None for any other domain.

        Parameters: domain, the value of the key `domain`, in lower case.
        """
        return None

    def check_issuer(self, issuer: str) -> str | None:
        """Return why an issuer of a tenant file cannot be used, as the rest of a sentence; None if it can.

        The sentence begins with the key: "issuer " + the returned text. It must not quote the issuer.
        """
        return None

    def issuer_template(self, issuer: str) -> str | None:
        """Return the issuer in the metadata that several organisations share, with `{tenantid}`.

        None: tokens have the same issuer as the tenant file. See `portal.oidc.issuer.IssuerTemplate`.
        """
        return None

    def error_code(self, error: str, description: str) -> str | None:
        """Return the registered error code for an error response of the provider (RFC 6749 4.1.2.1, OIDC Core
        3.1.2.6); None to keep `error`.

        Parameters: error and description, as the provider sent them (untrusted; the description may be empty
        and has at most 4,096 characters).
        """
        return None
