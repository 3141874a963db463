"""Simulators as Gymnasium environments: one benchmark a file; rendering, workers, rollouts."""
