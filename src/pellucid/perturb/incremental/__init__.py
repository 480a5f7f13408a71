"""Occluded inputs on a recorded run: only what a window can influence is computed again.

boxes.py   where in a map a window is felt, and which part of the input that is computed from
local.py   operations whose output at a place depends on a neighbourhood: how to run them on it
whole.py   operations that run on whole maps of other samples than those recorded
plan.py    what is felt of some windows at every operation of a tape, and what that costs
run.py     the scores of occluded inputs
"""
