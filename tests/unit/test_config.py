# SPDX-License-Identifier: Apache-2.0
"""Flags, environment and the commands' ends."""

import re
from ipaddress import ip_address
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fwd import cli, config, flags, runflags
from fwd.config import run_config
from fwd.flags import HelpAsked, UsageError
from fwd.model import ConfigError

NEEDED = ["--static-leases", "leases.json", "--node-name", "n1"]


def test_the_defaults() -> None:
    settings = run_config(NEEDED, {})
    assert settings.static_leases == Path("leases.json")
    assert settings.net_config_path == Path("/etc/kube-flannel/net-conf.json")
    assert settings.subnet_file == Path("/run/flannel/subnet.env")
    assert settings.run_dir == Path("/run/flannel")
    assert settings.source_check == "strict"
    assert 1 <= settings.workers <= 4
    assert settings.iface == ()
    assert settings.public_ip is None
    assert settings.disable_offload == frozenset()
    assert settings.etcd_endpoints == ("http://127.0.0.1:4001", "http://127.0.0.1:2379")
    assert (settings.cni_conf, settings.cni_conf_dir) == (None, Path("/etc/cni/net.d"))
    assert settings.notes == ()


def test_every_flag() -> None:
    settings = run_config(
        [
            *(*NEEDED, "-iface=eth0", "--iface", "10.0.0.1", "-public-ip", "10.0.0.1"),
            *("--net-config-path=a", "-subnet-file=b", "-run-dir", "c", "--workers=7"),
            *("--source-check=loose", "--disable-offload=uso,tso", "-disable-offload=udp-gro"),
        ],
        {},
    )
    assert settings.iface == ("eth0", "10.0.0.1")
    assert settings.public_ip == ip_address("10.0.0.1")
    assert (settings.net_config_path, settings.subnet_file) == (Path("a"), Path("b"))
    assert (settings.run_dir, settings.workers) == (Path("c"), 7)
    assert settings.source_check == "loose"
    assert settings.disable_offload == {"uso", "tso", "udp-gro"}


@given(st.sampled_from(["-{}={}", "--{}={}"]), st.text(min_size=1))
def test_a_value_after_the_equals_sign_is_taken_as_it_is(form: str, value: str) -> None:
    values, _ = flags.parse_flags([form.format("node-name", value)], runflags.RUN_FLAGS, {})
    assert values["node_name"] == value


@given(st.sampled_from(["-node-name", "--node-name"]), st.text())
def test_a_value_may_be_the_next_word_whatever_it_looks_like(form: str, value: str) -> None:
    values, _ = flags.parse_flags([form, value], runflags.RUN_FLAGS, {})
    assert values["node_name"] == value


def test_a_switch_needs_its_value_after_an_equals_sign() -> None:
    for words, value in (
        ([], False),
        (["-json"], True),
        (["--json=false"], False),
        (["--json=T"], True),
    ):
        assert flags.parse_flags(words, config.STATUS_FLAGS, {})[0]["json"] is value


def test_the_command_line_comes_before_the_environment_before_the_default() -> None:
    environ = {
        "NODE_NAME": "n2",
        "FLANNELD_IFACE": "eth1",
        "FLANNELD_RUN_DIR": "",
        "FLANNELD_NODE_NAME": "n3",
    }
    settings = run_config(NEEDED, environ)
    assert (settings.node_name, settings.iface) == ("n1", ("eth1",))
    assert settings.run_dir == Path("/run/flannel"), "an empty variable is none"
    assert run_config(NEEDED[:2], environ).node_name == "n2"


def test_a_bad_variable_is_noted_and_the_default_stays() -> None:
    settings = run_config(NEEDED, {"FLANNELD_SOURCE_CHECK": "maybe"})
    assert settings.source_check == "strict"
    assert settings.notes == ("FLANNELD_SOURCE_CHECK=maybe: must be one of strict, loose, off",)


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["x"], "'x' is not a flag"),
        (["-"], "'-' is not a flag"),
        (["--"], "'--' is not a flag"),
        (["---workers=1"], "there is no flag ---workers"),
        (["--nonsense=1"], "there is no flag --nonsense"),
        (
            ["--kube-subnet-mrg"],
            "there is no flag --kube-subnet-mrg, the nearest is --kube-subnet-m",
        ),
        (["--ip-masq", "false"], "'false' is not a flag: a switch takes its value as --x=false"),
        (["--workers"], "--workers needs a value"),
        (["--workers=0"], "--workers 0: must be a number from 1 to 64"),
        (["--workers", "x"], "--workers x: must be a number from 1 to 64"),
        (["--source-check=no"], "--source-check no: must be one of strict, loose, off"),
        (["--disable-offload=tso,x"], "--disable-offload tso,x: must be a comma list of vnet-hdr"),
    ],
)
def test_a_wrong_command_line_is_one_line(words: list[str], says: str) -> None:
    with pytest.raises(UsageError) as raised:
        run_config([*NEEDED, *words], {})
    assert str(raised.value).startswith(says)


def test_what_is_missing_is_said_with_its_cure() -> None:
    with pytest.raises(ConfigError, match="two sources of leases"):
        run_config(["--node-name=n1", "--kube-subnet-mgr", "--static-leases=x"], {})
    with pytest.raises(ConfigError, match="set NODE_NAME or give --node-name"):
        run_config(["--static-leases=x"], {})


def test_kube_mode_knows_its_node_by_name_or_by_pod() -> None:
    kube = ["--kube-subnet-mgr"]
    with pytest.raises(ConfigError, match="env variables POD_NAME and POD_NAMESPACE must be set"):
        run_config(kube, {"POD_NAME": "fwd-1"})
    settings = run_config(kube, {"POD_NAME": "fwd-1", "POD_NAMESPACE": "kube-flannel"})
    assert (settings.pod, settings.node_name) == (("kube-flannel", "fwd-1"), "")
    assert run_config(kube, {"NODE_NAME": "n1"}).node_name == "n1"
    environ = {"NODE_NAME": "n1", "POD_NAME": "fwd-1", "POD_NAMESPACE": "kube-flannel"}
    assert run_config(kube, environ).node_name == "n1"


def test_every_kube_flag() -> None:
    settings = run_config(
        [
            *("-kube-subnet-mgr", "-kube-api-url=http://x", "-kubeconfig-file", "k.yaml"),
            *("--kube-annotation-prefix=a.b/c", "--set-node-network-unavailable=false"),
        ],
        {"NODE_NAME": "n1", "EVENT_QUEUE_DEPTH": "5000", "CONT_WHEN_CACHE_NOT_READY": "false"},
    )
    assert settings.kube_subnet_mgr
    assert (settings.kube_api_url, settings.kubeconfig_file) == ("http://x", Path("k.yaml"))
    assert settings.kube_annotation_prefix == "a.b/c"
    assert not settings.set_node_network_unavailable
    assert run_config(["--kube-subnet-mgr"], {"NODE_NAME": "n"}).set_node_network_unavailable


LONG = "0" * 5000
"""Python takes no more than 4300 digits for a number."""


@pytest.mark.parametrize(
    "depth",
    [
        *("5000", "+5000", "0", "-0", "+0", "-1", "007", f"{LONG}7"),
        *("9223372036854775807", "-9223372036854775808", "+9223372036854775807"),
    ],
)
def test_an_event_queue_depth_that_gos_atoi_takes_is_no_error(depth: str) -> None:
    """0 and less keep flannel's default."""
    environ = {"NODE_NAME": "n1", "EVENT_QUEUE_DEPTH": depth}
    assert run_config(["--kube-subnet-mgr"], environ) == run_config(
        ["--kube-subnet-mgr"], {"NODE_NAME": "n1"}
    )


@pytest.mark.parametrize(
    ("depth", "says"),
    [
        *(
            (depth, "invalid syntax")
            for depth in ("many", "+", "-", "--1", "+-1", " 1", "1 ", "1\n", "5_000", "0x10")
        ),
        ("1.0", "invalid syntax"),
        ("\uff15\uff10\uff10", "invalid syntax"),
        ("\u0665", "invalid syntax"),
        ("9223372036854775808", "value out of range"),
        ("-9223372036854775809", "value out of range"),
        ("1" + LONG, "value out of range"),
    ],
)
def test_an_event_queue_depth_that_is_no_number_is_fatal_as_with_flannel(
    depth: str, says: str
) -> None:
    environ = {"NODE_NAME": "n1", "EVENT_QUEUE_DEPTH": depth}
    with pytest.raises(ConfigError) as raised:
        run_config(["--kube-subnet-mgr"], environ)
    assert str(raised.value) == (
        "Failed to create SubnetManager: error creating network manager: env EVENT_QUEUE_DEPTH="
        f'{depth} format error: strconv.Atoi: parsing "{depth}": {says}'
    )


def test_a_public_ip_may_be_written_within_ipv6() -> None:
    settings = run_config([*NEEDED, "--public-ip=::ffff:192.0.2.2"], {})
    assert settings.public_ip == ip_address("192.0.2.2")


@pytest.mark.parametrize("word", ["-h", "--help", "-help"])
def test_help_is_asked_anywhere(word: str) -> None:
    with pytest.raises(HelpAsked):
        run_config(["--workers", "2", word], {})


def test_help_names_every_flag_and_its_variable() -> None:
    text = flags.describe_flags(runflags.RUN_FLAGS)
    for flag in runflags.RUN_FLAGS:
        assert re.search(rf"--{flag.name}\s", text)
        assert flag.name == "version" or f"[{flag.variable}]" in text


def test_net_conf_that_cannot_be_used_names_its_path(tmp_path: Path) -> None:
    path, failed = tmp_path / "net-conf.json", "^Failed to create SubnetManager: "
    with pytest.raises(ConfigError, match=f"{failed}failed to read net conf: {path}: No such file"):
        config.load_netconf(path)
    for content, says in (
        ("{", rf"{failed}error parsing subnet config: .* \(in {path}\)$"),
        ('{"Network": 7}', rf"{failed}error parsing subnet config: .* \(in {path}\)$"),
        (
            '{"Network": "10.3.0.0/16", "Backend": "vxlan"}',
            rf"{failed}error decoding Backend property of config: .* \(in {path}\)$",
        ),
        ('{"EnableIPv4": false}', f"^{path}: none defined stack"),
        ('{"Network": "10.3.0.0/16"}', f"^{path}: Error fetching backend: "),
    ):
        path.write_text(content)
        with pytest.raises(ConfigError, match=says):
            config.load_netconf(path)


@pytest.mark.parametrize(
    ("words", "code", "says"),
    [
        ([], 2, "fwd: a command is missing"),
        (["nonsense"], 2, "fwd: there is no command 'nonsense'"),
        (["run", "--nonsense"], 2, "fwd run: there is no flag --nonsense"),
        (["run", "--public-ip=x"], 1, "fwd run: invalid public IP address: x"),
        (  # in this process, which goes on: so it is not to lose its rights
            ["run", *NEEDED, "--confine=off", "--net-config-path=/none"],
            1,
            "fwd run: Failed to create SubnetManager: failed to read net conf: /none",
        ),
        (["status", "--run-dir=/none"], 1, "fwd status: no agent answers at /none/fwd.sock"),
    ],
)
def test_an_error_is_one_line_and_a_code(
    words: list[str], code: int, says: str, capfd: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(words) == code
    shown = capfd.readouterr()
    assert shown.err.startswith(says)
    assert shown.err.count("\n") == 1
    assert shown.out == ""


@pytest.mark.parametrize("words", [["--help"], ["run", "-h"], ["status", "--help"]])
def test_help_is_no_error(words: list[str], capfd: pytest.CaptureFixture[str]) -> None:
    assert cli.main(words) == 0
    assert capfd.readouterr().out.startswith("usage: fwd ")


def test_flanneld_is_fwd_run(capfd: pytest.CaptureFixture[str]) -> None:
    assert cli.flanneld(["--version"]) == cli.main(["run", "-version"]) == 0
    shown = capfd.readouterr()
    assert (shown.out, shown.err) == ("", 2 * f"{config.version()}\n")
    assert cli.flanneld(["--ip-maske"]) == 2
    assert capfd.readouterr().err == (
        "flanneld: there is no flag --ip-maske, the nearest is --ip-masq (see flanneld --help)\n"
    )


def test_the_version(capfd: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["--version"]) == 0
    assert capfd.readouterr().out == f"fwd {config.version()}\n"


@pytest.mark.parametrize(
    ("processors", "workers"), [(1, 1), (2, 1), (3, 3), (4, 4), (5, 4), (64, 4)]
)
def test_workers_by_processors(processors: int, workers: int) -> None:
    assert runflags.workers_for(processors) == workers
