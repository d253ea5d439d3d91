# SPDX-License-Identifier: Apache-2.0
"""A cluster network on one machine: nodes as network namespaces, for tests and for people.

The lab knows the agent only as a program: it writes the agent's files, starts ``fwd run`` in a
namespace and reads its log and its status socket, as an operator would.

Reading order: ``topology`` (what there is to be, pure), ``underlay`` / ``nodes`` / ``kernelnode``
(the same as lines of ``ip -batch``, pure), ``netns`` (says them to the kernel), ``agentproc`` and
``fwdnode`` (processes), ``state`` (what is written down), ``lab`` (up, down), ``survey`` (status),
``probes`` and ``matrix`` (the measurements), ``report`` (how they look), ``cli``.
"""
