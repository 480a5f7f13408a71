"""Record one run of a program as a list of operations, and walk it backwards.

record.py      run the program once and write the tape
joint.py       one run for the tape and for autograd's gradient
recorder.py    see every ATen call, and know which tensor holds which value
frames.py      where in the program a call is made, and whether autograd itself makes it
storage.py     memory, and the values that live in it
operations.py  what is on it: values and operations
adjoints.py    how a gradient passes each operation, and what kind of operation it is
walk.py        from the score back to the input, with any rule at any operation
ledger.py      where relevance went
table.py       a tape as a table to read
"""
