"""Methods that walk a tape backwards with rules of their own.

linear.py      an operation with weights, as rules see it
canonize.py    batch norm folded into the operation before it, on the tape
rules.py       how one operation shares relevance among its inputs
samples.py     which sample each element of a value belongs to, for books of each sample
composites.py  which rule goes to which operation: data, no code
plan.py        rules assigned to the operations of a tape, and the walk with a ledger
lrp.py         layer-wise relevance propagation, the method
forms.py       what one operation is: a rectifier, another activation
regions.py     activations that are written as several operations
rectified.py   guided back-propagation and deconvnet, the methods
patterns/      what neurons detect, learned from data; PatternNet and PatternAttribution
"""
