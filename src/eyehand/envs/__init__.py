"""Simulators behind Gymnasium: one benchmark a file; rendering, vector workers, rollouts."""
