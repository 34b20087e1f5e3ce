"""The simulated GPU: the only importer of simpy and the only mutable state. It knows how long, never why."""
