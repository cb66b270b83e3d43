"""SyncTalkFace's Audio-Lip Memory: a face that exists gets new lips for new sound (Park et al., AAAI 2022, arXiv 2211.00924)."""
