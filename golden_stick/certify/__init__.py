"""Certificates that need no knockoff: how much accuracy a slim network loses, and which filters do not matter."""
from golden_stick.base.digests import forget_used_data
from golden_stick.certify.card import Accuracy, DataUse, PruningCard, pruning_card
from golden_stick.certify.certificate import Certificate, CertifiedNetwork
from golden_stick.certify.certify import certify
from golden_stick.certify.drop import drop_p_value
from golden_stick.certify.equivalence import (
    PairedCounts,
    certify_in_sequence,
    compare_predictions,
    discoveries,
    equivalence_p_values,
)
from golden_stick.certify.fingerprints import DataFingerprint, fingerprint
from golden_stick.certify.safe_filters import SafeFilters, safe_filters
from golden_stick.certify.together import SafeTogether, safe_together

__all__ = ["Accuracy", "Certificate", "CertifiedNetwork", "PairedCounts", "DataFingerprint", "DataUse", "PruningCard",
           "SafeFilters", "SafeTogether", "certify", "certify_in_sequence", "compare_predictions", "discoveries",
           "drop_p_value", "equivalence_p_values", "fingerprint", "forget_used_data", "pruning_card", "safe_filters",
           "safe_together"]
