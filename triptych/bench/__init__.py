"""The honest stopwatch: worker processes, interleaved rounds, the fairness check, statistics."""
