"""Record one run of a program as a list of operations, and walk it backwards.

record.py      run the program once and write the tape
recorder.py    see every ATen call, and know which tensor holds which value
operations.py  what is on it: values and operations
adjoints.py    how a gradient passes each operation, and what kind of operation it is
walk.py        from the score back to the input, with any rule at any operation
ledger.py      where relevance went
table.py       a tape as a table to read
"""
