"""Reports: what the runs of one target or of many came to, for people and for machines.

    results files ─► results.py (read, merge) ─► redact.py ─► html.py   one page: requirements x targets
                                                          ├─► junit.py  XML for CI
                                                          ├─► badge.py  for a README
                                                          └─► scoreboard.py  many proxies, and their logs apart

`summary.py` says what results come to in a few lines, for the terminal and the page.

`results.schema.json` documents the results file; it is made from the models in `results.py`.
"""
