"""Any PyTorch program: tables of models, each recorded, walked and compared with autograd.

program.py    what one entry of a table is, and what every entry is checked for
networks.py   networks written by hand
functions.py  one function of torch at a time
tools.py      what a forward pass takes, returns and is written with
layers.py     every layer of torch.nn
forms.py      traced, scripted and compiled modules, in other precisions
stock.py      models of Hugging Face
keras3.py     models of Keras on torch
"""
