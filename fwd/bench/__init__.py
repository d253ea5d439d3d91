# SPDX-License-Identifier: Apache-2.0
"""fwd measured side by side with what else carries Pod traffic: the kernel, and plain routing.

Each contender is a lab of its own (``fwd.lab``), all up at once and alike but for the data plane.
A round measures every scenario with one contender after the other, so that whatever disturbs the
machine disturbs all of them; a figure is the median of the rounds.  Like the lab, this package
knows the agent only as a program.

Reading order: ``contenders`` (what is compared, and how it is built; ``wireguard`` is one of them),
``traffic`` (the door to the load generator in C; ``loops``: its threads), ``outcome`` (what
measuring yields; pure), ``search`` (the highest rate without loss; pure), ``scenarios`` (what is
measured; ``calls`` and ``beside`` are two of them), ``machine`` (where), ``rounds`` (in which
order, and what was disturbed), ``results`` (medians and ratios, and when there is none; pure),
``report`` (how they look), ``destination`` (files that they go to), ``arguments``, ``cli``.
"""
