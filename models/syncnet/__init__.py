"""The scorer: do lips and speech agree? After SyncNet (Chung and Zisserman, 2016), smaller, trained contrastively."""
