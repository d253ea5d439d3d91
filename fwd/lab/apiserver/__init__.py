# SPDX-License-Identifier: Apache-2.0
"""The lab's stand-in for the Kubernetes API server: Nodes, watches, faults on command.

Behaves as a recorded server of version 1.36 did, for what an agent with flannel's rights can see;
a test holds it to the recordings.  What is left out is in docs/decisions/kmock.md.

Reading order: ``answers`` (the words of errors), ``store`` (objects and their past), ``merge`` and
``patching`` (PATCH), ``query``, ``listing``, ``watching``, ``access`` (tokens, RBAC), ``faults``:
all pure.  Then ``wire`` and ``respond`` (bytes on a connection), ``handler`` (a request),
``server`` (the whole, for tests in one process), ``commands`` (what it can be told from outside),
``client`` and ``control`` (the two ends of the socket for that), ``credentials`` (what an agent
needs to get in), ``__main__`` (the program that the lab starts).

Nothing is imported here: who sends a command needs no HTTP server.
"""
