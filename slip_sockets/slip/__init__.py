"""SLIP, the dialect of this project and of the original: JSON events, signed with JWTs. No I/O."""
