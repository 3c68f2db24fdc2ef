"""Hostile input: what clients, backends, publishers and forgers send, valid or spoilt a little, many thousand times.

`make test` plays 200,000 inputs, always the same ones; `make fuzz` as many new ones as FUZZ_INPUTS says.
"""
