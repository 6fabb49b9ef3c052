"""The proof: ordered comparisons in which the first failure is nearest to its cause. No framework is known here."""
