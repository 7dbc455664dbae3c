"""The index of a space: chosen, built, tuned and stored (`building`), opened and searched (`opened`).

FAISS is imported nowhere else.
"""
