"""JSON Web Signatures, Encryption and Keys, and strict reading of JSON (RFC 7515 to 7518, RFC 8725)."""
