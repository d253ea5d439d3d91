# SPDX-License-Identifier: Apache-2.0
"""A cluster network on one machine: nodes as network namespaces, for tests and for people.

The lab knows the agent only as a program: it writes the agent's files, starts ``fwd run`` in a
namespace and reads its log and its status socket, as an operator would.

Reading order: ``familyplan`` and ``topology`` (what there is to be, pure), ``underlay`` / ``nodes``
/ ``kernelnode`` and ``kernelrules`` (the same as lines of ``ip -batch`` and nft, pure), ``netconf``
(flannel's), ``netns`` (says them to the kernel), ``clusternodes`` and ``nodeobject`` (Nodes of an
API server, pure), ``agentproc``, ``lastwords`` and ``service`` (processes), ``controlplane`` with
``kubeplane`` (runs ``apiserver``) and ``etcdplane`` (a real etcd), ``fwdnode``, ``kernelagent`` and
``kerneletcd`` (agents), ``state`` (what is written down), ``meeting`` (whether nodes know each
other), ``conflist``, ``cni`` and ``pods`` (Pods connected as a container runtime does),
``building``, ``lab`` (up, down), ``membership`` (join, leave), ``survey`` (status), ``probes`` and
``matrix`` (the measurements between Pods), ``flow``, ``watchman`` and ``episode`` (those while a
node joins and leaves), ``report`` (how they look), ``which`` and ``cli``.
"""
