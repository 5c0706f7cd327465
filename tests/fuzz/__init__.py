"""Fuzzing of every parser: ``make fuzz``, and :mod:`tests.fuzz.test_corpus` in the suite.

A target (:mod:`tests.fuzz.target`) takes any bytes and fails when what it tests breaks one of its promises. The targets are in a
module for each group of parsers, listed in :mod:`tests.fuzz.table`.
"""
