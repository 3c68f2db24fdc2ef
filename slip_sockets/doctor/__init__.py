"""Examines a deployment from outside and, with credentials, from inside, and reports what is wrong and what to do.

A file for each kind of check; `examine` runs all of them side by side, `report` prints what they found for
`slip-sockets doctor`. Nothing is changed in the account, and no secret is in a finding.
"""
