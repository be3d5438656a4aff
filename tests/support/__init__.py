"""What several test files need: keys and signatures by real gpg, an HTTPS server with a CA of its own."""
