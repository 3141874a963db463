"""The policy server, which gives any robot its actions over the network, and its clients."""
