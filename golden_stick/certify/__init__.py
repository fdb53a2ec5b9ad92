"""Certificates that need no knockoff: how much accuracy a slim network loses, and which filters do not matter."""
from golden_stick.certify.card import Accuracy, PruningCard, pruning_card
from golden_stick.certify.certify import Certificate, CertifiedNetwork, certify
from golden_stick.certify.drop import PairedCounts, certify_in_sequence, compare_predictions, drop_p_value
from golden_stick.certify.prior_use import DataFingerprint, DataUse, fingerprint
from golden_stick.certify.safe_filters import (
    SafeFilters,
    SafeTogether,
    discoveries,
    equivalence_p_values,
    safe_filters,
    safe_together,
)

__all__ = ["Accuracy", "Certificate", "CertifiedNetwork", "PairedCounts", "DataFingerprint", "DataUse", "PruningCard",
           "SafeFilters", "SafeTogether", "certify", "certify_in_sequence", "compare_predictions", "discoveries",
           "drop_p_value", "equivalence_p_values", "fingerprint", "pruning_card", "safe_filters",
           "safe_together"]
