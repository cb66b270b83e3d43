"""SyncNet as published (Chung and Zisserman, Out of Time, 2016; the network of 2018): what LSE-D and LSE-C are measured with.

No weights come with it: they are imported (`dubwright models import syncnet`). It measures and nothing else: no engine sees its
gradient, and the gate does not listen to it.
"""
