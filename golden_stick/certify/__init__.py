"""Certificates that need no knockoff: how much accuracy a slim network loses, and which filters do not matter."""
from golden_stick.certify.card import PruningCard, pruning_card
from golden_stick.certify.card_inputs import Accuracy, DataUse
from golden_stick.certify.certificate import Certificate, CertifiedNetwork
from golden_stick.certify.certify import certify
from golden_stick.certify.drop import drop_p_value
from golden_stick.certify.equivalence import discoveries, equivalence_p_values
from golden_stick.certify.fingerprints import DataFingerprint, fingerprint
from golden_stick.certify.safe_filters import SafeFilters, safe_filters
from golden_stick.certify.sequence import Comparison, certify_in_sequence, compare_predictions
from golden_stick.certify.together import SafeTogether, safe_together
from golden_stick.uses import forget_used_data

__all__ = ["Accuracy", "Certificate", "CertifiedNetwork", "Comparison", "DataFingerprint", "DataUse", "PruningCard",
           "SafeFilters", "SafeTogether", "certify", "certify_in_sequence", "compare_predictions", "discoveries",
           "drop_p_value", "equivalence_p_values", "fingerprint", "forget_used_data", "pruning_card", "safe_filters",
           "safe_together"]
