"""The link: one byte stream in and one out, framed and checksummed. Gateware and host side of the same protocol."""
