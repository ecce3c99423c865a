"""The primitives that device and enclave share: sealed channel, evidence and its appraisal, receipts."""
