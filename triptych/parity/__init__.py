"""The proof that engines are equal. The first failure is the one that is nearest to its cause."""
