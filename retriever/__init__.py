"""Search, training and evaluation of the retriever.

Importing this package loads nothing: take what you need from its modules (`retriever.types`, `retriever.encoder`, ...).
torch, faiss and transformers load only with the modules that need them.
"""
