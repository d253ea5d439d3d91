# SPDX-License-Identifier: Apache-2.0
"""Sets IPv4 settings of a device over netlink: in a container /proc/sys is read-only.

RTM_SETLINK with IFLA_INET_CONF (net/ipv4/devinet.c, inet_set_link_af); pyroute2 can only read it.
"""

import os
import socket
import struct
from collections.abc import Mapping

_RTM_SETLINK, _NLMSG_ERROR = 19, 2
_NLM_F_REQUEST, _NLM_F_ACK = 1, 4
_IFLA_AF_SPEC, _IFLA_INET_CONF = 26, 1
_HEADER, _IFINFO = struct.Struct("=IHHII"), struct.Struct("=BxHiII")
_ATTRIBUTE = struct.Struct("=HH")
_SECONDS = 2.0


def set_ipv4(index: int, values: Mapping[int, int]) -> None:
    """Of device number `index`; values by number in linux/ip.h (IPV4_DEVCONF_*).

    Raises OSError.
    """
    settings = b"".join(_attribute(key, struct.pack("=I", value)) for key, value in values.items())
    spec = _attribute(socket.AF_INET, _attribute(_IFLA_INET_CONF, settings))
    body = _IFINFO.pack(socket.AF_UNSPEC, 0, index, 0, 0) + _attribute(_IFLA_AF_SPEC, spec)
    flags = _NLM_F_REQUEST | _NLM_F_ACK
    message = _HEADER.pack(_HEADER.size + len(body), _RTM_SETLINK, flags, 1, 0) + body
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 0) as sock:
        sock.settimeout(_SECONDS)
        sock.send(message)
        answer = sock.recv(4096)
    _, kind, *_ = _HEADER.unpack_from(answer)
    code = -struct.unpack_from("=i", answer, _HEADER.size)[0] if kind == _NLMSG_ERROR else 0
    if code:
        raise OSError(code, f"cannot set IPv4 settings of device {index}: {os.strerror(code)}")


def _attribute(kind: int, data: bytes) -> bytes:
    padding = -len(data) % 4
    return _ATTRIBUTE.pack(_ATTRIBUTE.size + len(data), kind) + data + b"\0" * padding
