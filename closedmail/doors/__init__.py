"""The doors through which mail comes in, and where the decision is asked: the policy service."""
