"""Hostile calls: every way into ovseg with wrong, odd and extreme values, drawn from a seed.

A kind of call is one small function that draws a ``Call``; ``kinds.KINDS`` is the table of them.
``run.run_calls`` makes the calls and judges how each one ended. tests/test_hostile_harness.py runs 750,
tools/hostile_calls.py as many as it is asked for.
"""
